"""Check somebody's row in a process that has given up network, files and powers.

A row and its predictions are a stranger's files, and HDF5 is read by a large library
in C: who reads them has nothing that is worth having.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pxrdbench.benchmark.foreign.confinement import (
    leave_network,
    limit_files,
    limit_resources,
)
from pxrdbench.benchmark.foreign.supervisor import (
    Allowance,
    drop_capabilities,
    separate_processes,
    supervise,
)
from pxrdbench.benchmark.foreign.system_calls import filter_system_calls

_MEMORY_BYTES = 4 * 2**30
_SECONDS = 900.0
_DISK_BYTES = 2**28  # caches of compilers, in a folder that is thrown away
_MOST_ANSWER = 2**20


def check_row(
    row: Path, predictions: Path | None = None, *, unconfined: bool = False
) -> tuple[str, str]:
    """Check a row with trusted code, in a process of its own.

    Args:
        row: The file.
        predictions: What it was computed from; those beside the row if None.
        unconfined: Whether to go on where the system cannot confine the process.

    Returns:
        Name of the row, and which of its numbers were computed again.

    Raises:
        EvaluationError: With every fault, if there is one; or if the system cannot
            confine the process and nobody has said to go on.
    """
    from pxrdbench.errors import EvaluationError
    from pxrdbench.outside import one_line, parse_strict_json

    order = {
        "row": str(row.absolute()),
        "predictions": None if predictions is None else str(predictions.absolute()),
        "unconfined": unconfined,
    }
    with tempfile.TemporaryDirectory(prefix="pxrdbench-check-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={
                "PATH": os.defpath,
                "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": folder,
                "TMPDIR": folder,
                "NUMBA_CACHE_DIR": folder,
            },
            start_new_session=True,
        )
        try:
            assert process.stdin is not None  # noqa: S101  # asked for above
            assert process.stdout is not None  # noqa: S101
            process.stdin.write(json.dumps(order).encode())
            process.stdin.close()
            text = process.stdout.read(_MOST_ANSWER + 1)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]
    if not text or len(text) > _MOST_ANSWER:
        raise EvaluationError(
            f"{row} could not be checked: the process that read it ended without a "
            "word, or took more than it may"
        )
    answer = parse_strict_json(text, "what the check says")
    if "fault" in answer:
        lines = [one_line(line, 600) for line in str(answer["fault"]).split("\n")]
        raise EvaluationError("\n".join(lines))
    return one_line(str(answer["name"])), one_line(str(answer["told"]))


def main() -> None:
    """Give everything up, check, answer in one JSON object."""
    asker = int(sys.argv[1])
    order = json.loads(sys.stdin.buffer.read())
    is_apart = [leave_network(), separate_processes()]
    limit = Allowance(_MEMORY_BYTES, _SECONDS, 8, _DISK_BYTES)
    supervise(
        lambda: _answer(order, all(is_apart)),
        asker,
        lambda: limit,
        is_separate=is_apart[1],
    )


def _answer(order: dict[str, Any], is_apart: bool) -> None:
    try:
        answer = _check(order, is_apart)
    except ValueError as error:  # all of ours are
        answer = {"fault": str(error)}
    except Exception as error:  # whatever a library says of a file
        answer = {"fault": f"{order['row']}: {type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()


def _check(order: dict[str, Any], is_apart: bool) -> dict[str, str]:
    row, predictions = Path(order["row"]), order["predictions"]
    readable = [str(row.parent), *([predictions] if predictions else [])]
    given_up = [
        is_apart,
        limit_files(readable, [str(Path.cwd())]),
        drop_capabilities(),
        filter_system_calls(may_start=False),
    ]
    if not all(given_up) and not order["unconfined"]:
        raise ValueError(
            "this system cannot confine who reads a stranger's files (SECURITY.md), so "
            "the row was not read; check it in spite of that with --unconfined"
        )
    from pxrdbench.benchmark.leaderboard.submission import (
        check_submission,
        recomputed_numbers,
    )

    limit_resources(_MEMORY_BYTES)
    found = check_submission(row, predictions)
    return {"name": found.name, "told": recomputed_numbers(row, predictions)}


if __name__ == "__main__":
    main()
