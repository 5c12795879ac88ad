"""Notebooks of the docs run from top to bottom; the last expression of a cell shows."""

import ast
import json
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")
NOTEBOOKS = sorted(Path(__file__).parents[1].glob("docs/notebooks/*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["nbformat"] == 4
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(record["cells"]):
        if cell["cell_type"] != "code":
            continue
        assert not cell["outputs"], "outputs are not kept"
        place = f"{path.name}, cell {number}"
        tree = ast.parse("".join(cell["source"]), place)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, place, "exec"), names)  # noqa: S102 - our own text
        if last is not None:
            value = eval(compile(ast.Expression(last.value), place, "eval"), names)  # noqa: S307
            if hasattr(value, "_repr_html_"):
                assert "<" in value._repr_html_()
