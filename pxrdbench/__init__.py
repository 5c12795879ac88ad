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
    from pxrdbench.crystal.generator.draw import draw_crystals as draw_crystals
    from pxrdbench.crystal.prior.prior import Prior as Prior
    from pxrdbench.crystal.prior.prior import load_prior as load_prior
    from pxrdbench.crystal.structure import Crystal as Crystal
    from pxrdbench.crystal.structure import CrystalBatch as CrystalBatch
    from pxrdbench.crystal.structure import Site as Site
    from pxrdbench.dataset.batch import Batch as Batch
    from pxrdbench.dataset.recipes.recipe import Recipe as Recipe
    from pxrdbench.dataset.shards.rolling import RollingSet as RollingSet
    from pxrdbench.dataset.shards.rolling import acknowledge as acknowledge
    from pxrdbench.dataset.shards.shard_set import ShardSet as ShardSet
    from pxrdbench.diffraction.pattern import PeakBatch as PeakBatch
    from pxrdbench.diffraction.pattern import Radiation as Radiation
    from pxrdbench.diffraction.pattern import TwoThetaGrid as TwoThetaGrid
    from pxrdbench.diffraction.peaks import simulate_peaks as simulate_peaks
    from pxrdbench.diffraction.profile import Broadening as Broadening
    from pxrdbench.diffraction.profile import render as render
    from pxrdbench.errors import PxrdbenchError as PxrdbenchError
    from pxrdbench.factory.ray.stream import RayStream as RayStream
    from pxrdbench.indexing.index import Indexing as Indexing
    from pxrdbench.indexing.index import index_lines as index_lines
    from pxrdbench.indexing.index import index_pattern as index_pattern
    from pxrdbench.indexing.lines.find import find_lines as find_lines
    from pxrdbench.indexing.lines.line_list import LineList as LineList
    from pxrdbench.learning.loading.loader import make_loader as make_loader
    from pxrdbench.learning.networks.registry import build_model as build_model
    from pxrdbench.prediction.predict import predict as predict
    from pxrdbench.prediction.result import Prediction as Prediction
    from pxrdbench.prediction.simulation.instrument import Instrument as Instrument
    from pxrdbench.prediction.simulation.instrument import (
        fit_instrument as fit_instrument,
    )
    from pxrdbench.prediction.simulation.overlay import overlay as overlay
    from pxrdbench.prediction.simulation.simulate import simulate as simulate
    from pxrdbench.sources.scans.read import MeasuredPattern as MeasuredPattern
    from pxrdbench.sources.scans.read import read_scan as read_scan
    from pxrdbench.sources.structures.load import (
        import_structures as import_structures,
    )
    from pxrdbench.sources.structures.load import load_import as load_import
    from pxrdbench.tracks.hugging_face import load_split as load_split
    from pxrdbench.tracks.load import load_track as load_track

__version__ = "0.2.0"

# Name that a user types -> the module it lives in.
_HOME = {
    "acknowledge": "dataset.shards.rolling",
    "Batch": "dataset.batch",
    "Broadening": "diffraction.profile",
    "build_model": "learning.networks.registry",
    "Crystal": "crystal.structure",
    "CrystalBatch": "crystal.structure",
    "draw_crystals": "crystal.generator.draw",
    "evaluate": "benchmark.evaluation",
    "find_lines": "indexing.lines.find",
    "fit_instrument": "prediction.simulation.instrument",
    "import_structures": "sources.structures.load",
    "index_lines": "indexing.index",
    "index_pattern": "indexing.index",
    "Indexing": "indexing.index",
    "Instrument": "prediction.simulation.instrument",
    "LineList": "indexing.lines.line_list",
    "load_import": "sources.structures.load",
    "load_prior": "crystal.prior.prior",
    "load_split": "tracks.hugging_face",
    "load_track": "tracks.load",
    "make_loader": "learning.loading.loader",
    "MeasuredPattern": "sources.scans.read",
    "overlay": "prediction.simulation.overlay",
    "PeakBatch": "diffraction.pattern",
    "predict": "prediction.predict",
    "Prediction": "prediction.result",
    "Prior": "crystal.prior.prior",
    "PxrdbenchError": "errors",
    "Radiation": "diffraction.pattern",
    "RayStream": "factory.ray.stream",
    "read_scan": "sources.scans.read",
    "Recipe": "dataset.recipes.recipe",
    "render": "diffraction.profile",
    "RollingSet": "dataset.shards.rolling",
    "ShardSet": "dataset.shards.shard_set",
    "simulate": "prediction.simulation.simulate",
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
