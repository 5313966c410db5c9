"""The part of kazoo in interop tests: peer.py HOST:PORT WHAT COUNT NAME

It does what the Go side does in the same directories, and prints a line for what
the test has to compare.
"""
import logging
import sys
import time

import kazoo.version
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.retry import KazooRetry

# Before 2.9 a reader waits for the last writer, even one that waits for it (kazoo issue 649).
READERS = tuple(int(n) for n in kazoo.version.__version__.split(".")[:2]) >= (2, 9)

logging.basicConfig(level=logging.CRITICAL)
addr, what, count, name = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
forever = lambda: KazooRetry(max_tries=-1, delay=0.02, max_delay=0.2)
zk = KazooClient(hosts=addr, timeout=10, connection_retry=forever(), command_retry=forever())
zk.start(timeout=60)


def critical():
    """Adds one to /count, which is exact only if nobody else is inside."""
    n = int(zk.retry(zk.get, "/count")[0])
    time.sleep(0.001)
    zk.retry(zk.set, "/count", str(n + 1).encode())


def exclusive(lock):
    for _ in range(count):
        with lock:
            critical()


def beside():
    """Takes turns, with ours and others in one directory, and says when it is inside."""
    lock = zk.Lock("/beside", name, ["-lock-"])
    for _ in range(count):
        with lock:
            zk.retry(zk.set, "/in-" + name, b"1")
            assert zk.retry(zk.get, "/in-us")[0] == b"0", "one of ours is inside"
            time.sleep(0.001)
            assert zk.retry(zk.get, "/in-us")[0] == b"0", "one of ours came in"
            zk.retry(zk.set, "/in-" + name, b"0")


def rw():
    for i in range(count):
        if i % 3 == 0:
            with zk.WriteLock("/rw", name, ["-__WRIT__", "-lock-", "-__READ__", "__rlock__"]):
                zk.retry(zk.set, "/busy", b"1")
                critical()
                zk.retry(zk.set, "/busy", b"0")
        elif READERS:
            with zk.ReadLock("/rw", name, ["-__WRIT__", "-lock-"]):
                assert zk.retry(zk.get, "/busy")[0] == b"0", "a writer is inside"


def semaphore():
    for _ in range(count):
        with zk.Semaphore("/sem", name, max_leases=2):
            made = zk.retry(zk.create, "/inside/x", ephemeral=True, sequence=True)
            assert len(zk.retry(zk.get_children, "/inside")) <= 2, "too many inside"
            zk.retry(zk.delete, made)


def counter():
    c = zk.Counter("/number")
    for _ in range(count):
        c += 1


def counter32():
    c = zk.Counter("/number", support_curator=True)
    for _ in range(count):
        c += 1


def party():
    p = zk.Party("/party", name)
    p.join()
    end = time.time() + 60
    while set(p) != {name, "go"}:
        assert time.time() < end, list(p)
        time.sleep(0.02)
    print("members", sorted(p), flush=True)
    sys.stdin.readline()
    p.leave()


def barrier():
    print("waits", flush=True)
    assert zk.Barrier("/barrier").wait(60)
    print("passed", flush=True)


def double():
    for _ in range(count):
        b = zk.DoubleBarrier("/double", 2, name)
        b.enter()
        print("entered", flush=True)
        sys.stdin.readline()
        b.leave()
        print("left", flush=True)


def put():
    q = zk.LockingQueue("/queue")
    for i in range(count):
        q.put(b"%s-%d" % (name.encode(), i), i % 3)


def take():
    q = zk.LockingQueue("/queue")
    while q.get(timeout=2) is not None:
        data = q.get()
        if q.consume():
            print("done", data.decode(), flush=True)


def partition():
    p = zk.SetPartitioner("/parts", set(name.split(",")), identifier="kazoo", time_boundary=1)
    end = time.time() + count
    shown = None
    while time.time() < end:
        if p.release:
            p.release_set()
        elif p.acquired:
            if list(p) != shown:
                shown = list(p)
                print("has", ",".join(sorted(shown)), flush=True)
        elif p.allocating:
            p.wait_for_acquire(0.2)
        time.sleep(0.02)
    p.finish()


{
    "lock": lambda: exclusive(zk.Lock("/lock", name, ["-lock-", "-latch-"])),
    "election": lambda: [zk.Election("/election", name).run(critical) for _ in range(count)],
    "rw": rw, "semaphore": semaphore, "counter": counter, "counter32": counter32, "party": party, "beside": beside, "barrier": barrier,
    "double": double, "put": put, "take": take, "partition": partition,
}[what]()
zk.stop()
print("ok", flush=True)
