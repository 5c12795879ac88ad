"""Work in other processes: order, progress, refusals."""

import pyarrow
import pytest

from pxrdbench.errors import SourceError
from pxrdbench.sources.guarded import available_cores, map_chunks


def double(table: pyarrow.Table) -> list[int]:
    return [2 * value for value in table["x"].to_pylist()]


def chunks(n: int) -> list[tuple[pyarrow.Table]]:
    return [(pyarrow.table({"x": [3 * i, 3 * i + 1, 3 * i + 2]}),) for i in range(n)]


def test_results_keep_their_order_whatever_the_number_of_processes():
    alone = map_chunks(double, chunks(5), workers=1)
    assert alone == [2 * value for value in range(15)]
    assert map_chunks(double, chunks(5), workers=2) == alone


def test_progress_ends_at_the_number_of_rows():
    calls = []
    map_chunks(double, chunks(3), workers=1, progress=lambda *call: calls.append(call))
    assert calls == [(3, 9), (6, 9), (9, 9)]


def test_nothing_to_do():
    assert map_chunks(double, [], workers=4) == []


def test_no_worker_is_refused():
    with pytest.raises(SourceError, match="0 workers"):
        map_chunks(double, chunks(1), workers=0)


def test_a_script_without_a_guard_is_told_so(tmp_path):
    import subprocess
    import sys

    script = tmp_path / "unguarded.py"
    script.write_text(
        "import pyarrow\n"
        "from pxrdbench.sources.guarded import map_chunks\n"
        "chunk = (pyarrow.table({'x': [1]}),)\n"
        "map_chunks(len, [chunk, chunk], workers=2)\n"
    )
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60
    )
    assert run.returncode != 0
    assert "if __name__ == '__main__':" in run.stderr.splitlines()[-1]


def test_at_least_one_core():
    assert available_cores() >= 1
