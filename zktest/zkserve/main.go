// Command zkserve runs ZooKeeper servers for tests in any language. They
// start at once, keep nothing on disk, and behave like real servers of the
// release that -version names, as those of package zktest do.
//
//	go run ./zktest/zkserve -port 2181 -members 3
//
// Members listen on loopback, the first at -port and the others at the next
// ports. When all of them serve, zkserve prints one line: their addresses,
// separated by commas, as in a connect string. It ends on an interrupt or
// SIGTERM.
//
// Build it once for a test harness, because an interrupt of go run does not
// always reach the program:
//
//	go build -o zkserve github.com/seed-9f8420c6/zk/zktest/zkserve
//
// Then a test in Python, with kazoo, takes free ports and waits for the line:
//
//	server = subprocess.Popen([zkserve, "-port", "0"], stdout=subprocess.PIPE, text=True)
//	try:
//	    client = KazooClient(hosts=server.stdout.readline().strip())
//	    client.start()
//	    ...
//	finally:
//	    server.terminate()
//
// And one in Java:
//
//	Process server = new ProcessBuilder(zkserve, "-port", "0").start();
//	try {
//	    BufferedReader out = new BufferedReader(new InputStreamReader(server.getInputStream()));
//	    ZooKeeper client = new ZooKeeper(out.readLine(), 10000, event -> {});
//	    ...
//	} finally {
//	    server.destroy();
//	}
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/seed-9f8420c6/zk/zktest"
)

type config struct {
	host        string
	port        int
	members     int
	version     string
	tick        time.Duration
	superDigest string
	reconfig    bool
}

func main() {
	c, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends it the hard way
	if err := serve(ctx, c, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "zkserve:", err)
		os.Exit(1)
	}
}

// parse reads the flags. What is wrong with them it has printed.
func parse(args []string, stderr io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("zkserve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.host, "host", "127.0.0.1", "loopback `address`, such as ::1")
	flags.IntVar(&c.port, "port", 2181, "`port` of the first member; the others take those behind it; 0: free ones")
	flags.IntVar(&c.members, "members", 1, "`number` of servers")
	flags.StringVar(&c.version, "version", zktest.V39.String(), "ZooKeeper `release` to behave like, from 3.4 to 3.9")
	flags.DurationVar(&c.tick, "tick", 500*time.Millisecond, "tickTime; sessions get timeouts from 2 to 20 of it")
	flags.StringVar(&c.superDigest, "super-digest", "", "`user:digest` of the superuser, as in zookeeper.DigestAuthenticationProvider.superDigest")
	flags.BoolVar(&c.reconfig, "reconfig", false, "allow reconfiguration")
	flags.Usage = func() {
		fmt.Fprintf(stderr, "zkserve runs ZooKeeper servers for tests, and prints their addresses when they serve.\n\n"+
			"  go run ./zktest/zkserve -port 2181 -members 3\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	if flags.NArg() > 0 {
		err := fmt.Errorf("no arguments are known, only flags: %q", flags.Args())
		fmt.Fprintln(stderr, "zkserve:", err)
		return config{}, err
	}
	return c, nil
}

// versionOf reads the name of a release series.
func versionOf(name string) (zktest.Version, error) {
	for v := zktest.V34; v <= zktest.V39; v++ {
		if v.String() == name {
			return v, nil
		}
	}
	return 0, fmt.Errorf("-version is %q, want 3.4 to 3.9", name)
}

// serve runs the servers until ctx ends, and prints their addresses.
func serve(ctx context.Context, c config, out io.Writer) error {
	version, err := versionOf(c.version)
	if err != nil {
		return err
	}
	e, err := zktest.StartEnsemble(c.members, zktest.Options{
		Version: version, TickTime: c.tick, Listen: net.JoinHostPort(c.host, strconv.Itoa(c.port)),
		SuperDigest: c.superDigest, Reconfig: c.reconfig, FrameLog: -1,
	})
	if err != nil {
		return err
	}
	defer e.Close()
	if _, err := fmt.Fprintln(out, strings.Join(e.Addrs(), ",")); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
