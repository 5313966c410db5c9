import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryOneTime;

/** Takes turns under Curator's lock, as many for each line that it reads. */
public class Turns {
    static long cpu() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    static void turns(CuratorFramework[] clients, String path, int count) throws Exception {
        Thread[] threads = new Thread[clients.length];
        for (int i = 0; i < threads.length; i++) {
            InterProcessMutex mutex = new InterProcessMutex(clients[i], path);
            threads[i] = new Thread(() -> {
                try {
                    for (int k = 0; k < count; k++) {
                        mutex.acquire();
                        mutex.release();
                    }
                } catch (Exception e) {
                    e.printStackTrace();
                    System.exit(1);
                }
            });
            threads[i].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
    }

    public static void main(String[] args) throws Exception {
        CuratorFramework[] clients = new CuratorFramework[Integer.parseInt(args[2])];
        int count = Integer.parseInt(args[3]);
        for (int i = 0; i < clients.length; i++) {
            clients[i] = CuratorFrameworkFactory.newClient(args[0], 30000, 15000, new RetryOneTime(1000));
            clients[i].start();
            clients[i].blockUntilConnected();
        }
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        while (in.readLine() != null) {
            long start = System.nanoTime(), used = cpu();
            turns(clients, args[1], count);
            System.out.println("{\"seconds\":" + (System.nanoTime() - start) / 1e9 + ",\"cpu\":" + (cpu() - used) / 1e9 + "}");
        }
        for (CuratorFramework client : clients) {
            client.close();
        }
    }
}
