"""The play of doc.go, by kazoo. It asks for a cut and an expiry on stdout, and reads from stdin when that has happened."""

import logging
import queue
import sys

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import NoNodeError, RolledBackError
from kazoo.protocol.states import EventType

logging.disable(logging.CRITICAL)
PATIENCE = 30


def ask(what):
    print(what, flush=True)
    assert sys.stdin.readline() == "done\n", "nobody did " + what


def expect(changes, want):
    got = changes.get(timeout=PATIENCE)
    assert got == want, got


def multi(create):
    t = zk.transaction()
    t.create(create)
    t.set_data("/app", b"multi")
    t.delete("/gone")
    return t.commit()


states = queue.Queue()
zk = KazooClient(hosts=sys.argv[1], timeout=20)
zk.add_listener(states.put)
zk.start(timeout=PATIENCE)
session, _ = zk.client_id
print("session %x" % session)

for path in "/app", "/dir", "/gone":
    zk.create(path)
made = zk.create("/app/n-", ephemeral=True, sequence=True)
assert made == "/app/n-0000000000", made

results = multi("/made")
assert results[0] == "/made" and results[1].version == 1 and results[2] is True, results
results = multi("/never")
assert isinstance(results[0], RolledBackError) and isinstance(results[2], NoNodeError), results
assert zk.exists("/never") is None

data = queue.Queue()
zk.get("/app", watch=data.put)
zk.set("/app", b"first")
ev = data.get(timeout=PATIENCE)
assert (ev.type, ev.path) == (EventType.CHANGED, "/app"), ev

# kazoo forgets its watches with the connection. Its recipes read again instead.
data, child, born = queue.Queue(), queue.Queue(), queue.Queue()
zk.DataWatch("/app", lambda value, stat: data.put(value))
zk.ChildrenWatch("/dir", child.put)
zk.DataWatch("/later", lambda value, stat: born.put(stat is not None))
expect(data, b"first")
expect(child, [])
expect(born, False)

ask("cut")
expect(data, b"while you were away")
expect(child, ["child"])
expect(born, True)
value, _ = zk.get("/app")
assert value == b"while you were away", value
assert zk.client_id[0] == session

ask("expire")
while states.get(timeout=PATIENCE) != KazooState.LOST:
    pass
zk.stop()
zk.close()
print("ok", flush=True)
