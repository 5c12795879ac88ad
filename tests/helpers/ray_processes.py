"""Processes of Ray workers that descend from this one, by /proc."""

import os
from pathlib import Path


def find_descendants(command, of=None, having=""):
    """Descendants by their command lines: process id and CPU time [s].

    Args:
        command: How the line begins.
        of: Whose descendants; those of this process if None.
        having: What the line holds.
    """
    root = os.getpid() if of is None else of
    parents, found = {}, {}
    ticks = os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            pid = int(folder.name)
            parents[pid] = int(fields[1])
            line = (folder / "cmdline").read_bytes()
            if line.startswith(command) and having.encode() in line:
                found[pid] = (int(fields[11]) + int(fields[12])) / ticks
        except OSError:  # it has ended meanwhile
            continue

    def is_ours(pid):
        return pid == root or (pid in parents and is_ours(parents[pid]))

    return {pid: seconds for pid, seconds in found.items() if is_ours(pid)}
