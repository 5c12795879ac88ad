"""Values that nobody changes by accident: frozen dataclasses with read-only arrays."""

from dataclasses import fields
from typing import Any

import numpy as np


def freeze_arrays(value: Any) -> None:
    """Make every array of a dataclass read-only; for its ``__post_init__``.

    Arrays are frozen, not copied: the caller's own name for one is read-only too.

    Args:
        value: An instance of a dataclass; fields that are no arrays stay as they are.
    """
    for field in fields(value):
        array = getattr(value, field.name)
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
