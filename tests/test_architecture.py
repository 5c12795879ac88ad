"""The house stands as drawn, and the guards wake when a wall is broken."""

import ast
import importlib.metadata
import shutil
import subprocess
import sys
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
        ignore=shutil.ignore_patterns("__pycache__", "*.npz", "*.parquet"),
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
        ("crystal/symmetry.py", "import torch", "torch only"),
        ("dataset/shard.py", "import ray", "ray only"),
        ("learning/trainer.py", "import typer", "typer only"),
        (
            "crystal/symmetry.py",
            "import pxrdbench.dataset.shards.shard",
            "look only down",
        ),
    ],
)
def test_broken_wall_is_seen(house, room, line, wall):
    plant(house / "pxrdbench" / room, line)
    result = lint_imports(house)
    assert result.returncode != 0
    broken = [row for row in result.stdout.splitlines() if row.endswith("BROKEN")]
    assert any(wall in row for row in broken), result.stdout


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("import pickle", "TID251"),
        ("print('hello')", "T201"),
        ("from .structure import Crystal", "TID252"),
    ],
)
def test_ruff_sees_a_planted_fault(house, line, rule):
    plant(house / "pxrdbench" / "crystal" / "symmetry.py", line)
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
    assert sum(f.stat().st_size for f in files if f.is_file()) < 30e6


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
            if count <= 15 or any("njit" in ast.unparse(d) for d in node.decorator_list):
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
