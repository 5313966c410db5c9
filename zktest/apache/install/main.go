// Command install fetches the jars of real Apache ZooKeeper servers with Maven,
// so that package apache can start them.
//
//	go run ./zktest/apache/install [-pom testdata/pom.xml] [release ...]
//
// Without arguments it fetches the releases that tests run on: the newest two,
// or those that ZK_TEST_RELEASES lists. "all" means every pinned one.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/seed-9f8420c6/zk/zktest/apache"
)

func main() {
	pom := flag.String("pom", "", "the pom.xml that pins the jars; empty: this module's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := install(ctx, *pom, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func install(ctx context.Context, pom string, args []string) error {
	if pom == "" {
		var err error
		if pom, err = apache.POM(); err != nil {
			return err
		}
	}
	releases := apache.Tested()
	if len(args) > 0 {
		releases = nil
		for _, a := range args {
			if a == "all" {
				releases = append(releases, apache.Releases()...)
			} else {
				releases = append(releases, apache.Release(a))
			}
		}
	}
	for _, r := range releases {
		start := time.Now()
		fetched, err := apache.Install(ctx, pom, r)
		if err != nil {
			return err
		}
		if fetched {
			fmt.Printf("ZooKeeper %s: fetched its jars in %.1fs\n", r, time.Since(start).Seconds())
		} else {
			fmt.Printf("ZooKeeper %s: has its jars\n", r)
		}
	}
	return nil
}
