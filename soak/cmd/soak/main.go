// Soak runs clients with 1,000 watches against three real ZooKeeper servers
// whose processes and links break, moves their sessions all the time, and
// checks everything that they saw by the servers' own transaction logs.
//
//	go run ./cmd/soak -duration 14m -migrations 10000 -faults 200 -acquisitions 10000
//
// It ends with one line and 0; with 1 if a rule was broken, and says where the
// traces are; with 2 if the run shows nothing.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"

	"github.com/seed-9f8420c6/zk/soak/internal/load"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

func main() {
	var conf load.Config
	release := string(apache.V3_9)
	flag.DurationVar(&conf.Duration, "duration", time.Minute, "how long links and servers break")
	flag.IntVar(&conf.Migrations, "migrations", 0, "forced migrations of sessions with watches in that time; 0: five a second")
	flag.IntVar(&conf.Faults, "faults", 0, "server faults in that time; 0: one every four seconds")
	flag.IntVar(&conf.Acquisitions, "acquisitions", 0, "locks and terms to be acquired in that time; 0: as many as come")
	flag.Uint64Var(&conf.Seed, "seed", 0, "of what is random but for the time it takes; 0: any")
	flag.StringVar(&release, "release", release, "of the servers")
	flag.Float64Var(&conf.MinRate, "min-rate", 300, "calls per second, before and after the faults, below which a run is void")
	flag.IntVar(&conf.Writes, "writes", 120, "writes per second")
	flag.StringVar(&conf.Dir, "dir", "", "empty folder for logs and traces; none: a temporary one")
	flag.BoolVar(&conf.Keep, "keep", false, "keep them also if nothing was found")
	quiet := flag.Bool("quiet", false, "print the last line only")
	flag.Parse()
	if flag.NArg() > 0 || conf.Duration <= 0 || conf.Writes <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	conf.Release = apache.Release(release)
	conf.Out = os.Stdout
	if *quiet {
		conf.Out = io.Discard
	}
	if conf.Seed == 0 {
		conf.Seed = rand.Uint64()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, conf))
}

func run(ctx context.Context, conf load.Config) int {
	if conf.Dir == "" {
		dir, err := os.MkdirTemp("", "zk-soak-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 2
		}
		conf.Dir = dir
	}
	fmt.Fprintf(conf.Out, "seed %d, logs in %s\n", conf.Seed, conf.Dir)
	rep, err := load.Run(ctx, conf)
	if err != nil {
		fmt.Printf("void: %v; logs in %s\n", err, conf.Dir)
		return 2
	}
	fmt.Fprintf(conf.Out, "%d moves by %d connections, %d sessions renewed; %d calls, of which %d were lost and %d not sent; %d transactions, %d logged by one server only; %d Gaps, %d events of gozk; %.0f calls/s before the faults, %.0f after\n",
		rep.Moves, rep.Connections, rep.Renewed, rep.Calls, rep.Lost, rep.NotSent, rep.Writes, rep.Single, rep.Gaps, rep.Dropin, rep.Before, rep.After)
	x := rep.Recipes
	fmt.Fprintf(conf.Out, "%d locks and terms, %d writes guarded by them, of which %d were refused; %d transactions by Once, of which %d were sent again; %d additions; %d of both unknown, since the session expired; %d leaders observed\n",
		x.Acquired, x.Guarded, x.NotHeld, x.Onces, x.Resent, x.Adds, x.Unknown, x.Looks)
	for i, f := range rep.Findings {
		if i == 10 {
			fmt.Printf("and %d more\n", len(rep.Findings)-i)
			break
		}
		fmt.Println(f)
	}
	line, code := rep.Verdict()
	fmt.Println(line)
	return code
}
