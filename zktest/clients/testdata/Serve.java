import java.io.BufferedReader;
import java.io.InputStreamReader;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/** The Java example of zkserve's documentation, as a whole program. Its argument is the built zkserve. */
public class Serve {
    public static void main(String[] args) throws Exception {
        String zkserve = args[0];
        Process server = new ProcessBuilder(zkserve, "-port", "0").start();
        try {
            BufferedReader out = new BufferedReader(new InputStreamReader(server.getInputStream()));
            ZooKeeper client = new ZooKeeper(out.readLine(), 10000, event -> {});
            client.create("/a", new byte[] {1}, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            Stat stat = client.exists("/a", false);
            if (stat.getCzxid() != 2) {
                throw new AssertionError(stat);
            }
            client.close();
        } finally {
            server.destroy();
        }
        if (server.waitFor() != 0) {
            throw new AssertionError("zkserve ended with " + server.exitValue());
        }
        System.out.println("ok");
    }
}
