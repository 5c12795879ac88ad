"""Nothing of a stranger's process outlives who asked, or takes more than it may."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_track import CLASSES, GRID, make_track

from pxrdbench.benchmark.foreign import worker
from pxrdbench.benchmark.foreign.sandbox import SandboxedClassifier, SandboxLimits
from pxrdbench.benchmark.foreign.supervisor import Allowance, descendants
from pxrdbench.benchmark.foreign.system_calls import make_filter
from pxrdbench.errors import ModelError, OptionError

CODE = f'''
import os, subprocess, sys, time
from pathlib import Path
import numpy as np
from pxrdbench.diffraction.pattern import TwoThetaGrid

class Base:
    space_groups = {tuple(CLASSES)}
    grid = TwoThetaGrid({GRID.start}, {GRID.stop}, {GRID.points})
    radiation = "CuKa1"

    def predict(self, intensity):
        self.act()
        return np.zeros((len(intensity), len(self.space_groups)), np.float32)

def burn():
    """A grandchild that has left its parents."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                pass
        os._exit(0)
    os.wait()

class Leaving(Base):
    def act(self):
        burn()
        print("ready", file=sys.stderr, flush=True)
        while True:
            time.sleep(1)

class Burning(Base):
    def act(self):
        for _ in range(3):
            burn()
        while True:
            time.sleep(1)

class Forking(Base):
    def act(self):
        for _ in range(40):
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        time.sleep(60)

class Filling(Base):
    def act(self):
        for number in range(30):
            Path(f"file-{{number}}").write_bytes(bytes(10**7))
        time.sleep(60)

class Prying(Base):
    def act(self):
        import ctypes, socket
        Path("own").write_text("x")
        said = []
        attempts = dict(
            chmod=lambda: os.chmod("own", 0o777),
            fchmod=lambda: os.fchmod(os.open("own", os.O_RDWR), 0o777),
            chown=lambda: os.chown("own", 0, 0),
            xattr=lambda: os.setxattr("own", "user.x", b"1"),
            times=lambda: os.utime("own"),
            unix=lambda: socket.socket(socket.AF_UNIX),
            inet=lambda: socket.socket(socket.AF_INET),
            netlink=lambda: socket.socket(socket.AF_NETLINK),
            priority=lambda: os.setpriority(os.PRIO_PROCESS, 0, 5),
            user=lambda: os.setuid(65534),
            fifo=lambda: os.mkfifo("fifo"),
            chroot=lambda: os.chroot("."),
            parent=lambda: os.kill({{parent}}, 0),
            link=lambda: os.link("/etc/passwd", "linked"),
            passwd=lambda: open("/etc/passwd"),
        )
        for name, attempt in attempts.items():
            try:
                attempt()
                said.append(name)
            except OSError:
                pass
        status = Path("/proc/self/status").read_text()
        caps = status.partition("CapEff:")[2].split()[0]
        raise ValueError(f"got {{said}} caps {{int(caps, 16)}}")

def __getattr__(name):
    raise AttributeError(name)
'''.replace("{{parent}}", "PARENT").replace("{parent}", "PARENT")


@pytest.fixture
def own_code(tmp_path, monkeypatch):
    text = CODE.replace("PARENT", str(os.getpid()))
    (tmp_path / "hostile_code.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def intensity():
    return make_track(5).batch(0, 2).intensity


def opened(name, **limits):
    return SandboxedClassifier(
        None,
        limits=SandboxLimits(
            **{"memory_bytes": 2**29, "answer_seconds": 60.0, **limits}
        ),
        factory=f"hostile_code:{name}",
    )


# Under nohup a process starts with SIGHUP ignored, and the test would wait for ever.
ASKER = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)
import numpy as np
from pxrdbench.benchmark.foreign.sandbox import SandboxedClassifier
with SandboxedClassifier(None, factory="hostile_code:Leaving") as model:
    model.predict(np.ones((2, model.grid.points), np.float32))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_outlives_who_asked(own_code, number):
    """The worker lived on each time, and so did its children."""
    asker = subprocess.Popen(
        [sys.executable, "-c", ASKER], stderr=subprocess.PIPE, cwd=own_code
    )
    assert b"ready" in asker.stderr.readline()
    # Watcher, first process, model, and the grandchild that left its parents.
    tree = [pid for pid in descendants(asker.pid) if pid != asker.pid]
    assert len(tree) >= 4
    asker.send_signal(number)
    asker.wait()
    asker.stderr.close()
    assert_gone(tree)


def assert_gone(tree):
    deadline = time.monotonic() + 10.0
    while any(map(is_alive, tree)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, tree))


def is_alive(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_closing_takes_all_along(own_code, intensity):
    model = opened("Leaving", answer_seconds=6.0)
    with pytest.raises(ModelError, match="no answer within"), model:
        try:
            model.predict(intensity)
        finally:
            tree = list(descendants(model._process.pid))
            assert len(tree) >= 4
    assert_gone(tree)


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("Burning", {"processor_seconds": 6.0}),  # three at once, none above it alone
        ("Forking", {"processes": 10}),
        ("Filling", {"disk_bytes": 5 * 10**7}),
    ],
)
def test_what_all_processes_take_is_added_up(own_code, intensity, name, limits):
    with (
        pytest.raises(ModelError, match=r"all its processes together|SIGXCPU|SIGKILL"),
        opened(name, **limits) as model,
    ):
        model.predict(intensity)


def test_own_code_pries_in_vain(own_code, intensity):
    with opened("Prying") as model:
        if not (model.is_filtered and model.is_confined and model.is_separate):
            pytest.skip("this system confines less")
        with pytest.raises(ModelError, match=r"got \[\] caps 0"):
            model.predict(intensity)


def order(**more):
    return {
        "readable": [],
        "kind": "onnx",
        "unconfined": False,
        "is_offline": True,
        "is_separate": True,
    } | more


@pytest.mark.parametrize("missing", ["limit_files", "drop_capabilities", "is_offline"])
def test_without_confinement_a_strangers_file_is_refused(monkeypatch, missing):
    for name in ("limit_files", "drop_capabilities", "filter_system_calls"):
        done = name != missing
        monkeypatch.setattr(worker, name, lambda *_, done=done, **__: done)
    given = order() | ({missing: False} if missing.startswith("is_") else {})
    with pytest.raises(ValueError, match="--unconfined"):
        worker._confine(given)
    worker._confine(given | {"unconfined": True})
    worker._confine(given | {"kind": "own code"})


def test_unconfined_cannot_act_on_own_checkpoints(tmp_path):
    from pxrdbench.benchmark.foreign.open import open_model

    with pytest.raises(OptionError, match="unconfined"):
        open_model("crystallographer", SandboxLimits(unconfined=True))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("may_start", [True, False])
def test_filter_is_a_program_that_ends(machine, may_start):
    """Every jump lands on a step, every way ends in an answer."""
    content = make_filter(machine, may_start=may_start)
    steps = [
        struct.unpack_from("=HBBI", content, at) for at in range(0, len(content), 8)
    ]
    assert len(steps) < 4096
    for place, (code, if_true, if_false, _) in enumerate(steps):
        if code & 7 == 5:
            assert place + 1 + max(if_true, if_false) < len(steps)
    assert steps[-1][0] == 6


def run_filter(content, data):
    """The kernel's machine, in Python."""
    steps = [
        struct.unpack_from("=HBBI", content, at) for at in range(0, len(content), 8)
    ]
    place = value = 0
    while True:
        code, if_true, if_false, k = steps[place]
        place += 1
        if code == 0x20:
            value = struct.unpack_from("=I", data, k)[0]
        elif code == 0x06:
            return k
        else:
            test = {0x15: value == k, 0x35: value >= k, 0x45: bool(value & k)}[code]
            place += if_true if test else if_false


@pytest.mark.parametrize(
    ("machine", "architecture", "chmod", "read", "clone"),
    [("x86_64", 0xC000003E, 90, 0, 56), ("aarch64", 0xC00000B7, 53, 63, 220)],
)
def test_filter_answers(machine, architecture, chmod, read, clone):
    def ask(number, *arguments, may_start=False, architecture=architecture):
        six = [*arguments, 0, 0, 0, 0, 0, 0][:6]
        data = struct.pack("=IIQ6Q", number, architecture, 0, *six)
        return run_filter(make_filter(machine, may_start=may_start), data)

    allow, eperm, kill = 0x7FFF0000, 0x00050001, 0x80000000
    assert ask(read) == allow
    assert ask(chmod) == ask(425) == ask(426) == eperm
    assert ask(read, architecture=0x40000003) == kill  # another architecture's numbers
    assert ask(clone, 0x10000) == allow
    assert ask(clone, 17) == eperm
    assert ask(clone, 17, may_start=True) == allow
    assert ask(435) == 0x00050000 | 38
    if machine == "x86_64":
        assert ask(0x40000000 | chmod) == kill
        assert ask(302, 0) == allow
        assert ask(302, 1) == eperm


def test_allowance_is_plain():
    assert Allowance(1, 2.0, 3, 4).processes == 3
