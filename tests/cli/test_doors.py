"""A track, prior, model or source is named the same way at every door.

Each thing is given as a relative path, with ``./``, absolute and with a slash at its
end; to functions as text and as a path. Deeds that take long stop where they arrive.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from built_things import build_things
from small_track import make_predictions

import pxrdbench as px
from pxrdbench.benchmark.foreign.open import open_model
from pxrdbench.benchmark.leaderboard.board import load_leaderboard
from pxrdbench.benchmark.leaderboard.submission import (
    metadata_template,
    pack_submission,
)
from pxrdbench.cli import main
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.dataset.export.write import ExportConfig, export_shards
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.dataset.shards.manifest import Manifest, ShardSpan
from pxrdbench.dataset.shards.rolling import RollingSet
from pxrdbench.dataset.shards.shard import write_shard
from pxrdbench.dataset.shards.shard_set import ShardSet
from pxrdbench.dataset.shards.verify import verify_shards
from pxrdbench.errors import PxrdbenchError
from pxrdbench.learning.loading.real_crystals import (
    count_real_crystals,
    find_crystal_source,
    open_real_crystals,
)
from pxrdbench.learning.models.checkpoint import load_checkpoint, load_classifier
from pxrdbench.learning.models.find import find_checkpoint
from pxrdbench.learning.training.source import _real_patterns
from pxrdbench.prediction.predict import find_model_file
from pxrdbench.studies.comparison import compare
from pxrdbench.studies.crystals import load_real_crystals
from pxrdbench.studies.leakage_report import audit_track, load_report, load_source
from pxrdbench.tracks.export import export_track
from pxrdbench.tracks.hugging_face import PatternRenderer, load_split
from pxrdbench.tracks.load import (
    find_track,
    load_frozen_peaks,
    load_part,
    load_record,
    load_table,
    load_track,
    split_digest,
    track_folder,
)
from pxrdbench.tracks.pattern_digest import check_patterns, write_pattern_digests

FORMS = {
    "relative": lambda place, folder: place,
    "dotted": lambda place, folder: f"./{place}",
    "absolute": lambda place, folder: str(folder / place),
    "slash": lambda place, folder: f"{place}/",
}


class Arrived(Exception):
    """The deed has found what it was given."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    built = build_things(tmp_path_factory.mktemp("doors"))
    folder = built.folder
    part = load_track(folder / built.track)
    for arm in "ab":
        made = make_predictions(part, class_frequencies=None)
        made.write(folder / arm / "predictions.h5")
    recipe = Recipe(folder / built.prior, seed=3, grid=px.TwoThetaGrid(10, 60, 501))
    (folder / "shards").mkdir()
    Manifest(recipe.card, 32).write(folder / "shards")
    for _ in write_shard(recipe, folder / "shards", ShardSpan.of(0, 32)):
        pass
    write_pattern_digests(folder / built.track)
    rows = (f"{5 + k / 10:.1f} {9 + (k == 200) * 900}" for k in range(850))
    (folder / "scan.xy").write_text("\n".join(rows))
    return built


@pytest.fixture
def here(built, monkeypatch):
    monkeypatch.chdir(built.folder)
    return built


@pytest.fixture
def stop_at(monkeypatch):
    def stop(target):
        def arrive(*arguments, **options):
            raise Arrived

        if target:
            monkeypatch.setattr(target, arrive)

    return stop


def run(monkeypatch, arguments):
    monkeypatch.setattr("sys.argv", ["pxrdbench", *arguments])
    with pytest.raises((SystemExit, Arrived)) as left:
        main()
    return left.value


# What is typed, with {} for the thing; where the deed is stopped, "" for nowhere.
VERBS = [
    ("track", "split show {}", ""),
    ("track", "split check {}", ""),
    ("track", "eval a/predictions.h5 --track {} --out tmp",
     "pxrdbench.benchmark.evaluation.score"),
    ("track", "compare a b --track {}",
     "pxrdbench.studies.comparison.compare_scores"),
    ("track", "prior fit import --track {} --out tmp/p.npz --min-crystals 1", ""),
    ("track", "prior show mine.npz --figures tmp --structures import --track {}",
     "pxrdbench.crystal.report.figures.draw_prior_figures"),
    ("track", "prior compare mine.npz --structures import --track {}",
     "pxrdbench.crystal.report.report.compare_to_crystals"),
    ("track", "robustness run/last.pt --track {}",
     "pxrdbench.studies.robustness._Bench.prepare"),
    ("track", "randomise run/last.pt --structures import --track {}",
     "pxrdbench.studies.randomisation.find_variant_hits"),
    ("track", "train --model peak-network --source track:{}/statistics --data import",
     "pxrdbench.learning.training.trainer.fit"),
    ("prior", "prior show {}", ""),
    ("prior", "prior compare {} open-v0",
     "pxrdbench.crystal.report.report.compare_priors"),
    ("prior", "prior compare open-v0 {}",
     "pxrdbench.crystal.report.report.compare_priors"),
    ("prior", "prior merge {} mine.npz --out tmp/m.npz", ""),
    ("prior", "prior merge mine.npz {} --out tmp/m.npz", ""),
    ("prior", "prior restrict {} --min-crystals 1 --out tmp/r.npz", ""),
    ("prior", "prior export {} --fewest 2 --out tmp/e.npz", ""),
    ("prior", "prior check {} --samples 2", ""),
    ("prior", "generate --samples 9 --out tmp/g --prior {}",
     "pxrdbench.factory.generate"),
    ("prior", "train --model peak-network --online --prior {}",
     "pxrdbench.learning.training.trainer.fit"),
    ("prior", "randomise run/last.pt --structures import --track tracks/cif-random "
     "--prior {}", "pxrdbench.studies.randomisation.find_variant_hits"),
    ("prior", "bench stream --prior {}", "pxrdbench.speed.stream.benchmark_stream"),
    ("prior", "verify shards --samples 8 --prior {}", ""),
    ("prior", "export shards --out tmp/x --measurement rruff-paper --prior {}",
     "pxrdbench.dataset.export.write._write_pieces"),
    ("checkpoint", "eval {} --track tracks/cif-random --out tmp",
     "pxrdbench.benchmark.evaluation.score"),
    ("run", "eval {} --track tracks/cif-random --out tmp",
     "pxrdbench.benchmark.evaluation.score"),
    ("run", "robustness {} --track tracks/cif-random",
     "pxrdbench.studies.robustness._Bench.prepare"),
    ("run", "randomise {} --structures import --track tracks/cif-random",
     "pxrdbench.studies.randomisation.find_variant_hits"),
    ("run", "predict scan.xy --radiation CuKa1 --model {}",
     "pxrdbench.prediction.predict.prepare_scan"),
    ("run", "export-model {} --out tmp/m.onnx",
     "pxrdbench.learning.models.onnx_export._write"),
    ("run", "train --model peak-network --online --classes "
     "2,14,15,62,136,148,166,194,221,225,227 --patterns 9 --out tmp/t --from {}",
     "pxrdbench.learning.training.run.make_step_loader"),
    ("imported", "prior fit {} --out tmp/i.npz --min-crystals 1", ""),
    ("imported", "train --model peak-network --source import:{}",
     "pxrdbench.learning.training.trainer.fit"),
    ("imported", "train --model peak-network --source {}",
     "pxrdbench.learning.training.trainer.fit"),
    ("imported", "train --model peak-network --data {} --source "
     "track:tracks/cif-random/statistics", "pxrdbench.learning.training.trainer.fit"),
    ("imported", "randomise run --track tracks/cif-random --structures {}",
     "pxrdbench.studies.randomisation.find_variant_hits"),
    ("imported", "robustness run --track tracks/cif-random --structures {}",
     "pxrdbench.studies.robustness._Bench.prepare"),
    ("imported", "split build icsd {} --out tmp/tracks", ""),
]  # fmt: skip

# The same deeds in Python, of a thing as text or as a path.
FUNCTIONS = {
    "track": [
        find_track,
        track_folder,
        load_record,
        load_table,
        split_digest,
        load_track,
        load_part,
        px.load_track,
        write_pattern_digests,
        lambda x: load_frozen_peaks(x, "test"),
        lambda x: load_split(x, "test", "patterns"),
        lambda x: PatternRenderer(x, "test")({"row": [0, 1]}),
        lambda x: check_patterns(x, "test"),
        lambda x: px.evaluate("a/predictions.h5", x),
        lambda x: compare("a", "b", x, metrics=("top_1",)),
        lambda x: pack_submission("a/predictions.h5", metadata_template(), x),
        lambda x: load_leaderboard("no-rows", x),
        lambda x: load_source(x, "test"),
        lambda x: audit_track(x, ()),
        lambda x: find_crystal_source(f"track:{x}/statistics"),
        lambda x: find_crystal_source(Path(f"{x}/statistics")),
        lambda x: count_real_crystals(f"track:{x}/statistics", Path("import")),
        lambda x: open_real_crystals(f"track:{x}/statistics", "import", None, 0),
        lambda x: _real_patterns(x, Recipe()),
    ],
    "prior": [
        load_prior,
        px.load_prior,
        Recipe,
        lambda x: verify_shards("shards", prior=x, sample=8),
        lambda x: ShardSet("shards", prior=x, measurement="rruff-paper"),
        lambda x: RollingSet("shards", prior=x, measurement="rruff-paper"),
        lambda x: Recipe.from_card(ShardSet("shards").card, x),
        lambda x: export_shards(
            ExportConfig(
                "shards", Path("tmp/f"), samples=2, prior=x, measurement="rruff-paper"
            )
        ),
    ],
    "run": [
        find_checkpoint,
        find_model_file,
        load_checkpoint,
        load_classifier,
        open_model,
        lambda x: px.evaluate(x, "tracks/cif-random"),
    ],
    "checkpoint": [
        find_checkpoint,
        find_model_file,
        load_checkpoint,
        load_classifier,
        open_model,
        lambda x: px.evaluate(x, "tracks/cif-random"),
    ],
    "imported": [
        px.load_import,
        find_crystal_source,
        lambda x: find_crystal_source(f"import:{x}"),
        lambda x: open_real_crystals(x, None, None, 0),
        lambda x: load_real_crystals(x, load_track("tracks/cif-random")),
    ],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kind", "command", "target"), VERBS)
def test_every_verb_finds_it(kind, command, target, form, here, stop_at, monkeypatch):
    place = FORMS[form](getattr(here, kind), here.folder)
    if "{}/statistics" in command:
        place = place.rstrip("/")
    stop_at(target)
    left = run(monkeypatch, command.format(place).split(" "))
    assert isinstance(left, Arrived) if target else left.code in (0, None)


@pytest.mark.parametrize("make", [str, Path])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("kind", "number"),
    [(kind, n) for kind, deeds in FUNCTIONS.items() for n in range(len(deeds))],
)
def test_every_function_finds_it(kind, number, form, make, here):
    FUNCTIONS[kind][number](make(FORMS[form](getattr(here, kind), here.folder)))


def test_a_track_stays_private_by_its_folder_too(here, tmp_path):
    for place in (here.track, Path(here.track)):
        with pytest.raises(PxrdbenchError, match="stays where it was built"):
            export_track(place, tmp_path / "out")
        with pytest.raises(PxrdbenchError, match="no audit stands beside"):
            load_report(place)


def test_a_folder_of_tracks_names_those_in_it(here):
    with pytest.raises(PxrdbenchError, match=r"cif-random, cif-structure-type"):
        load_track("tracks")


def test_a_file_never_names_a_folder(here):
    """Predictions that name a folder are not followed there."""
    part = load_track(here.track)
    named = replace(part, name=here.track)
    make_predictions(named).write(here.folder / "evil" / "p.h5")
    for deed in (
        lambda: compare("evil/p.h5", "evil/p.h5"),
        lambda: pack_submission("evil/p.h5", metadata_template()),
    ):
        with pytest.raises(PxrdbenchError, match="there is no track"):
            deed()


def test_a_shipped_model_has_its_name_everywhere():
    path = find_checkpoint("lab-v0")
    assert path.is_file()
    assert open_model("lab-v0").digest == load_classifier("lab-v0").digest
    assert find_model_file() == path


class TestAPriorOfOnesOwn:
    """It travels with its shards, or is asked for by its digest in one sentence."""

    def test_it_is_asked_for(self, here, monkeypatch, capsys):
        digest = load_prior(here.prior).digest
        for command in (
            "verify shards --samples 8",
            "export shards --out tmp/a --measurement rruff-paper",
            "train --model peak-network --shards shards --measurement rruff-paper",
        ):
            left = run(monkeypatch, command.split())
            told = capsys.readouterr().err.strip()
            assert left.code == 2
            assert digest[:12] in told
            assert told.count("\n") == 0

    def test_it_travels(self, here, tmp_path, monkeypatch):
        from pxrdbench.dataset.shards.own_prior import keep_prior
        from pxrdbench.dataset.storage.open import open_store

        prior = load_prior(here.prior)
        shards = tmp_path / "set"
        shards.mkdir()
        recipe = Recipe(prior, seed=3, grid=px.TwoThetaGrid(10, 60, 501))
        Manifest(recipe.card, 32).write(shards)
        for _ in write_shard(recipe, shards, ShardSpan.of(0, 32)):
            pass
        before = {p.name: p.read_bytes() for p in shards.iterdir()}
        keep_prior(open_store(shards), prior)
        keep_prior(open_store(shards), px.load_prior("open-v0"))  # ships: not copied
        after = {p.name: p.read_bytes() for p in shards.iterdir()}
        name = f"prior-{prior.digest[:12]}.npz"
        assert set(after) - set(before) == {name}
        assert before.items() <= after.items()
        for command in (
            f"verify {shards} --samples 8",
            f"export {shards} --out {tmp_path / 'o'} --measurement rruff-paper",
            f"prior show {shards}",
        ):
            assert run(monkeypatch, command.split()).code in (0, None)
        assert RollingSet(shards, measurement="rruff-paper").batch(0, 4)

    def test_another_prior_is_refused(self, here):
        with pytest.raises(PxrdbenchError, match="would give other crystals"):
            verify_shards("shards", prior="open-v0", sample=8)
