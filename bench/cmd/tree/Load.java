import java.lang.management.ManagementFactory;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.cache.TreeCacheEvent;
import org.apache.curator.retry.RetryOneTime;

/** Loads a subtree into a cache of Curator, again and again. */
public class Load {
    static double cpu() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime() / 1e9;
    }

    static long heap() {
        for (int i = 0; i < 3; i++) System.gc();
        return Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
    }

    public static void main(String[] args) throws Exception {
        String kind = args[0], addr = args[1], path = args[2];
        long nodes = Long.parseLong(args[3]);
        int rounds = Integer.parseInt(args[4]);
        System.setProperty("jute.maxbuffer", "" + (16 << 20));
        CuratorFramework client = CuratorFrameworkFactory.newClient(addr, 30000, 15000, new RetryOneTime(1000));
        client.start();
        client.blockUntilConnected();
        for (int i = 0; i < rounds; i++) {
            long before = heap();
            CountDownLatch ready = new CountDownLatch(1);
            AtomicLong seen = new AtomicLong();
            double cpu = cpu();
            long start = System.nanoTime();
            AutoCloseable cache;
            if (kind.equals("curatorcache")) {
                CuratorCache c = CuratorCache.build(client, path);
                c.listenable().addListener(CuratorCacheListener.builder()
                        .forCreates(n -> seen.incrementAndGet()).forInitialized(ready::countDown).build());
                c.start();
                cache = c;
            } else {
                TreeCache c = new TreeCache(client, path);
                c.getListenable().addListener((f, e) -> {
                    if (e.getType() == TreeCacheEvent.Type.NODE_ADDED) seen.incrementAndGet();
                    if (e.getType() == TreeCacheEvent.Type.INITIALIZED) ready.countDown();
                });
                c.start();
                cache = c;
            }
            ready.await();
            double seconds = (System.nanoTime() - start) / 1e9;
            double used = cpu() - cpu;
            if (seen.get() != nodes) throw new IllegalStateException(seen.get() + " znodes, not " + nodes);
            long heap = heap() - before;
            System.out.printf("{\"seconds\":%f,\"cpu\":%f,\"heap\":%d}%n", seconds, used, heap);
            System.out.flush();
            cache.close();
        }
        client.close();
    }
}
