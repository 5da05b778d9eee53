"""Weights from a seed: the same numbers as crates/testkit/src/weights.rs."""

import numpy as np


def uniform(seed: int, name: str, count: int) -> np.ndarray:
    """`count` float32 numbers in −1…1: the upper 24 bits of splitmix64(seed + FNV-1a(name), index)."""
    fnv = 0xCBF29CE484222325
    for byte in name.encode():
        fnv = (fnv ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64((seed + fnv) % 2**64) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float32) / np.float32(8388608) - np.float32(1)).astype(np.float32)
