"""An option that cannot act is refused: one sentence, exit status 2; at every verb."""

from pathlib import Path

import pytest
import typer

from pxrdbench.cli import app, main
from pxrdbench.crystal.prior.edit import restrict_prior
from pxrdbench.crystal.prior.prior import load_prior
from pxrdbench.dataset.recipes.recipe import Recipe
from pxrdbench.errors import OptionError
from pxrdbench.learning.models.checkpoint import load_checkpoint
from pxrdbench.learning.training.config import SOURCE_KINDS, TrainConfig
from pxrdbench.learning.training.request import TrainRequest

DRAWS = {
    "--prior": "open-v0",
    "--frequencies": "fitted",
    "--radiation": "CuKa1",
    "--grid": "5:90:4251",
    "--max-volume": "900",
    "--coordinates": "uniform",
    "--structure-type": "221 0:a 1:b O:c",
    "--mixture": "clean",
}
SOURCES = {"shards": "--shards nowhere", "real": "--source import:nowhere"}
TRAIN = "train --model peak-network"
PARK = "train --preset schopmans2023/park-medium-types"
RESNET = "train --preset schopmans2023/resnet-10"

# What is typed, and the options of it that cannot act.
REFUSED = [
    *(
        (f"{TRAIN} {source} {option}", value, option)
        for source in SOURCES.values()
        for option, value in DRAWS.items()
    ),
    (f"{TRAIN} --shards nowhere --preset", "paper", "--preset"),
    # On real crystals a published run takes the groups and bounds of a prior.
    *(
        (f"{RESNET} {source} {option}", value, option)
        for source in SOURCES.values()
        for option, value in DRAWS.items()
        if (source, option) != (SOURCES["real"], "--prior")
    ),
    *(
        (f"{PARK} --source import:nowhere {option}", value, option)
        for option, value in DRAWS.items()
        if option != "--prior"
    ),
    (f"{TRAIN} --online --data", "nowhere", "--data"),
    (f"{TRAIN} --online --consumer", "small", "--consumer"),
    (f"{TRAIN} {SOURCES['real']} --consumer", "small", "--consumer"),
    (f"{TRAIN} --shards nowhere --data", "nowhere", "--data"),
    (f"{TRAIN} --source import:nowhere --data", "nowhere", "data"),
    (f"{TRAIN} --shards nowhere --tasks", "space_group,lattice", "lattice"),
    (f"{TRAIN} --shards nowhere --tasks", "crystallite_size", "crystallite_size"),
    (f"{TRAIN} --online --measurement rruff-paper --tasks", "crystallite_size",
     "crystallite_size"),
    (f"{TRAIN} --online --mask", "", "mask"),
    (f"{TRAIN} --online --mixture clean --measurement", "laboratory", "--measurement"),
    (f"{TRAIN} --online --structure-type", "221 0:a 1:b O:c|--frequencies|icsd",
     "--frequencies"),
    (f"{TRAIN} --online --evaluations", "3", "--evaluations"),
    (f"{PARK} --online", "", "--online"),
    (f"{PARK} --shards", "nowhere", "--shards"),
    ("generate --structure-type", "221 0:a 1:b O:c|--frequencies|icsd",
     "--frequencies"),
    ("generate --address auto --dashboard", "", "--dashboard"),
    ("eval p.h5 --weights", "w.pt", "--weights"),
    ("eval p.h5 --unconfined", "", "unconfined"),
    ("eval crystallographer --unconfined", "", "unconfined"),
    ("submit p.h5 --metadata m.json --unconfined", "", "--unconfined"),
    ("predict scan.xy --json --out", "x.png", "--out"),
    ("predict scan.xy --radiation", "CuKa", "--radiation"),
    ("simulate nacl.cif --seed", "3", "--seed"),
    *(
        (f"simulate nacl.cif --scan scan.xy {option}", value, option)
        for option, value in {
            "--from": "9", "--to": "80", "--step": "0.1", "--mode": "paper",
            "--fwhm": "0.1", "--size": "50", "--measurement": "laboratory",
        }.items()
    ),
    ("predict scan.xy --bravais-lattice", "cF", "bravais_lattice"),
    ("predict scan.xy --cell 4,4,4,90,90,90 --max-volume", "99", "max_volume"),
    ("index scan.xy --radiation", "CuKa", "--radiation"),
    ("index scan.xy --bravais-lattice", "cF", "bravais_lattice"),
    ("index scan.xy --cell", "4 4 4 90 90 90|--max-volume|9", "max_volume"),
    ("index scan.xy --cell", "4 4 4 90 90 90|--crystal-system|cubic",
     "crystal_system"),
    ("import cod folder --out out --csv", "x.csv", "ICSD"),
    ("fetch --out", "folder", "--out"),
    ("fetch --yes", "", "--yes"),
    ("fetch --from", "https://x", "--from"),
    ("fetch --ids", "x", "--ids"),
    ("fetch --lock", "x", "--lock"),
    ("fetch rruff --out x --yes --ids", "x", "--ids"),
    ("verify nowhere --samples 0 --prior", "open-v0", "--prior"),
    ("export set --out tmp --prior", "open-v0", "prior"),
    ("compare p.h5 p.h5 --paired-seeds", "", "paired seeds"),
    ("submit --template t.json --metadata", "x", "--metadata"),
    ("submit --template t.json --folder", "x", "--folder"),
    ("submit --template t.json --check", "x", "--check"),
    ("submit --template t.json --replace", "", "--replace"),
    ("submit --template t.json", "p.h5", "predictions"),
    ("submit --check x.json --metadata", "x", "--metadata"),
    ("submit --check x.json --folder", "x", "--folder"),
    ("submit --check x.json --replace", "", "--replace"),
    ("submit --check x.json --hub-dataset", "a/b", "--hub-dataset"),
    ("prior fit . --cif --out o.npz --track", "open/random", "--track"),
    ("prior fit . --out o.npz --groups", "9", "--groups"),
    ("prior fit . --out o.npz --smooth --min-crystals", "9", "--min-crystals"),
    ("prior fit imported --out o.npz --workers", "1", "--workers"),
    ("prior fit imported --out o.npz --cif", "", "--cif"),
    ("prior show --structures", "x", "--structures"),
    ("prior show --track", "open/random", "--track"),
    ("prior show --workers", "1", "--workers"),
    ("prior show --figures f --track", "open/random", "--track"),
    ("prior show --figures f --workers", "1", "--workers"),
    ("prior compare open-v0 open-145 --track", "open/random", "--track"),
    ("prior compare open-v0 open-145 --workers", "1", "--workers"),
    ("bench --crystals 9 stream", "", "--crystals"),
    ("bench --corpus x stream", "", "--corpus"),
    ("bench --measurement x stream", "", "--measurement"),
    ("bench --workers 1 stream", "", "--workers"),
    ("bench --out x stream", "", "--out"),
    ("bench --index stream", "", "--index"),
    ("bench --interpreter x stream", "", "--interpreter"),
    ("bench --index --corpus", "x", "--corpus"),
    ("bench --index --workers", "1", "--workers"),
    ("split audit --cache", "x", "--cache"),
    ("split audit --out", "x", "--out"),
    ("split audit --source imported --cache", "x", "--cache"),
    ("split build icsd imported --out x --min-crystals", "9", "--min-crystals"),
    ("prior fit --out x.npz --seen", "", "--seen"),
    ("prior fit --out x.npz --smooth --groups 9 --seen", "", "--seen"),
    ("prior fit --out x.npz --minerals", "", "--minerals"),
    ("prior fit --out x.npz --cif", "", "--cif"),
    ("prior fit --out x.npz --workers", "1", "--workers"),
]  # fmt: skip

# Options that act whatever else is said: of each verb, so that a new one is thought of.
ALWAYS = {
    "demo": "--out --minutes",
    "generate": "--hours --minutes --samples --out --seed --prior --workers --max-size "
    "--shard-samples --address --rolling --preset --radiation --measurement "
    "--max-volume --coordinates --structure-type",
    "stream": "--model --out --minutes --patterns --resume --shards --max-size "
    "--workers --address --seed --prior --measurement --max-volume --coordinates "
    "--structure-type",
    "train": "--model --shards --source --minutes --patterns --cpu-minutes "
    "--out --resume --from --batch-size --learning-rate --optimizer --schedule "
    "--precision --compile --accumulate --average --classes --keep "
    "--tensorboard --device --threads --loader-workers --seed --track",
    "eval": "model --track --part --out --json",
    "predict": "files --model --top --json --cell --elements --formula "
    "--crystal-system --exclude --prior --instrument",
    "simulate": "files --radiation --out --instrument --scan --json",
    "instrument fit": "file --standard --out --radiation",
    "index": "file --scan --cell --prior --top --json --out --cif --hkl",
    "import": "kind path --out --paper --max-volume --max-sites --min-crystals "
    "--ordered --same-group --symprec --restricted --workers --time-limit --json",
    "fetch": "source",
    "export": "shards --out --format --samples --measurement --allow-restricted --json",
    "verify": "shards --samples --json",
    "compare": "first second --track --out --json",
    "robustness": "model --track --part --crystals --effect --structures --weights "
    "--seed --out",
    "randomise": "model --structures --track --part --crystals --prior --seeds "
    "--weights --out",
    "submit": "--template --track",
    "leaderboard": "folder --out",
    "models": "--json",
    "export-model": "checkpoint --out --patterns --tolerance --json",
    "prior fit": "structures --out --name --smooth --per-element --restricted "
    "--icsd-counts",
    "prior show": "prior --figures",
    "prior compare": "first second --structures --count",
    "prior merge": "first second --out --name",
    "prior restrict": "prior --out --min-crystals --name",
    "prior export": "prior --out --fewest --release --name",
    "prior check": "prior --samples --seed",
    "bench stream": "--samples --batch-size --prior --measurement --folder --out",
    "bench": "",
    "split list": "--json",
    "split show": "track --json",
    "split export": "track --out --json",
    "split check": "track --json",
    "split audit": "tracks --anew --source",
    "split build icsd": "imported --out --paper",
    "split build rruff": "folder --out --processed",
    "split build compare": "first second",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A set of shards, predictions, a scan that tells its radiation, an import."""
    from small_sets import write_set
    from small_track import make_predictions

    from pxrdbench.diffraction.pattern import TwoThetaGrid
    from pxrdbench.tracks.load import load_track

    folder = tmp_path_factory.mktemp("idle")
    write_set(Recipe(grid=TwoThetaGrid(10, 60, 501)), folder / "set", 1)
    make_predictions(load_track("aflow/prototypes")).write(folder / "p.h5")
    rows = "\n".join(f"{5 + k / 10:.1f} {9 + (k == 200) * 900}" for k in range(850))
    (folder / "scan.xy").write_text(f"# radiation CuKa\n{rows}\n")
    (folder / "imported").mkdir()
    (folder / "imported" / "import.json").write_text("{}")
    (folder / "nacl.cif").write_text(
        "data_NaCl\n_cell_length_a 5.64\n_cell_length_b 5.64\n_cell_length_c 5.64\n"
        "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
        "_symmetry_space_group_name_H-M 'F m -3 m'\nloop_\n_atom_site_label\n"
        "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
        "Na 0 0 0\nCl 0.5 0.5 0.5\n"
    )
    (folder / "folder").mkdir()
    (folder / "folder" / "a.cif").write_text("data_a\n")
    return folder


@pytest.mark.parametrize(("command", "value", "told"), REFUSED)
def test_it_is_refused_in_one_sentence(
    command, value, told, folder, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    typed = [*command.split(), *(value.split("|") if value else [])]
    monkeypatch.setattr("sys.argv", ["pxrdbench", *typed])
    with pytest.raises(SystemExit) as left:
        main()
    error = capsys.readouterr().err.strip()
    assert left.value.code == 2
    assert error.count("\n") == 0, error
    assert told in error
    assert sorted(folder.rglob("*")) == before


def _verbs(command, name=""):
    for word, inner in getattr(command, "commands", {}).items():
        yield from _verbs(inner, f"{name} {word}".strip())
    if name and (not hasattr(command, "commands") or command.invoke_without_command):
        named = (p.opts[0] if p.param_type_name == "option" else p.name
                 for p in command.params)  # fmt: skip
        yield name, set(named)


def test_every_option_of_every_verb_is_thought_of():
    verbs = dict(_verbs(typer.main.get_command(app)))
    refused = {name: set() for name in verbs}
    for command, value, told in REFUSED:
        name = max((n for n in verbs if f"{command} ".startswith(f"{n} ")), key=len)
        if name == "bench stream" or command.endswith(" stream"):
            name = "bench"
        typed = {*command.split(), *value.split("|"), f"--{told}", told}
        refused[name] |= verbs[name] & typed
    for name, options in verbs.items():
        left = options - set(ALWAYS[name].split()) - refused[name]
        assert not left, f"{name}: when can {sorted(left)} not act?"


class TestAPublishedRun:
    """What is said wins over it."""

    def request(self, **said):
        return TrainRequest(preset="schopmans2023/resnet-50", patterns=10, **said)

    def test_it_fills_in_what_was_not_said(self):
        config = self.request().to_config()
        assert (config.model, config.optimizer) == ("resnet-50", "adam")
        assert (config.batch_size, config.learning_rate) == (145, 1e-4)
        assert config.schedule == "halving"
        assert config.recipe.card.preset == "paper"
        assert config.recipe.card.prior_name == "open-145"

    def test_what_is_said_wins(self, tmp_path):
        restrict_prior(load_prior("open-v0"), min_crystals=300, name="mine").save(
            tmp_path / "mine.npz"
        )
        config = self.request(
            prior=tmp_path / "mine.npz",
            model="peak-network",
            optimizer="adamw",
            schedule="cosine",
            batch_size=8,
            measurement="laboratory",
        ).to_config()
        assert config.recipe.prior.digest == load_prior(tmp_path / "mine.npz").digest
        assert config.recipe.card.measurement.name == "laboratory"
        assert (config.model, config.optimizer) == ("peak-network", "adamw")
        assert (config.schedule, config.batch_size) == ("cosine", 8)

    def test_its_checkpoint_has_the_digest_of_my_prior(self, tmp_path, monkeypatch):
        mine = restrict_prior(load_prior("open-v0"), min_crystals=300, name="mine")
        mine.save(tmp_path / "mine.npz")
        command = (
            f"train --preset schopmans2023/park-big --prior {tmp_path / 'mine.npz'} "
            f"--model peak-network --patterns 16 --batch-size 8 --out {tmp_path / 'o'}"
        )
        monkeypatch.setattr("sys.argv", ["pxrdbench", *command.split()])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code in (0, None)
        kept = load_checkpoint(tmp_path / "o")
        assert kept.prior_digest == mine.digest


def test_the_config_knows_what_acts_on_its_source(tmp_path):
    recipe = Recipe()
    place = {"recipe": recipe, "shards": tmp_path, "source": "import:x"}
    value = {"measurement": "laboratory", "data": Path("x"), "mixture": ("clean",)}
    for kind, source in SOURCE_KINDS.items():
        for name in value.keys() - source.options:
            with pytest.raises(OptionError, match=f"{name} cannot act on"):
                TrainConfig("tiny", tmp_path, **{kind: place[kind], name: value[name]})
    with pytest.raises(OptionError, match="recipe's measurement"):
        TrainConfig(
            "tiny",
            tmp_path,
            recipe=Recipe(measurement="laboratory"),
            mixture=("clean",),
        )
