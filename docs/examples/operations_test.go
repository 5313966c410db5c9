package examples

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/fourletter"
	"github.com/seed-9f8420c6/zk/metrics"
)

func Example_config() {
	server, _ := serve()
	defer server.Close()
	ctx := context.Background()
	connect := server.Addr()
	out := &bytes.Buffer{}
	err := func() error {
		//doc:config
		conf, err := zk.ParseConfig(connect) // "zk1:2181,zk2:2181,zk3:2181/app"
		if err != nil {
			return err
		}
		conf.Timeout = 15 * time.Second
		conf.Logger = slog.New(slog.NewTextHandler(out, nil)) // hears of each Dial and of each end
		s, err := zk.Dial(ctx, conf)
		if err != nil {
			return err
		}
		//doc:end
		//doc:granted
		fmt.Println("asked for", conf.Timeout, "and granted", s.Timeout())
		//doc:end
		return s.Close()
	}()
	check(err)
	fmt.Println("logged:", strings.Contains(out.String(), server.Addr()))
	// Output:
	// asked for 15s and granted 10s
	// logged: true
}

func Example_trace() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	//doc:metrics
	set := metrics.Attach(&conf) // before Dial; expvar has the numbers as "zk"
	//doc:end
	//doc:trace
	var refusals, ends atomic.Int64
	conf.Trace = zk.JoinTraces(conf.Trace, &zk.Trace{ // hooks must not block
		DialFailed: func(ctx context.Context, addr string, err error) { refusals.Add(1) },
		End:        func(s *zk.Session, err error) { ends.Add(1) },
	})
	//doc:end
	s, err := zk.Dial(ctx, conf)
	check(err)
	_, _, err = s.Exists(ctx, "/", nil)
	check(err)
	//doc:stats
	stats := s.Stats()
	fmt.Println("requests:", stats.Requests, "waiting:", stats.Pending, "events that wait:", stats.Queued)
	//doc:end
	check(s.Close())
	<-s.Done()
	fmt.Println(refusals.Load(), ends.Load(), set.Snapshot().Dials)
	// Output:
	// requests: 1 waiting: 0 events that wait: 0
	// 0 1 1
}

func Example_srvr() {
	server, _ := serve()
	defer server.Close()
	ctx := context.Background()
	for _, addr := range server.Addrs() {
		err := func() error {
			//doc:srvr
			info, err := fourletter.Client{Addr: addr}.Srvr(ctx)
			if err != nil {
				return err
			}
			fmt.Printf("%s: %d znodes\n", info.Mode, info.Nodes)
			//doc:end
			return nil
		}()
		check(err)
	}
	// Output:
	// standalone: 5 znodes
}

func Example_resolve() {
	server, conf := serve()
	defer server.Close()
	ctx := context.Background()
	host, port, err := net.SplitHostPort(server.Addr())
	check(err)
	lookup := func(context.Context, string) ([]string, error) { return []string{host}, nil }
	//doc:resolve
	conf.Resolve = func(ctx context.Context) ([]string, error) { // asked before each Dial
		hosts, err := lookup(ctx, "zookeeper.prod.svc.cluster.local") // net.DefaultResolver.LookupHost
		if err != nil {
			return nil, err
		}
		addrs := make([]string, len(hosts))
		for i, host := range hosts {
			addrs[i] = net.JoinHostPort(host, port)
		}
		return addrs, nil
	}
	//doc:end
	s, err := zk.Dial(ctx, conf)
	check(err)
	fmt.Println(s.Addr() == server.Addr())
	check(s.Close())
	// Output:
	// true
}
