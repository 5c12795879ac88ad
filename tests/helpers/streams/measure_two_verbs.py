"""Producers and a trainer for minutes, as in two terminals: counts, disk and waiting.

    python tests/helpers/streams/measure_two_verbs.py [--minutes 10] [--limit 200MB]
        [--s3 | --nodes 3]

`generate --rolling trainer` with one worker, and a trainer that follows it with
`peak-network` and keeps the numbers of all samples that it reads; in a folder, through
an S3 server of this machine, or with workers on so many nodes of a Ray cluster on the
loopback address. Must hold

    what was learnt is what was given free and what the open shard holds; each sample is
        read once, in a row;
    the shards never take more than the limit;
    the trainer waits less than 5 % of its time, where producers are faster, and the
        producers say that they wait.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from loopback_cluster import loopback_cluster
from measure_stream_kills import Pair, check_lives, freed
from object_server import ObjectServer

from pxrdbench.dataset.shards.manifest import Manifest
from pxrdbench.dataset.storage.open import open_store
from pxrdbench.factory.limits import parse_size


def watch(pair):
    """Wait for the trainer's end; the largest size of the shards, and both meters."""
    store, largest, waited = open_store(pair.place), 0, False
    while pair.sides["trainer"].poll() is None:
        sizes = store.sizes()
        held = sum(size for name, size in sizes.items() if name.endswith(".tar"))
        largest = max(largest, held)
        told = store.read_many(["producer.json"]).get("producer.json", b"{}")
        waited |= json.loads(told).get("phase") == "waiting"
        time.sleep(0.2)
    return largest, waited


def serve_objects(stack):
    """Begin an S3 server with a bucket; the address of a set in it."""
    import s3fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ObjectServer()
    stack.callback(server.stop)
    os.environ.update(server.environment)
    s3fs.S3FileSystem().mkdir("streams")
    return "s3://streams/set"


def main():
    """Do it and print the result as JSON; exit status 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--limit", default="200MB")
    parser.add_argument("--model", default="peak-network")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--s3", action="store_true")
    where.add_argument("--nodes", type=int, default=0)
    options = parser.parse_args()
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ["PXRDBENCH_CACHE"] = str(Path(name) / "cache")
        url = serve_objects(stack) if options.s3 else None
        address = None
        if options.nodes:
            address = stack.enter_context(loopback_cluster(options.nodes)).address
        pair = Pair(Path(name), url=url, address=address)
        pair.limit, pair.shard_samples = options.limit, None
        minutes = str(options.minutes)
        pair.training = ("--model", options.model, "--minutes", minutes)
        try:
            for side in ("producer", "trainer"):
                pair.start(side)
            largest, has_waited = watch(pair)
            pair.sides["producer"].terminate()
            pair.sides["producer"].wait(60)
            learnt, lives = check_lives(pair)
            lines = (pair.out / "stream.jsonl").read_text().splitlines()
            last = json.loads(lines[-1])
            size = Manifest.read_description(pair.place).shard_samples
            free = freed(pair.place, size)
        finally:
            pair.stop()
    ahead = sum(line["learnt"] > line["written"] for line in map(json.loads, lines)
                if "written" in line)  # fmt: skip
    result = {
        "minutes": options.minutes,
        "s3": options.s3,
        "nodes": options.nodes,
        "learnt": learnt,
        "acknowledged": last["acknowledged"],
        "given_free_in_the_set": free,
        "shard_samples": size,
        "lives": lives,
        "limit_bytes": parse_size(options.limit),
        "largest_bytes": largest,
        "trainer_waited": last["trainer_waited"],
        "producers_waited": last["producers_waited"],
        "producers_said_so": has_waited,
        "learnt_per_second": last["learnt_per_second"],
        "bottleneck": last["bottleneck"],
        "lines_that_learnt_more_than_was_written": ahead,
    }
    print(json.dumps(result, indent=1))
    is_kept = (
        lives == 1
        and last["acknowledged"] == free == learnt // size * size
        and largest <= result["limit_bytes"]
        and (last["trainer_waited"] < 0.05 or last["producers_waited"] < 0.05)
        and not ahead
    )
    sys.exit(not is_kept)


if __name__ == "__main__":
    main()
