"""The Python example of zkserve's documentation, as a whole program. Its argument is the built zkserve."""

import logging
import subprocess
import sys

from kazoo.client import KazooClient

logging.disable(logging.CRITICAL)
zkserve = sys.argv[1]

server = subprocess.Popen([zkserve, "-port", "0"], stdout=subprocess.PIPE, text=True)
try:
    client = KazooClient(hosts=server.stdout.readline().strip())
    client.start()
    client.create("/a", b"1")
    data, stat = client.get("/a")
    assert (data, stat.czxid) == (b"1", 2), (data, stat)
    client.stop()
finally:
    server.terminate()
    assert server.wait() == 0
print("ok")
