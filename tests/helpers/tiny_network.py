"""A two-stage model that takes steps in a millisecond."""

from torch import nn

from pxrdbench.learning.networks.registry import ModelSpec


class TinyNetwork(nn.Module):
    """Strongest intensity in windows of the pattern, and one dense layer."""

    def __init__(self, n_classes, grid):
        super().__init__()
        self.pool = nn.MaxPool1d(10)
        self.layer = nn.Linear(grid.points // 10, n_classes)

    def encode(self, intensity):
        return self.pool(intensity)[:, 0]

    def classify(self, encoded):
        return self.layer(encoded)

    def forward(self, intensity):
        return self.classify(self.encode(intensity))


TINY = ModelSpec(TinyNetwork, batch_size=32, learning_rate=2e-2)
