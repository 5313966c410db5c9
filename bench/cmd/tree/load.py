# Loads a subtree into kazoo's TreeCache, again and again.
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.recipe.cache import TreeCache, TreeEvent

addr, path, nodes, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
client = KazooClient(hosts=addr, timeout=30)
client.start()
for _ in range(rounds):
    ready, seen = threading.Event(), [0]

    def listen(event):
        if event.event_type == TreeEvent.NODE_ADDED:
            seen[0] += 1
        if event.event_type == TreeEvent.INITIALIZED:
            ready.set()

    cache = TreeCache(client, path)
    cache.listen(listen)
    cpu, start = time.process_time(), time.monotonic()
    cache.start()
    ready.wait()
    seconds, used = time.monotonic() - start, time.process_time() - cpu
    if seen[0] != nodes:
        sys.exit("%d znodes, not %d" % (seen[0], nodes))
    print('{"seconds":%f,"cpu":%f,"heap":0}' % (seconds, used), flush=True)
    cache.close()
client.stop()
