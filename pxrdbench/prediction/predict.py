"""A scan from the laboratory in, ranked space groups out.

    result = px.predict(two_theta, intensity, radiation="CuKa")
    result.candidates[0].space_group, result.candidates[0].probability
    result.warnings
    result            # in a notebook: picture and tables

Torch is imported when a model is loaded, not with this module.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from pxrdbench.crystal.symmetry.extinction_symbols import load_extinction_symbols
from pxrdbench.crystal.symmetry.tables import crystal_system, space_group_symbol
from pxrdbench.diffraction.radiation import Radiation
from pxrdbench.errors import ModelError, PxrdbenchError, SourceError
from pxrdbench.learning.models.find import available_checkpoints, find_checkpoint
from pxrdbench.prediction.calibration import load_calibration
from pxrdbench.prediction.cell_report import describe_cells
from pxrdbench.prediction.doubts import (
    find_contradictions,
    find_reasons,
    has_hump,
    is_peak_list,
)
from pxrdbench.prediction.known import Known, make_known
from pxrdbench.prediction.prepare import PreparedScan, ScanContract, prepare_scan
from pxrdbench.prediction.reading import (
    Reading,
    add_up,
    read_pattern,
    read_peak_list,
)
from pxrdbench.prediction.result import Candidate, Prediction, Total
from pxrdbench.prediction.simulation.instrument import Instrument
from pxrdbench.prediction.together import family, find_sets
from pxrdbench.sources.scans.pattern import MeasuredPattern, make_pattern

if TYPE_CHECKING:
    from pxrdbench.learning.models.checkpoint import CheckpointClassifier

_LEAST_POINTS = 3


def predict(
    two_theta: Sequence[float] | Float64[np.ndarray, " points"],
    intensity: Sequence[float] | Float64[np.ndarray, " points"],
    radiation: str | float | Radiation | None = None,
    *,
    model: str | Path | None = None,
    name: str = "scan",
    instrument: Instrument | str | Path | None = None,
    cell: Sequence[float] | None = None,
    bravais_lattice: str | None = None,
    elements: str | Sequence[str] | None = None,
    formula: str | None = None,
    crystal_system: str | None = None,
    exclude: str | Sequence[str | int] | None = None,
    prior: str | Path | Float64[np.ndarray, " 231"] | None = None,
    max_volume: float | None = None,
) -> Prediction:
    """Read cell and space group of one powder scan.

    The scan is indexed (`index_pattern`); where no cell is found, a network answers
    for the rest of the probability.

    Args:
        two_theta: Angles 2θ [degrees], ascending; any range and steps.
        intensity: Counts, or whatever is proportional to them, with background.
        radiation: What it was measured with: ``"CuKa"`` (the doublet of a tube without
            monochromator), ``"CuKa1"``, ``"MoKa"``, a wavelength [Å], or a
            ``Radiation``. It is never assumed; an instrument has one.
        model: Name of a network of this package, checkpoint or run; the one that
            is made for measured scans if left away.
        name: What to call the scan.
        instrument: Measured with a standard (`fit_instrument`, or the file of it):
            its zero and displacement are taken off the angles.
        cell: a, b, c [Å], α, β, γ [degrees], exact or near, from a database, a similar
            compound or another program; it is fitted then, and none is searched for.
        bravais_lattice: Of ``cell``, such as "mP".
        elements: All that may be there, as "Fe,O" or a list.
        formula: Such as "Ca3Al2(SiO4)3"; cells that hold no whole number of units, and
            groups that cannot place them, are less likely.
        crystal_system: Of the crystal, where it's known.
        exclude: Groups (numbers or symbols) and crystal systems that it's not.
        prior: How frequent groups are: "icsd", "minerals", "open", "uniform", a
            file, or 231 weights.
        max_volume: Largest volume of a primitive cell [Å³].

    Raises:
        SourceError: If the numbers are no scan.
        PatternError: If the radiation is unknown, or what is said of the sample cannot
            be.
        ModelError: If there is no such model.
    """
    if radiation is None and instrument is None:
        raise SourceError(
            "predict needs to know the radiation, such as radiation='CuKa'"
        )
    known = make_known(
        cell=cell,
        bravais_lattice=bravais_lattice,
        elements=elements,
        formula=formula,
        crystal_system=crystal_system,
        exclude=exclude,
        prior=prior,
        max_volume=max_volume,
    )
    pattern = make_pattern(
        np.asarray(two_theta),
        np.asarray(intensity),
        None if radiation is None else Radiation.parse(radiation),
        name=name,
    )
    return predict_pattern(pattern, model=model, known=known, instrument=instrument)


def predict_pattern(
    pattern: MeasuredPattern,
    radiation: str | float | Radiation | None = None,
    *,
    model: str | Path | None = None,
    known: Known | None = None,
    instrument: Instrument | str | Path | None = None,
) -> Prediction:
    """Read a scan that came from a file.

    Args:
        pattern: As ``read_scan`` gives it.
        radiation: What it was measured with; the pattern's own if left away.
        model: As for ``predict``.
        known: What is known of the sample.
        instrument: As for ``predict``.

    Raises:
        SourceError: If the radiation is not known, or the scan cannot be one.
        PatternError: If the radiation is unknown.
        ModelError: If there is no such model.
    """
    if isinstance(instrument, str | Path):
        instrument = Instrument.read(instrument)
    lines = pattern.radiation if radiation is None else Radiation.parse(radiation)
    if instrument is not None:
        lines = lines or instrument.radiation
        pattern = replace(pattern, two_theta=instrument.correct(pattern.two_theta))
    if lines is None:
        raise SourceError(
            f"{pattern.name}: the file does not tell its radiation; say it, such as "
            "--radiation CuKa (radiation='CuKa')"
        )
    if pattern.metadata.get("probe") == "neutron":
        raise SourceError(f"{pattern.name}: measured with neutrons, not with X-rays")
    known = make_known() if known is None else known
    path = find_model_file(model)
    kept = pattern.two_theta > 0.0
    angles, counts = pattern.two_theta[kept], pattern.intensity[kept]
    if len(angles) < _LEAST_POINTS:
        raise SourceError(f"{pattern.name}: no angles above zero")
    peak_list = is_peak_list(angles)
    if peak_list:
        reading = read_peak_list(angles, counts, lines, known)
    else:
        reading = read_pattern(angles, counts, lines, known)
    network, notes = None, pattern.warnings
    if not peak_list and (known.cell is None or not reading.groups.any()):
        network, notes = _ask_network(pattern, lines, path)
    groups, no_cell = add_up(reading, network, known, load_calibration())
    reasons = find_reasons(
        reading,
        no_cell,
        float(groups.max()),
        known,
        amorphous=any(note.startswith("Mostly amorphous") for note in notes),
        hump=has_hump(angles, counts),
        mixed=any(note.startswith("Several phases") for note in notes),
        peak_list=peak_list,
    )
    contradictions = find_contradictions(reading, no_cell, known)
    return _make_prediction(
        pattern.name, groups, reading, no_cell, known, reasons,
        (*notes, *contradictions), lines, path.stem, (angles, counts),
    )  # fmt: skip


def _ask_network(
    pattern: MeasuredPattern, lines: Radiation, path: Path
) -> tuple[Float64[np.ndarray, " 231"] | None, tuple[str, ...]]:
    """The network's probabilities, none where it cannot read the scan; warnings."""
    classifier = load_model(path)
    try:
        scan = prepare_scan(pattern, lines, contract_of(classifier))
    except SourceError:  # too short for it, or without lines
        return None, pattern.warnings
    logits = predict_scan_logits(classifier, [scan])[0]
    answer = np.zeros(231)
    answer[list(classifier.space_groups)] = to_probabilities(logits)
    return answer, scan.warnings


def find_model_file(model: str | Path | None = None) -> Path:
    """Path of a checkpoint, of a model's name, or of the model that ships.

    Raises:
        ModelError: If there is none.
    """
    if model is None:
        shipped = available_checkpoints()
        if not shipped:
            raise ModelError(
                "this version ships no model for measured scans; name a checkpoint "
                "(--model runs/last/last.pt)"
            )
        return next(iter(shipped.values()))
    return find_checkpoint(model)


def load_model(path: Path) -> "CheckpointClassifier":
    """Read a checkpoint, once for each state of the file."""
    return _load_model(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load_model(path: Path, _changed: int) -> "CheckpointClassifier":
    from pxrdbench.learning.models.checkpoint import load_classifier

    return load_classifier(path)


def contract_of(classifier: "CheckpointClassifier") -> ScanContract:
    """What the patterns looked like that a model learnt from."""
    from pxrdbench.learning.loading.mixture import find_mixed_measurement

    checkpoint = classifier.checkpoint
    effects: set[str] = set()
    for name in checkpoint.measurement:
        try:
            measurement = find_mixed_measurement(name)
        except PxrdbenchError:
            continue  # of a newer version, or somebody's own
        if measurement is not None:
            effects |= {type(effect).__name__ for effect in measurement.effects}
    return ScanContract.of(checkpoint.grid, checkpoint.radiation, effects)


def predict_scan_logits(
    classifier: "CheckpointClassifier", scans: Sequence[PreparedScan]
) -> Float64[np.ndarray, "batch classes"]:
    """Calibrated logits of prepared scans, means over the shifts of each."""
    intensity = np.concatenate([scan.intensity for scan in scans])
    mask = np.concatenate([scan.is_measured for scan in scans])
    logits = classifier.predict(intensity, mask).astype(np.float64)
    rows = logits.reshape(len(scans), -1, logits.shape[1])
    means: np.ndarray = rows.mean(axis=1)
    return means


def to_probabilities(
    logits: Float64[np.ndarray, "batch classes"],
) -> Float64[np.ndarray, "batch classes"]:
    """Softmax; rows add up to one."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: np.ndarray = odds / odds.sum(axis=-1, keepdims=True)
    return result


def _make_prediction(
    name: str,
    groups: Float64[np.ndarray, " 231"],
    reading: Reading,
    no_cell: float,
    known: Known,
    reasons: tuple[str, ...],
    warnings: tuple[str, ...],
    radiation: Radiation,
    model: str,
    scan: tuple[Float64[np.ndarray, " points"], Float64[np.ndarray, " points"]],
) -> Prediction:
    order = 1 + np.argsort(-groups[1:], kind="stable")
    candidates = tuple(
        Candidate(int(group), space_group_symbol(int(group)), float(groups[group]))
        for group in order
    )
    symbols = load_extinction_symbols()
    found = reading.indexing
    return Prediction(
        name=name,
        candidates=candidates,
        by_extinction_symbol=_add_up(
            candidates,
            # One symbol may stand for classes of several systems.
            [f"{symbols[c.space_group]} ({family(c.space_group)})" for c in candidates],
        ),
        by_crystal_system=_add_up(
            candidates, [crystal_system(c.space_group) for c in candidates]
        ),
        warnings=warnings,
        radiation=radiation,
        model=model,
        two_theta=scan[0].copy(),
        intensity=scan[1].copy(),
        reasons=reasons,
        cells=() if found is None else describe_cells(found, no_cell),
        no_cell_probability=no_cell,
        sets=find_sets(groups),
        indexing=found,
        prior=known.prior_name,
    )


def _add_up(candidates: Sequence[Candidate], names: Sequence[str]) -> tuple[Total, ...]:
    """Totals by name, the likeliest first."""
    members: dict[str, list[Candidate]] = {}
    for candidate, name in zip(candidates, names, strict=True):
        members.setdefault(name, []).append(candidate)
    totals = [
        Total(
            name,
            sum(candidate.probability for candidate in group),
            tuple(candidate.space_group for candidate in group),
        )
        for name, group in members.items()
    ]
    return tuple(sorted(totals, key=lambda total: -total.probability))
