"""A Ray cluster of two nodes on this machine, in processes; told what to do on standard input.

Prints the cluster's address. `lose` kills the second node as a power cut would; the end of the
input ends both.
"""

import sys

from ray.cluster_utils import Cluster

SMALL = {"num_cpus": 1, "object_store_memory": 100_000_000}

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={**SMALL, "node_name": "one"})
    second = cluster.add_node(**SMALL, node_name="two")
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "lose":
            cluster.remove_node(second, allow_graceful=False)
            print("lost", flush=True)
    cluster.shutdown()
