"""A residual network over time, as they are used for electrocardiograms: two leads, five classes."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, inside, outside):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(inside, outside, 7, 2, 3, bias=False), nn.BatchNorm1d(outside)
        self.conv2, self.bn2 = nn.Conv1d(outside, outside, 7, 1, 3, bias=False), nn.BatchNorm1d(outside)
        self.relu = nn.ReLU()
        self.shortcut = nn.Sequential(nn.Conv1d(inside, outside, 1, 2, bias=False), nn.BatchNorm1d(outside))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Ecg(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(2, 16, 15, 2, 7, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(3, 2, 1))
        self.blocks = nn.Sequential(Block(16, 24), Block(24, 32), Block(32, 48))
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.classifier = nn.Linear(48, 5)

    def forward(self, x):
        return self.classifier(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))
