"""Threads that make batches beside a training."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch


def start_threads(workers: int) -> ThreadPoolExecutor:
    """Start threads in which torch does not spread its work over further threads.

    torch's setting is a default for new threads and a fact of the calling one, so it
    is put back as soon as every worker has taken its own.
    """
    threads = torch.get_num_threads()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="pxrdbench-loader")
    everyone = Barrier(workers + 1)

    def settle() -> None:
        # The first call in a thread takes over the number of the process, whatever
        # was set in the thread before (seen in torch 2.13).
        torch.get_num_threads()
        torch.set_num_threads(1)
        everyone.wait()

    for _ in range(workers):
        executor.submit(settle)
    everyone.wait()
    torch.set_num_threads(threads)
    return executor
