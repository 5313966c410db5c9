import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;

/** The play of doc.go, by the Java client. It asks for a cut and an expiry on stdout, and reads from stdin when that has happened. */
public class Play {
    static final BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    static final LinkedBlockingQueue<WatchedEvent> states = new LinkedBlockingQueue<>();

    static class Watch implements Watcher {
        final LinkedBlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();

        public void process(WatchedEvent ev) {
            if (ev.getType() != Event.EventType.None) {
                events.add(ev);
            }
        }

        void expect(Event.EventType type, String path) throws Exception {
            WatchedEvent ev = events.poll(30, TimeUnit.SECONDS);
            check(ev != null, "no event came at " + path);
            check(ev.getType() == type && ev.getPath().equals(path), "event " + ev + ", want " + type + " " + path);
        }
    }

    static void check(boolean ok, String what) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }

    static void ask(String what) throws Exception {
        System.out.println(what);
        System.out.flush();
        check("done".equals(in.readLine()), "nobody did " + what);
    }

    static void await(Watcher.Event.KeeperState want) throws Exception {
        WatchedEvent ev;
        do {
            ev = states.poll(30, TimeUnit.SECONDS);
            check(ev != null, "the session did not become " + want);
        } while (ev.getState() != want);
    }

    static Op create(String path) {
        return Op.create(path, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
    }

    public static void main(String[] args) throws Exception {
        ZooKeeper zk = new ZooKeeper(args[0], 20000, ev -> {
            if (ev.getType() == Watcher.Event.EventType.None) {
                states.add(ev);
            }
        });
        await(Watcher.Event.KeeperState.SyncConnected);
        long id = zk.getSessionId();
        System.out.println("session " + Long.toHexString(id));

        for (String path : Arrays.asList("/app", "/dir", "/gone")) {
            zk.create(path, new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
        String made = zk.create("/app/n-", new byte[0], Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL);
        check(made.equals("/app/n-0000000000"), made);

        List<OpResult> results = zk.multi(Arrays.asList(create("/made"), Op.setData("/app", new byte[] {1}, -1), Op.delete("/gone", -1)));
        check(((OpResult.CreateResult) results.get(0)).getPath().equals("/made"), "multi");
        check(((OpResult.SetDataResult) results.get(1)).getStat().getVersion() == 1, "multi");
        try {
            zk.multi(Arrays.asList(create("/never"), Op.setData("/app", new byte[] {1}, -1), Op.delete("/gone", -1)));
            check(false, "a multi that must fail did not");
        } catch (KeeperException.NoNodeException e) {
            results = e.getResults();
            check(((OpResult.ErrorResult) results.get(0)).getErr() == 0, "result of an operation before the one that failed");
            check(((OpResult.ErrorResult) results.get(2)).getErr() == KeeperException.Code.NONODE.intValue(), "result of what failed");
        }
        check(zk.exists("/never", false) == null, "a multi was not rolled back");

        Watch data = new Watch(), child = new Watch(), born = new Watch();
        zk.getData("/app", data, null);
        zk.setData("/app", "first".getBytes(), -1);
        data.expect(Watcher.Event.EventType.NodeDataChanged, "/app");
        check(new String(zk.getData("/app", data, null)).equals("first"), "data");
        zk.getChildren("/dir", child);
        check(zk.exists("/later", born) == null, "/later is there");

        ask("cut");
        data.expect(Watcher.Event.EventType.NodeDataChanged, "/app");
        child.expect(Watcher.Event.EventType.NodeChildrenChanged, "/dir");
        born.expect(Watcher.Event.EventType.NodeCreated, "/later");
        check(new String(zk.getData("/app", false, null)).equals("while you were away"), "data");
        check(zk.getSessionId() == id, "another session");

        ask("expire");
        await(Watcher.Event.KeeperState.Expired);
        zk.close();
        System.out.println("ok");
    }
}
