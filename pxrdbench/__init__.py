"""Synthetic crystals, exact powder patterns, honest benchmarks.

    import pxrdbench as px

    prior = px.load_prior("open-v0")
    crystals = px.draw_crystals(prior, seed=0, start=0, count=4)
    peaks = px.simulate_peaks(crystals, radiation="CuKa1")
    patterns = px.render(peaks, px.TwoThetaGrid(), crystallite_size_nm=[50.0] * 4)

Importing the package loads none of the heavy libraries: each name is fetched from
its room when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pxrdbench.benchmark.evaluation import evaluate as evaluate
    from pxrdbench.crystal.generator import draw_crystals as draw_crystals
    from pxrdbench.crystal.prior import Prior as Prior
    from pxrdbench.crystal.prior import load_prior as load_prior
    from pxrdbench.crystal.structure import Crystal as Crystal
    from pxrdbench.crystal.structure import CrystalBatch as CrystalBatch
    from pxrdbench.crystal.structure import Site as Site
    from pxrdbench.dataset.batch import Batch as Batch
    from pxrdbench.dataset.recipe import Recipe as Recipe
    from pxrdbench.dataset.rolling import RollingSet as RollingSet
    from pxrdbench.dataset.rolling import acknowledge as acknowledge
    from pxrdbench.dataset.shard_set import ShardSet as ShardSet
    from pxrdbench.dataset.split import load_track as load_track
    from pxrdbench.dataset.split_loader import load_split as load_split
    from pxrdbench.diffraction.pattern import PeakBatch as PeakBatch
    from pxrdbench.diffraction.pattern import Radiation as Radiation
    from pxrdbench.diffraction.pattern import TwoThetaGrid as TwoThetaGrid
    from pxrdbench.diffraction.peaks import simulate_peaks as simulate_peaks
    from pxrdbench.diffraction.profile import Broadening as Broadening
    from pxrdbench.diffraction.profile import render as render
    from pxrdbench.errors import PxrdbenchError as PxrdbenchError
    from pxrdbench.factory.stream import RayStream as RayStream
    from pxrdbench.learning.loader import make_loader as make_loader
    from pxrdbench.learning.prediction import Prediction as Prediction
    from pxrdbench.learning.prediction import predict as predict
    from pxrdbench.learning.registry import build_model as build_model
    from pxrdbench.sources.scans import MeasuredPattern as MeasuredPattern
    from pxrdbench.sources.scans import read_scan as read_scan
    from pxrdbench.sources.structure_import import (
        import_structures as import_structures,
    )
    from pxrdbench.sources.structure_import import load_import as load_import

__version__ = "0.1.0"

# Name that a user types -> the module it lives in.
_HOME = {
    "acknowledge": "dataset.rolling",
    "Batch": "dataset.batch",
    "Broadening": "diffraction.profile",
    "build_model": "learning.registry",
    "Crystal": "crystal.structure",
    "CrystalBatch": "crystal.structure",
    "draw_crystals": "crystal.generator",
    "evaluate": "benchmark.evaluation",
    "import_structures": "sources.structure_import",
    "load_import": "sources.structure_import",
    "load_prior": "crystal.prior",
    "load_split": "dataset.split_loader",
    "load_track": "dataset.split",
    "make_loader": "learning.loader",
    "MeasuredPattern": "sources.scans",
    "PeakBatch": "diffraction.pattern",
    "predict": "learning.prediction",
    "Prediction": "learning.prediction",
    "Prior": "crystal.prior",
    "PxrdbenchError": "errors",
    "Radiation": "diffraction.pattern",
    "RayStream": "factory.stream",
    "read_scan": "sources.scans",
    "Recipe": "dataset.recipe",
    "render": "diffraction.profile",
    "RollingSet": "dataset.rolling",
    "ShardSet": "dataset.shard_set",
    "simulate_peaks": "diffraction.peaks",
    "Site": "crystal.structure",
    "TwoThetaGrid": "diffraction.pattern",
}

__all__ = sorted(_HOME, key=str.casefold)  # noqa: PLE0605 - computed from the table


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'pxrdbench' has no attribute {name!r}")
    value = getattr(import_module(f"pxrdbench.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
