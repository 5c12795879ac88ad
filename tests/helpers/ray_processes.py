"""Processes of Ray workers that descend from this one, by /proc."""

import os
from pathlib import Path


def find_descendants(command):
    """Descendants whose command line begins so: process id and CPU time [s]."""
    parents, found = {}, {}
    ticks = os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            pid = int(folder.name)
            parents[pid] = int(fields[1])
            if (folder / "cmdline").read_bytes().startswith(command):
                found[pid] = (int(fields[11]) + int(fields[12])) / ticks
        except OSError:  # it has ended meanwhile
            continue

    def is_ours(pid):
        return pid == os.getpid() or (pid in parents and is_ours(parents[pid]))

    return {pid: seconds for pid, seconds in found.items() if is_ours(pid)}
