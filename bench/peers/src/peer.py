"""Measures kazoo on one workload, and prints one line of JSON, as cmd/driver does.

One caller calls synchronously; more are a window of as many asynchronous requests,
each sent by the completion of another.
"""

import argparse
import json
import logging
import os
import resource
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.protocol.states import EventType
from kazoo.version import __version__

NODE, PARENT = "/bench/node", "/bench/children"
NAMES = 1000
VALUE = bytes(100)
ARMERS = 64


def fatal(message):
    sys.stderr.write("peer: %s\n" % message)
    sys.stderr.flush()
    os._exit(1)


def wait(event, what):
    if not event.wait(20):
        fatal(what + ": not within 20 s")


class Usage:
    """What has been used between pairs of moments: seconds."""

    def __init__(self, server):
        self.server_pid = server
        self.sums = [0.0, 0.0, 0.0]

    def now(self):
        r = resource.getrusage(resource.RUSAGE_SELF)
        return time.monotonic(), r.ru_utime + r.ru_stime, self.server()

    def server(self):
        if self.server_pid == 0:
            return 0.0
        try:
            with open("/proc/%d/stat" % self.server_pid) as f:
                fields = f.read().rpartition(")")[2].split()  # the name may hold anything
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / 100

    def __enter__(self):
        self.before = self.now()

    def __exit__(self, *_):
        for i, after in enumerate(self.now()):
            self.sums[i] += after - self.before[i]


def one_caller(call, seconds):
    latencies = []
    t = time.perf_counter()
    end = t + seconds
    while t < end:
        call()
        after = time.perf_counter()
        latencies.append(after - t)
        t = after
    return latencies


class Window:
    """A window. All completions run on one thread of the client."""

    def __init__(self, request, size):
        self.request, self.left = request, size
        self.stop, self.done = False, 0
        self.ended = threading.Event()

    def send(self):
        self.request().rawlink(self.completed)

    def completed(self, result):
        if not result.successful():
            fatal(repr(result.exception))
        self.done += 1
        if not self.stop:
            self.send()
            return
        self.left -= 1
        if self.left == 0:
            self.ended.set()


def window(request, size, seconds):
    w = Window(request, size)
    for _ in range(size):
        w.send()
    time.sleep(seconds)
    w.stop = True
    wait(w.ended, "the last replies")
    return w.done


def burst(zk, paths, usage):
    """A burst of events, of as many watches."""
    armed, fired = threading.Event(), threading.Event()
    counts = [0, 0]
    todo = iter(paths)

    def event(ev):
        if ev.type == EventType.CHANGED:
            counts[1] += 1
            if counts[1] == len(paths):
                fired.set()

    def completed(result):
        if not result.successful():
            fatal(repr(result.exception))
        counts[0] += 1
        if counts[0] == len(paths):
            armed.set()
        arm()

    def arm():
        with lock:
            path = next(todo, None)
        if path is not None:
            zk.get_async(path, watch=event).rawlink(completed)

    lock = threading.Lock()
    for _ in range(ARMERS):
        arm()
    wait(armed, "watches")
    with usage:
        reply = zk.set_async("/burst", b"")
        wait(fired, "events")
        reply.get(timeout=20)


def duration(text):
    for unit, factor in ("ms", 1e-3), ("s", 1):
        if text.endswith(unit):
            return float(text[: -len(unit)]) * factor
    raise ValueError


def main():
    p = argparse.ArgumentParser(
        prog="peer", description="Measures kazoo once and prints what it found as JSON.", add_help=False
    )
    names = ["get1", "get64", "get512", "set512", "children", "events"]
    p.add_argument("-help", action="help")
    p.add_argument("-workload", choices=names, default="get64")
    p.add_argument("-addr", default="127.0.0.1:2181", help="the server")
    p.add_argument("-warmup", type=duration, default=0.6, help="time before the measurement, as 600ms or 0.6s")
    p.add_argument("-time", type=duration, default=1.2, help="time of the measurement, at least")
    p.add_argument("-n", type=int, default=0, help="watches of events; 0: 20000")
    p.add_argument("-server-pid", type=int, default=0, help="process of the server, to tell its CPU time too")
    args = p.parse_args()
    logging.disable(logging.CRITICAL)
    n = args.n or 20000

    zk = KazooClient(hosts=args.addr, timeout=10)
    zk.start(timeout=20)

    def get():
        data, _ = zk.get(NODE)
        if len(data) != len(VALUE):
            fatal("%d bytes" % len(data))

    def children():
        found, _ = zk.get_children(PARENT, include_data=True)
        if len(found) != NAMES:
            fatal("%d children" % len(found))

    usage = Usage(args.server_pid)
    out = {"client": "kazoo", "version": __version__, "workload": args.workload}
    if args.workload in ("get1", "children"):
        call = children if args.workload == "children" else get
        one_caller(call, args.warmup)
        with usage:
            latencies = one_caller(call, args.time)
        ops = len(latencies)
        latencies.sort()
        out["p50_us"], out["p99_us"] = latencies[ops // 2] * 1e6, latencies[ops * 99 // 100] * 1e6
    elif args.workload == "events":
        paths = ["/bench/watches/node-%010d" % i for i in range(n)]
        burst(zk, paths, Usage(0))  # warm-up
        ops = 0
        while ops < 3 * n or usage.sums[0] < args.time / 4:
            burst(zk, paths, usage)
            ops += n
        out["extra"] = {"burst_ms": usage.sums[0] * 1e3 * n / ops}
    else:
        request = (lambda: zk.set_async(NODE, VALUE)) if args.workload == "set512" else (lambda: zk.get_async(NODE))
        size = int(args.workload[3:])
        window(request, size, args.warmup)
        with usage:
            ops = window(request, size, args.time)
    seconds, cpu, server = usage.sums
    out.update(ops=ops, seconds=seconds, ops_per_s=ops / seconds, cpu_us=cpu * 1e6 / ops, server_cpu_us=server * 1e6 / ops)
    print(json.dumps(out), flush=True)
    os._exit(0)  # the end of the process closes the session's connection


main()
