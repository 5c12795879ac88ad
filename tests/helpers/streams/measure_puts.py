"""How many shards a second a driver lists in a distant object store.

    python tests/helpers/streams/measure_puts.py [--delay 30 100] [--shards 200]

A server on loopback, a process of its own, accepts whatever is put after a delay and
forgets it: what is timed is the driver's hand on the store (`Publisher`) with records
of usual size, one after the other and so many at a time.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import time

from measure_driver import record_of

RECIPE = "0" * 64


async def _answer(reader, writer, delay):
    """Accept requests of one connection until it ends."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"100-continue" in head:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            _, _, rest = head.partition(b"content-length:")
            await reader.readexactly(int(rest.partition(b"\r\n")[0] or 0))
            await asyncio.sleep(delay)
            writer.write(b'HTTP/1.1 200 OK\r\nETag: "0"\r\nContent-Length: 0\r\n\r\n')
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _serve(delay, channel):
    server = await asyncio.start_server(
        lambda reader, writer: _answer(reader, writer, delay), "127.0.0.1", 0
    )
    channel.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def serve(delay, channel):
    """Be the server, until the process is ended."""
    asyncio.run(_serve(delay, channel))


def list_shards(url, shards, at_once):
    """Shards a second, and processor seconds a shard."""
    from pxrdbench.dataset.shards.manifest import ShardSpan
    from pxrdbench.dataset.shards.shard import ShardProgress
    from pxrdbench.dataset.storage.open import open_store
    from pxrdbench.factory import publisher

    publisher.AT_ONCE = at_once
    offsets = tuple(range(0, 67_000_000, 340_000))

    def put(first, count):
        with publisher.Publisher(open_store(url)) as hand:
            for index in range(first, first + count):
                span = ShardSpan.of(index, 50_000)
                record = record_of(span, RECIPE)
                record = type(record)(**{**vars(record), "block_offset": offsets})
                hand.take(span, ShardProgress(50_000, 67_000_000, record))
            done = 0
            while done < count:
                done += len(hand.listed())
                time.sleep(0.002)

    put(0, 2 * at_once)  # connections are opened
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    put(1000, shards)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return shards / seconds, cpu / shards


def main():
    """Do it and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--delay", type=float, nargs="+", default=[30.0, 100.0])
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--shards", type=int, default=200)
    options = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    result = []
    for delay in options.delay:
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.Process(target=serve, args=(delay / 1000, theirs))
        server.start()
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{ours.recv()}"
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        for at_once in options.at_once:
            count = min(options.shards, 30 * at_once)
            rate, cpu = list_shards("s3://bucket/set", count, at_once)
            result.append(
                {
                    "delay_ms": delay,
                    "at_once": at_once,
                    "shards_per_second": round(rate, 1),
                    "processor_ms_a_shard": round(1000 * cpu, 2),
                }
            )
        server.terminate()
        server.join()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
