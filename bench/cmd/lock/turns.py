# Takes turns under kazoo's lock, as many for each line that it reads.
import sys
import threading
import time

from kazoo.client import KazooClient

addr, path, count = sys.argv[1], sys.argv[2], int(sys.argv[4])
clients = [KazooClient(hosts=addr, timeout=30) for _ in range(int(sys.argv[3]))]
for c in clients:
    c.start()


def work(c):
    lock = c.Lock(path)
    for _ in range(count):
        lock.acquire()
        lock.release()


for _ in sys.stdin:
    threads = [threading.Thread(target=work, args=(c,)) for c in clients]
    cpu, start = time.process_time(), time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print('{"seconds":%f,"cpu":%f}' % (time.monotonic() - start, time.process_time() - cpu), flush=True)
for c in clients:
    c.stop()
