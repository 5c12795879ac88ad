"""What a run did can be read afterwards, line by line."""

import json

from pxrdbench.dataset.storage.local import LocalStore
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.factory import run_log
from pxrdbench.factory.progress import GenerateProgress
from pxrdbench.factory.run_log import LOG_FILE, RunLog


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_log_of_a_folder_grows_from_run_to_run(tmp_path):
    for number in range(2):
        log = RunLog(LocalStore(tmp_path))
        log.note("started", run=number)
        log.progress(GenerateProgress("running", 2, samples_per_second=1 / 3))
        log.progress(GenerateProgress("running", 2))  # too soon after the last
    lines = lines_of((tmp_path / LOG_FILE).read_text())
    assert [line["event"] for line in lines] == ["started", "progress"] * 2
    assert [lines[0]["run"], lines[2]["run"]] == [0, 1]
    assert lines[1]["samples_per_second"] == 0.333
    assert lines[0]["time"] <= lines[1]["time"]
    assert lines[0]["time"].endswith("+00:00")


def test_log_of_a_store_is_put_now_and_then(tmp_path, monkeypatch):
    store = open_store(f"memory://{tmp_path}", patience=0.3)
    log = RunLog(store)
    log.note("started")
    assert store.sizes() == {}
    monkeypatch.setattr(run_log, "_PUT_EVERY", 0.0)
    log.note("finished", shard="shard-000000")
    (name,) = store.sizes()
    log.note("ended")
    lines = lines_of(store.read(name).decode())
    assert [line["event"] for line in lines] == ["started", "finished", "ended"]
    assert list(store.sizes()) == [name]


def test_log_that_cannot_be_written_ends_nothing(tmp_path):
    RunLog(LocalStore(tmp_path / "none")).note("started")
    RunLog().note("started")
