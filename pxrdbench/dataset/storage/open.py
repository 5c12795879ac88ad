"""Find out what a location is: a folder or an object store."""

import re
from pathlib import Path

from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.store import Store

# Requests to an object store that fail are repeated for so long [s].
PATIENCE = 120.0


_URL = re.compile(r"^[a-z][a-z0-9+.-]+://")


# A URL that went through pathlib, which takes the second slash for an empty name.
_FLATTENED_URL = re.compile(r"^([a-z][a-z0-9+.-]+):/(?=[^/])")


def open_store(location: "str | Path | Store", *, patience: float = PATIENCE) -> Store:
    """Find out what a location is; nothing is read yet.

    Args:
        location: A folder, or a URL such as ``s3://bucket/prefix``.
        patience: How long failing requests to an object store are repeated [s].
    """
    if isinstance(location, Store):
        return location
    text = _FLATTENED_URL.sub(r"\1://", str(location))
    if text.startswith("file://"):
        return LocalStore(text.removeprefix("file://"))
    if not _URL.match(text):
        return LocalStore(location)
    # fsspec is of no use to whoever has a folder.
    from pxrdbench.dataset.storage.object_store import ObjectStore

    return ObjectStore(text, patience)
