import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Version;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/**
 * Peer measures ZooKeeper's Java client on one workload, and prints one line of JSON,
 * as cmd/driver does. One caller calls synchronously; more are a window of as many
 * asynchronous requests, each sent by the completion of another.
 */
public class Peer {
    static final String USAGE = String.join("\n",
            "usage: Peer [flags]",
            "Measures ZooKeeper's Java client once and prints what it found as JSON.",
            "  -workload name     get1, get64, get512, set512, children or events (default get64)",
            "  -addr host:port    the server (default 127.0.0.1:2181)",
            "  -warmup duration   time before the measurement, as 600ms or 0.6s (default 2.5s: it is compiled meanwhile)",
            "  -time duration     time of the measurement, at least (default 1.2s)",
            "  -n number          watches of events (default 20000)",
            "  -server-pid pid    process of the server, to tell its CPU time too", "");
    static final String NODE = "/bench/node";
    static final String PARENT = "/bench/children";
    static final int NAMES = 1000;
    static final byte[] VALUE = new byte[100];
    static final int ARMERS = 64;

    static ZooKeeper zk;

    static void fatal(String message) {
        System.err.println("peer: " + message);
        Runtime.getRuntime().halt(1);
    }

    static void check(int rc, String what) {
        if (rc != 0) {
            fatal(what + ": " + KeeperException.Code.get(rc));
        }
    }

    static void await(CountDownLatch latch, String what) throws InterruptedException {
        if (!latch.await(20, TimeUnit.SECONDS)) {
            fatal(what + ": not within 20 s");
        }
    }

    /** What has been used so far, or between two moments. */
    static class Usage {
        double seconds;
        double cpu;
        double server;
        long reads;
        long writes;

        static Usage now(int server) {
            Usage u = new Usage();
            u.cpu = ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1e9;
            u.server = cpuOf(server);
            u.reads = calls("syscr: ");
            u.writes = calls("syscw: ");
            u.seconds = System.nanoTime() / 1e9;
            return u;
        }

        void add(Usage before, Usage after) {
            seconds += after.seconds - before.seconds;
            cpu += after.cpu - before.cpu;
            server += after.server - before.server;
            reads += after.reads - before.reads;
            writes += after.writes - before.writes;
        }

        /** The calls of read and write, which are what the client's channel does. */
        static long calls(String name) {
            try {
                for (String line : Files.readAllLines(Path.of("/proc/self/io"))) {
                    if (line.startsWith(name)) {
                        return Long.parseLong(line.substring(name.length()));
                    }
                }
            } catch (IOException e) { // another system
            }
            return 0;
        }

        static double cpuOf(int pid) {
            if (pid == 0) {
                return 0;
            }
            try {
                String text = Files.readString(Path.of("/proc/" + pid + "/stat"));
                String[] f = text.substring(text.lastIndexOf(')') + 2).split(" "); // the name may hold anything
                return (Long.parseLong(f[11]) + Long.parseLong(f[12])) / 100.0;
            } catch (IOException e) {
                return 0;
            }
        }
    }

    // One caller.

    static final double[] latencies = new double[1 << 17];
    static int calls;

    static void call(boolean children) throws Exception {
        if (!children) {
            byte[] data = zk.getData(NODE, false, new Stat());
            if (data.length != VALUE.length) {
                fatal(data.length + " bytes");
            }
            return;
        }
        int n = zk.getChildren(PARENT, false, new Stat()).size();
        if (n != NAMES) {
            fatal(n + " children");
        }
    }

    static void oneCaller(boolean children, double seconds) throws Exception {
        calls = 0;
        long t = System.nanoTime();
        for (long end = t + (long) (seconds * 1e9); t < end;) {
            call(children);
            long after = System.nanoTime();
            latencies[calls++ % latencies.length] = (after - t) / 1e3;
            t = after;
        }
    }

    /** A window. All completions run on one thread of the client. */
    static class Window {
        final boolean sets;
        final AtomicInteger left;
        final CountDownLatch ended = new CountDownLatch(1);
        volatile boolean stop;
        long done;

        Window(int size, boolean sets) {
            this.sets = sets;
            left = new AtomicInteger(size);
        }

        void request() {
            if (sets) {
                zk.setData(NODE, VALUE, -1, (rc, path, context, stat) -> completed(rc), null);
            } else {
                zk.getData(NODE, false, (rc, path, context, data, stat) -> completed(rc), null);
            }
        }

        void completed(int rc) {
            check(rc, sets ? "set" : "get");
            done++;
            if (!stop) {
                request();
            } else if (left.decrementAndGet() == 0) {
                ended.countDown();
            }
        }

        static long run(int size, boolean sets, double seconds) throws InterruptedException {
            Window w = new Window(size, sets);
            for (int i = 0; i < size; i++) {
                w.request();
            }
            Thread.sleep((long) (seconds * 1e3));
            w.stop = true;
            await(w.ended, "the last replies");
            return w.done;
        }
    }

    /** A burst of events. */
    static class Burst {
        final String[] paths;
        final AtomicInteger asked = new AtomicInteger();
        final CountDownLatch armed;
        final CountDownLatch fired;

        Burst(String[] paths) {
            this.paths = paths;
            armed = new CountDownLatch(paths.length);
            fired = new CountDownLatch(paths.length);
        }

        void arm(Watcher watcher) {
            int i = asked.getAndIncrement();
            if (i >= paths.length) {
                return;
            }
            zk.getData(paths[i], watcher, (rc, path, context, data, stat) -> {
                check(rc, "get with a watch");
                armed.countDown();
                arm(watcher);
            }, null);
        }

        void run(Usage sum, int server) throws InterruptedException {
            Watcher watcher = event -> {
                if (event.getType() == Watcher.Event.EventType.NodeDataChanged) {
                    fired.countDown();
                }
            };
            for (int i = 0; i < ARMERS; i++) {
                arm(watcher);
            }
            await(armed, "watches");
            CountDownLatch answered = new CountDownLatch(1);
            Usage before = Usage.now(server);
            zk.setData("/burst", null, -1, (rc, path, context, stat) -> {
                check(rc, "set");
                answered.countDown();
            }, null);
            await(fired, "events");
            await(answered, "the reply to set");
            sum.add(before, Usage.now(server));
        }
    }

    static double duration(String text) {
        try {
            if (text.endsWith("ms")) {
                return Double.parseDouble(text.substring(0, text.length() - 2)) / 1e3;
            }
            if (text.endsWith("s")) {
                return Double.parseDouble(text.substring(0, text.length() - 1));
            }
        } catch (NumberFormatException e) { // told below
        }
        fatal(text + " is no duration like 600ms or 1.2s");
        return 0;
    }

    static void usage(PrintStream out, int code) {
        out.print(USAGE);
        System.exit(code);
    }

    public static void main(String[] args) throws Exception {
        String workload = "get64";
        String addr = "127.0.0.1:2181";
        double warmup = 2.5;
        double time = 1.2;
        int n = 20000;
        int server = 0;
        for (int i = 0; i < args.length; i += 2) {
            if (args[i].equals("-help")) {
                usage(System.out, 0);
            }
            if (i + 1 == args.length) {
                usage(System.err, 2);
            }
            String arg = args[i + 1];
            switch (args[i]) {
                case "-workload":
                    workload = arg;
                    break;
                case "-addr":
                    addr = arg;
                    break;
                case "-warmup":
                    warmup = duration(arg);
                    break;
                case "-time":
                    time = duration(arg);
                    break;
                case "-n":
                    n = Integer.parseInt(arg) > 0 ? Integer.parseInt(arg) : n;
                    break;
                case "-server-pid":
                    server = Integer.parseInt(arg);
                    break;
                default:
                    usage(System.err, 2);
            }
        }
        CountDownLatch connected = new CountDownLatch(1);
        zk = new ZooKeeper(addr, 10000, event -> {
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        await(connected, "a session");

        Usage sum = new Usage();
        long ops = 0;
        boolean children = workload.equals("children");
        boolean one = children || workload.equals("get1");
        boolean events = workload.equals("events");
        if (one) {
            oneCaller(children, warmup);
            Usage before = Usage.now(server);
            oneCaller(children, time);
            sum.add(before, Usage.now(server));
            ops = calls;
        } else if (Arrays.asList("get64", "get512", "set512").contains(workload)) {
            int size = Integer.parseInt(workload.substring(3));
            boolean sets = workload.startsWith("set");
            Window.run(size, sets, warmup);
            Usage before = Usage.now(server);
            ops = Window.run(size, sets, time);
            sum.add(before, Usage.now(server));
        } else if (events) {
            String[] paths = new String[n];
            for (int i = 0; i < n; i++) {
                paths[i] = String.format("/bench/watches/node-%010d", i);
            }
            long end = System.nanoTime() + (long) (warmup * 1e9);
            do {
                new Burst(paths).run(new Usage(), server);
            } while (System.nanoTime() < end);
            for (int i = 0; i < 3 || sum.seconds < time / 4; i++) {
                new Burst(paths).run(sum, server);
                ops += n;
            }
        } else {
            fatal("no workload " + workload);
        }
        StringBuilder b = new StringBuilder();
        b.append(String.format(Locale.ROOT,
                "{\"client\":\"java\",\"version\":\"%s\",\"workload\":\"%s\",\"ops\":%d,\"seconds\":%.9f,\"ops_per_s\":%.3f,\"cpu_us\":%.6f,\"server_cpu_us\":%.6f,\"reads\":%.6f,\"writes\":%.6f",
                Version.getVersion(), workload, ops, sum.seconds, ops / sum.seconds, sum.cpu * 1e6 / ops, sum.server * 1e6 / ops,
                (double) sum.reads / ops, (double) sum.writes / ops));
        if (events) {
            b.append(String.format(Locale.ROOT, ",\"extra\":{\"burst_ms\":%.6f}", sum.seconds * 1e3 * n / ops));
        }
        if (one) {
            double[] l = Arrays.copyOf(latencies, Math.min(calls, latencies.length));
            Arrays.sort(l);
            b.append(String.format(Locale.ROOT, ",\"p50_us\":%.3f,\"p99_us\":%.3f", l[l.length / 2], l[l.length * 99 / 100]));
        }
        System.out.println(b.append('}'));
        System.out.flush();
        Runtime.getRuntime().halt(0); // the end of the process closes the session's connection
    }
}
