"""Random numbers of the methods: the same as fastrand's wyrand, and as `Noise` of crates/gradcam/src/method/path.rs."""

import math

import numpy as np


class Wyrand:
    def __init__(self, seed):
        self.state = seed

    def u64(self):
        self.state = (self.state + 0x2D358DCCAA6C78A5) % 2**64
        product = self.state * (self.state ^ 0x8BB84B93962EACC9)
        return (product ^ product >> 64) % 2**64

    def f64(self):
        """In 0…1, without 1."""
        return (self.u64() >> 12) / 2**52

    def normal(self, count):
        """`count` float32 numbers, by Box and Muller."""
        draw = [math.sqrt(-2 * math.log(1 - self.f64())) * math.cos(math.tau * self.f64()) for _ in range(count)]
        return np.array(draw, np.float64).astype(np.float32)
