import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A program of its own, for a process without numba: cctbx and LLVM do not share one.
collect_ignore = ["helpers/physics/cctbx_worker.py"]
# Programs that measure for minutes; they are run by hand.
collect_ignore_glob = ["indexing/measure*.py", "indexing/count_*.py"]

PACKAGE = Path(__file__).parents[1] / "pxrdbench"


def drop_stale_kernels() -> None:
    """Delete compiled kernels when any file with kernels has changed.

    numba 0.68 looks at the file of a kernel only, not at the files of the kernels that
    it calls: after an edit in one of those it would run the old code.
    """
    sources = [path.read_bytes() for path in sorted(PACKAGE.rglob("*.py"))]
    kernels = b"".join(source for source in sources if b"njit" in source)
    digest = hashlib.sha256(kernels).hexdigest()
    stamp = PACKAGE / "__pycache__" / "kernels.digest"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    for compiled in PACKAGE.rglob("*.nb[ic]"):
        compiled.unlink(missing_ok=True)
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(digest)


drop_stale_kernels()

settings.register_profile("default", deadline=None)
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real crystals and measurements, which is never committed."""
    folder = os.environ.get("PXRDBENCH_TEST_DATA")
    if not folder:
        pytest.skip("PXRDBENCH_TEST_DATA is not set: no real data to test on")
    path = Path(folder)
    if not (path / "README.md").is_file():
        pytest.fail(f"PXRDBENCH_TEST_DATA={folder} does not hold the test data")
    return path


@pytest.fixture(scope="session")
def recipe():
    from pxrdbench.dataset.recipes.recipe import Recipe

    return Recipe("open-v0", seed=7)


@pytest.fixture(scope="session")
def shards(recipe, tmp_path_factory):
    """Two shards of 600 samples, for tests that only read."""
    from small_sets import write_set

    return write_set(recipe, tmp_path_factory.mktemp("shards") / "set")


@pytest.fixture
def tiny_model(monkeypatch):
    """A light model's name in the registry, for the length of a test."""
    from tiny_network import TINY

    from pxrdbench.learning.networks import registry

    monkeypatch.setitem(registry._MODELS, "tiny", TINY)
    return "tiny"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-data",
        action="store_true",
        help="fail unless every test marked `data` ran",
    )


def pytest_terminal_summary(terminalreporter, config) -> None:
    if not config.getoption("--require-data"):
        return
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if _is_data(r)]
    passed = [r for r in terminalreporter.stats.get("passed", []) if _is_data(r)]
    terminalreporter.write_line(
        f"tests on real data: {len(passed)} passed, {len(skipped)} skipped"
    )


def pytest_sessionfinish(session, exitstatus) -> None:
    if hasattr(session.config, "workerinput"):
        return  # a worker of pytest-xdist: whoever started it has all reports
    if not session.config.getoption("--require-data") or exitstatus != 0:
        return
    stats = session.config.pluginmanager.get_plugin("terminalreporter").stats
    ran = sum(_is_data(report) for report in stats.get("passed", []))
    skipped = sum(_is_data(report) for report in stats.get("skipped", []))
    if ran == 0 or skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_data(report) -> bool:
    return "data" in getattr(report, "keywords", {})
