// Members is a service that registers itself, with the address at which others
// reach it. It prints the members as they join and leave, also when they die
// or lose their sessions.
//
//	go run ./examples/members -id a                                  and a server in this process
//	go run ./examples/members -id b -addrs 127.0.0.1:…               another member, of that server or of yours
//
// It runs until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
)

func main() {
	addrs := flag.String("addrs", "", "servers of one ensemble, `h1:p,h2:p`; none: one in this process")
	id := flag.String("id", "a", "name of this member")
	at := flag.String("at", "localhost:8080", "the `address` at which others reach it")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *addrs == "" {
		server, err := zktest.StartServer(zktest.Options{FrameLog: -1})
		if err != nil {
			fmt.Fprintln(os.Stderr, "failed:", err)
			os.Exit(1)
		}
		defer server.Close()
		*addrs = server.Addr()
		fmt.Printf("another member: go run ./examples/members -addrs %s -id b\n", *addrs)
	}
	conf := zk.Config{Addrs: strings.Split(*addrs, ","), Timeout: 5 * time.Second}
	m := member{group: recipe.Group{Path: "/example-members"}, id: *id, at: *at, out: os.Stdout}
	if err := m.run(ctx, conf); !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

// member is this process in the group.
type member struct {
	group  recipe.Group
	id, at string
	out    io.Writer

	held *recipe.Hold
	seen map[string]string // ids and addresses, as printed last
}

// run is a member until ctx ends, over any number of connections and sessions.
func (m *member) run(ctx context.Context, conf zk.Config) error {
	err := recipe.Run(ctx, conf, m.watch)
	if m.held != nil {
		m.held.Release()
	}
	return err
}

// watch prints who is there, on one connection.
func (m *member) watch(ctx context.Context, s *zk.Session, fresh bool) error {
	changed := make(chan zk.Event, 1)
	for {
		if err := m.join(ctx, s); err != nil {
			return err
		}
		if _, _, err := s.Children(ctx, m.group.Path, changed); err != nil {
			return err
		}
		members, err := m.group.Members(ctx, s)
		if err != nil {
			return err
		}
		m.show(members)
		select {
		case <-changed:
		case <-m.held.Lost():
		case <-s.Done():
			return s.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// join makes sure that this is a member. It is one still over a connection that
// was lost; not so if the session was not heard of for too long, or somebody has
// deleted its znode.
func (m *member) join(ctx context.Context, s *zk.Session) (err error) {
	if m.held != nil && m.held.Err() != nil {
		m.held.Release()
		m.held = nil
	}
	if m.held == nil {
		m.held, err = m.group.Join(ctx, s, m.id, []byte(m.at))
	}
	return err
}

// show prints what is new.
func (m *member) show(members map[string][]byte) {
	now := map[string]string{}
	var lines []string
	for id, at := range members {
		now[id] = string(at)
		if m.seen[id] != string(at) {
			lines = append(lines, fmt.Sprintf("+ %s at %s", id, at))
		}
	}
	for id := range m.seen {
		if _, ok := now[id]; !ok {
			lines = append(lines, "- "+id)
		}
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(m.out, line)
	}
	m.seen = now
}
