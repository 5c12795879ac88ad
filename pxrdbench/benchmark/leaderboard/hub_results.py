"""A row of a leaderboard as Hugging Face shows it on a model's page.

A file in the folder ``.eval_results`` of a model's repository names a data set, a task
in it and a number. It is a claim of whoever puts it there: what was recomputed from
predictions stays in the row.

References:
    https://huggingface.co/docs/hub/eval-results, and `huggingface_hub.EvalResultEntry`.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pxrdbench.errors import EvaluationError
from pxrdbench.files import write_atomically
from pxrdbench.outside import guard, read_strict_json

_DATASET = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def check_dataset_name(dataset: str) -> None:
    """Refuse what cannot be the name of a data set on the Hub.

    Raises:
        EvaluationError: If it is not ``OWNER/NAME``.
    """
    if not _DATASET.fullmatch(dataset):
        raise EvaluationError(
            f"{dataset!r} is no data set of the Hub; its name is OWNER/NAME"
        )


def eval_results_text(row: Mapping[str, Any], dataset: str) -> str:
    """Write one row as the text of a file for ``.eval_results``.

    JSON is YAML, so no other writer is needed.

    Args:
        row: Of a leaderboard, as it is stored.
        dataset: ``OWNER/NAME`` of the data set on the Hub that holds the track.

    Raises:
        EvaluationError: If the name is none of a data set there.
    """
    check_dataset_name(dataset)
    evaluation, about = row["evaluation"], row["metadata"]
    top_1 = evaluation["metrics"]["top_1"]
    low, high = (100 * top_1[end] for end in ("low", "high"))
    entry: dict[str, Any] = {
        "dataset": {
            "id": dataset,
            "task_id": evaluation["track"]["name"].replace("/", "-"),
        },
        "value": round(100 * top_1["value"], 4),
        "date": about["date"],
        "notes": f"top-1 [%] on {evaluation['track']['part']}, 95 % interval "
        f"{low:.1f} to {high:.1f}; predictions {evaluation['predictions_digest'][:16]}",
    }
    if about["links"].get("code"):
        entry["source"] = {"url": about["links"]["code"], "name": about["title"]}
    return json.dumps([entry], indent=1, ensure_ascii=False) + "\n"


def write_eval_results(row: Path, dataset: str) -> Path:
    """Write the file beside a row: ``NAME.eval_results.yaml``.

    Raises:
        EvaluationError: If the name is none of a data set on the Hub, or the file is no
            row.
    """
    record = read_strict_json(row)
    with guard(EvaluationError, f"{row} is no row of a leaderboard"):
        text = eval_results_text(record, dataset)
    path = row.with_suffix(".eval_results.yaml")
    write_atomically(path, text.encode())
    return path
