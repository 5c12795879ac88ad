"""Convolution and pooling that pad as TensorFlow's "same" does.

With n points, kernel k and stride s the result has ceil(n / s) points; of the
``max((ceil(n / s) - 1)·s + k - n, 0)`` points that are missing, half (rounded down)
go to the left and the rest to the right. torch's own padding is symmetric, which
gives the same number of parameters but another function.
"""

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional


def same_padding(points: int, kernel: int, stride: int) -> tuple[int, int]:
    """Number of points to add on the left and on the right.

    Example:
        >>> same_padding(8501, 100, 5)
        (49, 50)
    """
    missing = max((-(-points // stride) - 1) * stride + kernel - points, 0)
    return missing // 2, missing - missing // 2


class SameConv1d(nn.Conv1d):
    """Convolution with "same" padding by zeros."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, bias=bias)

    def forward(
        self, x: Float[torch.Tensor, "batch inputs points"]
    ) -> Float[torch.Tensor, "batch outputs points_after"]:
        """Pad and convolve."""
        left, right = same_padding(x.shape[-1], self.kernel_size[0], self.stride[0])
        if left == right:  # the convolution pads faster than a copy does
            return functional.conv1d(x, self.weight, self.bias, self.stride, left)
        return super().forward(functional.pad(x, (left, right)))


class SameMaxPool1d(nn.Module):
    """Maximum over a window, with "same" padding by minus infinity."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(
        self, x: Float[torch.Tensor, "batch channels points"]
    ) -> Float[torch.Tensor, "batch channels points_after"]:
        """Pad and pool."""
        padding = same_padding(x.shape[-1], self.kernel, self.stride)
        x = functional.pad(x, padding, value=float("-inf"))
        return functional.max_pool1d(x, self.kernel, self.stride)
