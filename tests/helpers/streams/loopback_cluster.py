"""A Ray cluster of several nodes on this machine, behind the loopback address."""

import os
from contextlib import contextmanager


@contextmanager
def loopback_cluster(nodes):
    """A head without workers and so many nodes of one worker each."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 1024 * 1024, "include_dashboard": False}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "node_ip_address": "127.0.0.1", **small},
    )
    for _ in range(nodes):
        cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", **small)
    try:
        yield cluster
    finally:
        cluster.shutdown()
