"""Batches of a source as tensors with labels."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from pxrdbench.dataset.batch import Batch
from pxrdbench.errors import ModelError

UNCOVERED = -1


class TorchBatch(NamedTuple):
    """Patterns for a network, and what it should say.

    Attributes:
        intensity: Patterns (batch, 1, points) with a maximum of one, or what the
            loader's ``transform`` made of them.
        label: Position of each space group in the class list.
        mask: Points that were measured (batch, points); None if all were.
    """

    intensity: Float[torch.Tensor, "batch ..."]
    label: Int64[torch.Tensor, " batch"]
    mask: Bool[torch.Tensor, "batch points"] | None = None


def label_of(
    space_group: np.ndarray, classes: Sequence[int]
) -> Int64[np.ndarray, " batch"]:
    """Turn space groups into positions in a model's class list.

    The only place where a label is made.

    Args:
        space_group: Numbers in the International Tables, 1-230.
        classes: The class list of a model, in the order of its logits.

    Returns:
        One label a sample, -1 where the model does not know the group.

    Raises:
        ModelError: If a class is named twice or is no space group.

    Example:
        >>> label_of(np.array([225, 2, 14]), [2, 14, 62]).tolist()
        [-1, 0, 1]
    """
    if len(set(classes)) != len(classes) or not all(1 <= g <= 230 for g in classes):
        raise ModelError(
            "a class list names each of its space groups once, by numbers 1-230; "
            f"it is {list(classes)}"
        )
    position = np.full(231, UNCOVERED, np.int64)
    position[list(classes)] = np.arange(len(classes))
    label: np.ndarray = position[space_group]
    return label


def make_torch_batch(
    parts: Sequence[Batch],
    classes: Sequence[int],
    transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
    *,
    pin_memory: bool = False,
) -> TorchBatch:
    """Join batches, label them and add the channel axis.

    Args:
        parts: Batches of one grid.
        classes: The class list of the model.
        transform: What to do with the patterns first, without gradients.
        pin_memory: Put the result where an accelerator copies it from meanwhile.
    """
    intensities, labels, masks = [], [], []
    for part in parts:
        label = label_of(part.space_group, classes)
        known = label != UNCOVERED
        intensities.append(part.intensity if known.all() else part.intensity[known])
        labels.append(label[known])
        if part.mask is not None:
            masks.append(part.mask[known])
    x = _join(intensities, pin_memory and transform is None).unsqueeze(1)
    if transform is not None:
        with torch.no_grad():
            x = transform(x)
        x = x.pin_memory() if pin_memory else x
    y = _join(labels, pin_memory)
    return TorchBatch(x, y, _join(masks, pin_memory) if masks else None)


def _join(arrays: Sequence[np.ndarray], pin_memory: bool) -> torch.Tensor:
    """One tensor of several arrays, copied once.

    Arrays of a batch are read-only and torch has no such thing: it needs the copy.
    """
    if not pin_memory:
        return torch.tensor(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
    rows = sum(len(array) for array in arrays)
    dtype = torch.from_numpy(np.empty(0, arrays[0].dtype)).dtype
    joined = torch.empty((rows, *arrays[0].shape[1:]), dtype=dtype, pin_memory=True)
    np.concatenate(arrays, out=joined.numpy())
    return joined
