import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.imps.ProtectedUtils;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.VersionedValue;
import org.apache.curator.retry.RetryForever;
import org.apache.curator.retry.RetryNTimes;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;

/**
 * The part of Apache Curator in interop tests: Peer HOST:PORT WHAT COUNT NAME. It does
 * what the Go side does in the same directories, and prints a line for what the test
 * has to compare.
 */
public class Peer {
    static CuratorFramework zk;

    /** Adds one to /count, which is exact only if nobody else is inside. */
    static void critical() throws Exception {
        int n = Integer.parseInt(new String(zk.getData().forPath("/count")));
        Thread.sleep(1);
        zk.setData().forPath("/count", Integer.toString(n + 1).getBytes());
    }

    /** Releases, though the connection may be lost: Curator deletes what is left later. */
    static void release(InterProcessLock lock) throws Exception {
        try {
            lock.release();
        } catch (KeeperException.ConnectionLossException e) {
            // deleted in the background
        }
    }

    static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[2]);
        String name = args[3];
        zk = CuratorFrameworkFactory.newClient(args[0], 10000, 5000, new RetryForever(50));
        zk.start();
        zk.blockUntilConnected();
        switch (args[1]) {
        case "lock":
            InterProcessMutex mutex = new InterProcessMutex(zk, "/lock");
            for (int i = 0; i < count; i++) {
                mutex.acquire();
                critical();
                release(mutex);
            }
            break;
        case "beside": // ours and others are in one directory, and say when they are inside
            InterProcessMutex beside = new InterProcessMutex(zk, "/beside");
            for (int i = 0; i < count; i++) {
                beside.acquire();
                zk.setData().forPath("/in-" + name, "1".getBytes());
                for (int k = 0; k < 2; k++) {
                    if (!new String(zk.getData().forPath("/in-us")).equals("0")) {
                        throw new Exception("one of ours is inside");
                    }
                    Thread.sleep(1);
                }
                zk.setData().forPath("/in-" + name, "0".getBytes());
                release(beside);
            }
            break;
        case "election":
            for (int i = 0; i < count; i++) {
                LeaderLatch latch = new LeaderLatch(zk, "/election", name);
                latch.start();
                latch.await();
                critical();
                latch.close();
            }
            break;
        case "leader":
            LeaderLatch latch = new LeaderLatch(zk, "/election", name);
            latch.start();
            while (!latch.getLeader().getId().equals("us")) {
                Thread.sleep(20);
            }
            say("leader us");
            latch.await();
            say("leads");
            System.in.read();
            latch.close();
            break;
        case "rw":
            InterProcessReadWriteLock rw = new InterProcessReadWriteLock(zk, "/rw");
            for (int i = 0; i < count; i++) {
                if (i % 3 == 0) {
                    rw.writeLock().acquire();
                    zk.setData().forPath("/busy", "1".getBytes());
                    critical();
                    zk.setData().forPath("/busy", "0".getBytes());
                    release(rw.writeLock());
                } else {
                    rw.readLock().acquire();
                    if (!new String(zk.getData().forPath("/busy")).equals("0")) {
                        throw new Exception("a writer is inside");
                    }
                    release(rw.readLock());
                }
            }
            break;
        case "semaphore":
            InterProcessSemaphoreV2 semaphore = new InterProcessSemaphoreV2(zk, "/sem", 2);
            for (int i = 0; i < count; i++) {
                Lease lease = semaphore.acquire();
                String made = zk.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/inside/x");
                if (zk.getChildren().forPath("/inside").size() > 2) {
                    throw new Exception("too many inside");
                }
                zk.delete().quietly().forPath(made);
                semaphore.returnLease(lease);
            }
            break;
        case "counter":
            DistributedAtomicLong number = new DistributedAtomicLong(zk, "/number", new RetryNTimes(1000, 2));
            for (int i = 0; i < count; i++) {
                while (!number.increment().succeeded()) {
                    Thread.sleep(1);
                }
            }
            break;
        case "counter32":
            SharedCount shared = new SharedCount(zk, "/number", 0);
            shared.start();
            for (int i = 0; i < count; i++) {
                VersionedValue<Integer> value = shared.getVersionedValue();
                while (!shared.trySetCount(value, value.getValue() + 1)) {
                    value = shared.getVersionedValue();
                }
            }
            shared.close();
            break;
        case "names": // of ours, as protected mode reads them
            for (String node : name.split(",")) {
                if (!ProtectedUtils.isProtectedZNode(node)) {
                    throw new Exception(node);
                }
                say(ProtectedUtils.normalize(node));
            }
            break;
        case "group":
            GroupMember member = new GroupMember(zk, "/group", name, "hello".getBytes());
            member.start();
            while (member.getCurrentMembers().size() < 2) {
                Thread.sleep(20);
            }
            say("members " + new TreeSet<>(member.getCurrentMembers().keySet()));
            System.in.read();
            member.close();
            break;
        case "barrier":
            say("waits");
            new DistributedBarrier(zk, "/barrier").waitOnBarrier(60, TimeUnit.SECONDS);
            say("passed");
            break;
        case "double":
            for (int i = 0; i < count; i++) {
                DistributedDoubleBarrier barrier = new DistributedDoubleBarrier(zk, "/double", 2);
                barrier.enter();
                say("entered");
                System.in.read();
                barrier.leave();
                say("left");
            }
            break;
        default:
            throw new Exception(args[1]);
        }
        zk.close();
        say("ok");
    }
}
