"""Where the checkpoint is that somebody names: the one place that tells."""

from pathlib import Path

from pxrdbench.errors import ModelError

MODEL_FOLDER = Path(__file__).parent
# What a run leaves, and goes on from.
LAST = "last.pt"


def available_checkpoints() -> dict[str, Path]:
    """Trained models that ship with the package, by name."""
    return {path.stem: path for path in sorted(MODEL_FOLDER.glob("*.pt"))}


def find_checkpoint(model: str | Path) -> Path:
    """Find the checkpoint that somebody names.

    Args:
        model: A file; the folder of a run, whose ``last.pt`` is meant; or the name of
            a model that ships.

    Raises:
        ModelError: If there is none.
    """
    path = Path(model)
    if path.is_file():
        return path
    shipped = available_checkpoints()
    if str(model) in shipped:
        return shipped[str(model)]
    if path.is_dir():
        if (path / LAST).is_file():
            return path / LAST
        raise ModelError(f"{path} is a folder without {LAST}; name a checkpoint file")
    raise ModelError(
        f"there is no checkpoint at {model}, and no model of that name ships "
        f"({', '.join(shipped) or 'none'})"
    )
