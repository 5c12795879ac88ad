"""What the card of an export says."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from pxrdbench.dataset.export.card import Column, DataCard, DataConfig, DataFile
from pxrdbench.dataset.recipes.card import RecipeCard
from pxrdbench.diffraction.measurement.measurement import Measurement

_OPEN = {
    "parquet": (
        "Opens with `datasets.load_dataset(FOLDER)`, also with `streaming=True`. A "
        "pattern is a string of bytes:\n\n"
        "```python\n"
        "import datasets, numpy\n\n"
        'rows = datasets.load_dataset(FOLDER, split="train", streaming=True)\n'
        "for row in rows:\n"
        '    pattern = numpy.frombuffer(row["intensity"], "<u2") / 65535\n'
        '    label = row["space_group"]\n'
        "```"
    ),
    "webdataset": (
        "One sample a member: `KEY.npy`, a pattern of uint16 with 65535 for its "
        "maximum, and `KEY.json` with the label.\n\n"
        "```python\n"
        "import webdataset\n\n"
        "files = [...]  # FOLDER/samples-*.tar\n"
        "rows = webdataset.WebDataset(files, shardshuffle=False).decode()\n"
        "for row in rows:\n"
        '    pattern = row["npy"] / 65535\n'
        '    label = row["json"]["space_group"]\n'
        "```"
    ),
    "hdf5": (
        "`samples.h5` shows the rows of all files behind each other; it must stay "
        "beside them. Any row costs one read:\n\n"
        "```python\n"
        "import h5py\n\n"
        'with h5py.File("FOLDER/samples.h5") as file:\n'
        '    pattern = file["intensity"][12345] / 65535\n'
        '    label = file["space_group"][12345]\n'
        "```"
    ),
}


def describe_export(
    recipe: RecipeCard,
    measurement: Measurement | None,
    format_: str,
    files: Sequence[DataFile],
    columns: Sequence[Column],
) -> DataCard:
    """Make the card of exported shards.

    Args:
        recipe: Of the samples.
        measurement: What the patterns were rendered with.
        format_: ``parquet``, ``webdataset`` or ``hdf5``.
        files: All files of samples.
        columns: Of their rows.
    """
    grid = recipe.grid
    effects = "none: ideal patterns"
    if measurement is not None:
        kinds = ", ".join(type(effect).__name__ for effect in measurement.effects)
        effects = f"{measurement.name or 'of its own'} ({kinds})"
    # Columns are promised where loaders look into the file for them.
    shown = tuple(columns) if format_ == "parquet" else ()
    config = DataConfig(
        "default",
        "One synthetic crystal a row: its powder pattern and its space group.",
        shown,
        tuple(files),
    )
    return DataCard(
        name=f"pxrdbench-{recipe.digest[:12]}",
        title=f"Synthetic powder patterns of {recipe.prior_name}",
        description=(
            f"{sum(file.rows for file in files):,} simulated X-ray powder patterns of "
            f"synthetic crystals in {len(recipe.space_groups)} space groups, on "
            f"{grid.points} points from {grid.start:g} to {grid.stop:g} degrees 2θ, "
            f"made with {recipe.radiation.name or 'X-rays'}."
        ),
        licence=(
            "only for holders of the licence of the crystals behind the prior"
            if recipe.restricted
            else "CC-BY-4.0"
        ),
        version="1.0.0",
        configs=(config,),
        attributions=(
            ()
            if recipe.restricted
            else (
                "Statistics of real crystals: Materials Project (CC BY 4.0), Jain et "
                "al. (2013), APL Materials 1, 011002.",
                "Method: Schopmans, Reiser & Friederich (2023), Digital Discovery 2, "
                "1414.",
            )
        ),
        keywords=("powder diffraction", "crystallography", "space group", "synthetic"),
        restricted=recipe.restricted,
        body=_OPEN[format_] + _body(recipe, effects),
        collection=(
            f"Drawn from the prior {recipe.prior_name!r} with seed {recipe.seed} and "
            f"simulated by pxrdbench {_version()}, recipe {recipe.digest}. Measurement "
            f"effects: {effects}."
        ),
        use_cases=("Training classifiers of space groups.",),
        limitations=(
            "Crystals are random draws, not compounds: test on real ones.",
            "The label is the space group that the crystal was drawn in; groups that "
            "differ by handedness only have equal patterns.",
        ),
        biases=(
            f"Space groups are as frequent as chosen ({recipe.space_group_frequencies})"
            ", not as in any laboratory.",
        ),
    )


def _body(recipe: RecipeCard, effects: str) -> str:
    grid = recipe.grid
    step = grid.step
    return (
        "\n\n## Angles\n\n"
        f"Point k is at 2θ = {grid.start:g} + {step:.10g}·k degrees, k from 0 to "
        f"{grid.points - 1}. Wavelengths [Å] and weights: "
        + ", ".join(f"{w:g} ({weight:.4g})" for w, weight in recipe.radiation.lines)
        + f". Measurement effects: {effects}.\n"
    )


def _version() -> str:
    try:
        return version("pxrdbench")
    except PackageNotFoundError:  # a source tree on the path, not installed
        return "unknown"
