"""The house stands as drawn, and the guards wake when a wall is broken."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

import pxrdbench

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pxrdbench"
MODULES = sorted(PACKAGE.rglob("*.py"))


def run(command, cwd):
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True
    )


def lint_imports(folder):
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, '.');"
            "from importlinter.cli import lint_imports_command as main; main()",
            "--no-cache",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def house(tmp_path):
    """A copy of the package to break things in."""
    shutil.copytree(
        PACKAGE,
        tmp_path / "pxrdbench",
        ignore=shutil.ignore_patterns(
            "__pycache__", "*.npz", "*.parquet", "*.pt", "*.json"
        ),
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def plant(file, line):
    file.write_text(f"{file.read_text()}\n{line}\n")


def test_contracts_hold(house):
    result = lint_imports(house)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_file_without_a_room_breaks_the_build(house):
    (house / "pxrdbench" / "utils.py").write_text('"""Anything."""\n')
    result = lint_imports(house)
    assert result.returncode != 0
    assert "utils" in result.stdout


@pytest.mark.parametrize(
    ("room", "line", "wall"),
    [
        ("crystal/symmetry/tables.py", "import torch", "torch only"),
        ("dataset/shards/shard.py", "import ray", "ray only"),
        ("factory/driver.py", "import ray", "ray only"),
        ("learning/training/trainer.py", "import typer", "typer only"),
        ("crystal/rng.py", "import pxrdbench.dataset.batch", "Rooms"),
        ("crystal/rng.py", "import pxrdbench.crystal.prior.prior", "Inside crystal"),
        ("learning/networks/resnet.py", "import pxrdbench.learning.tasks", "learning"),
        ("tracks/part.py", "import pxrdbench.tracks.load", "Inside tracks"),
    ],
)
def test_broken_wall_is_seen(house, room, line, wall):
    plant(house / "pxrdbench" / room, line)
    result = lint_imports(house)
    assert result.returncode != 0
    broken = [row for row in result.stdout.splitlines() if row.endswith("BROKEN")]
    assert any(wall in row for row in broken), result.stdout


def test_stray_file_inside_a_room_breaks_the_build(house):
    (house / "pxrdbench" / "tracks" / "utils.py").write_text('"""Anything."""\n')
    result = lint_imports(house)
    assert result.returncode != 0
    assert "Inside tracks: imports look only down BROKEN" in result.stdout


def find_faults(package):
    """What the house forbids and no linter knows; by kind."""
    trees = {path: ast.parse(path.read_text()) for path in package.rglob("*.py")}
    faults = {"atomic writer": [], "class name": [], "undeclared": [], "folder": []}
    for path in trees:
        renames = re.search(r"\.part\b[\"']|fsync\(|os\.replace\(", path.read_text())
        if renames and path.name not in WRITERS:
            faults["atomic writer"].append(path.name)
    names = Counter(
        node.name
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    faults["class name"] = [name for name, count in names.items() if count > 1]
    imported = {
        name.partition(".")[0]
        for tree in trees.values()
        for node in ast.walk(tree)
        for name in _imported_names(node)
    }
    undeclared = imported - _declared() - set(sys.stdlib_module_names)
    faults["undeclared"] = sorted(undeclared)
    folders = Counter(path.parent for path in trees)
    faults["folder"] = [
        f"{folder.name}: {count}"
        for folder, count in folders.items()
        if count > 16 and folder.name != "cli"
    ]
    return {kind: found for kind, found in faults.items() if found}


# files.py writes whole files; a shard and the log of a run are written piece by piece,
# and the card of a set names the ending.
WRITERS = {"files.py", "shard.py", "publisher.py"}
# What is imported under another name than it is installed by, and what stands for its
# parts: sklearn is scikit-learn, llvmlite comes with numba, whose versions it fixes.
NAMES = {"scikit-learn": "sklearn", "huggingface-hub": "huggingface_hub"}


def _imported_names(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module]
    return []


def _declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(x for name in extras for x in extras[name])]
    names = [re.match(r"[\w-]+", line).group().lower() for line in lines]
    return {NAMES.get(name, name.replace("-", "_")) for name in names} | {"pxrdbench"}


def test_one_of_each():
    assert find_faults(PACKAGE) == {}
    tests = Counter(path.parent for path in (ROOT / "tests").rglob("*.py"))
    assert not [str(k) for k, n in tests.items() if n > 16 and k.name != "cli"]


@pytest.mark.parametrize(
    ("file", "line", "kind"),
    [
        ("crystal/rng.py", "import tqdm", "undeclared"),
        ("crystal/rng.py", "class Crystal: ...", "class name"),
        ("tracks/store.py", 'PART = path + ".part"', "atomic writer"),
        ("cli/prior.py", "os.replace(a, b)", "atomic writer"),
        *((f"tracks/more_{i}.py", "", "folder") for i in range(1)),
    ],
)
def test_a_second_of_its_kind_is_seen(house, file, line, kind):
    path = house / "pxrdbench" / file
    if path.exists():
        plant(path, line)
    else:
        for number in range(16):
            path.with_stem(f"more_{number}").write_text('"""More."""\n')
    assert list(find_faults(house / "pxrdbench")) == [kind]


def circles(package):
    """Groups of modules that import each other, imports inside functions too."""
    import grimp

    sys.path.insert(0, str(package.parent))
    try:
        graph = grimp.build_graph(package.name, cache_dir=None)
    finally:
        sys.path.pop(0)
    modules = graph.modules - {package.name}  # the front door knows every room
    reach = {m: graph.find_downstream_modules(m) - {package.name} for m in modules}
    rings = {
        frozenset({m} | {n for n in reach[m] if n in modules and m in reach[n]})
        for m in modules
    }
    return sorted(sorted(ring) for ring in rings if len(ring) > 1)


def test_circles_are_those_that_are_known():
    # A crystal's methods are doors to modules that need crystals (its CIF is read and
    # written there); a prediction draws itself. Both are imported when called.
    found = [[name.rpartition(".")[2] for name in ring] for ring in circles(PACKAGE)]
    assert found == [
        [
            *("build", "checks", "read"),  # of crystal/cif_reader
            *("cif_writer", "conversion", "structure", "validation"),
        ],
        ["figure", "result", "zoom_page"],
    ]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("import pickle", "TID251"),
        ("print('hello')", "T201"),
        ("from .structure import Crystal", "TID252"),
    ],
)
def test_ruff_sees_a_planted_fault(house, line, rule):
    plant(house / "pxrdbench" / "crystal" / "structure.py", line)
    result = run(["ruff", "check", "--no-cache", "pxrdbench/crystal"], house)
    assert result.returncode != 0
    assert rule in result.stdout


def test_mypy_sees_a_planted_fault(house):
    plant(house / "pxrdbench" / "errors.py", "def double(x): return 2 * x")
    plant(house / "pxrdbench" / "errors.py", "WRONG: int = 'text'")
    result = run(["mypy", "--no-incremental", "pxrdbench/errors.py"], house)
    assert result.returncode != 0
    assert "no-untyped-def" in result.stdout
    assert "assignment" in result.stdout


@pytest.mark.parametrize(
    "command",
    ["import pxrdbench", "import sys; sys.argv=['x','--help']; import pxrdbench.cli"],
)
def test_import_is_light(command):
    heavy = ["torch", "ray", "pymatgen", "datasets", "matplotlib", "spglib", "pyxtal"]
    script = (
        f"{command}\nimport sys\n"
        f"print([m for m in {heavy} if m in sys.modules])\n"
        "print('typer' in sys.modules)"
    )
    result = run_script(script)
    loaded, typer = result.stdout.split("\n")[:2]
    assert loaded == "[]"
    assert typer == str("cli" in command)


def test_help_is_light():
    script = (
        "import sys; sys.argv = ['pxrdbench', '--help']\n"
        "from pxrdbench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'ray', 'pymatgen', 'numba') if m in sys.modules])"
    )
    result = run_script(script)
    assert "generate" in result.stdout
    assert result.stdout.strip().endswith("[]")


def run_script(script):
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_every_module_says_what_it_is(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert len(docstring.splitlines()[0]) <= 88


def test_public_names_are_there_and_sorted():
    assert pxrdbench.__all__ == sorted(pxrdbench.__all__, key=str.casefold)
    for name in pxrdbench.__all__:
        assert getattr(pxrdbench, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pxrdbench.no_such_name


def test_names_for_type_checkers_are_those_at_run_time():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    names = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {name: f"pxrdbench.{home}" for name, home in pxrdbench._HOME.items()}
    assert names == homes


def test_nothing_is_pickled_or_executed_when_data_is_read():
    words = (
        "import pickle",
        "allow_pickle=True",
        "weights_only=False",
        "torch.jit.load",
    )
    for path in MODULES:
        text = path.read_text()
        assert not [word for word in words if word in text], path


def test_tracked_tree_is_small():
    git = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    if git.returncode or not git.stdout:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in git.stdout.split("\0") if name]
    assert sum(f.stat().st_size for f in files if f.is_file()) < 60e6


def test_version_is_stated_once():
    assert importlib.metadata.version("pxrdbench") == pxrdbench.__version__


def test_only_verbs_and_kernels_take_more_than_fifteen_arguments():
    """A verb hands what was typed on at once: its first call reads ``context``."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            given = node.args
            count = len(given.posonlyargs + given.args + given.kwonlyargs)
            marks = " ".join(map(ast.unparse, node.decorator_list))
            if count <= 15 or "njit" in marks:
                continue
            assert path.parent.name == "cli", f"{path.name}: {node.name} takes {count}"
            deeds = [
                statement
                for statement in node.body[1:]
                if not isinstance(statement, ast.ImportFrom)
            ]
            assert "(context)" in ast.unparse(deeds[0])
            assert not {a.arg for a in given.args[1:]} & {
                name.id
                for deed in deeds
                for name in ast.walk(deed)
                if isinstance(name, ast.Name)
            }
