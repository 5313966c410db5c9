package main

import "time"

var (
	three = []string{"ours", "gozk", "raw"}
	inGo  = []string{"ours", "dropin", "gozk", "samuel", "raw"}
	most  = []string{"ours", "dropin", "gozk", "samuel", "mux", "raw"}
	known = []string{"ours", "dropin", "gozk", "samuel", "c", "java", "kazoo", "raw"}
	all   = []string{"ours", "dropin", "gozk", "samuel", "c", "java", "kazoo", "mux", "raw"}
)

// specs are all workloads, in the order of the report.
var specs = []spec{
	{name: "get1", workload: "get1", place: together, clients: all, quick: true,
		about: "Get of 100 bytes, one caller, client and responder on the same CPU: apart, most of the time would be the wake-up of an idle CPU"},
	{name: "get64", workload: "get64", clients: all, quick: true, about: "Get, 64 callers"},
	{name: "get64 armed", workload: "get64armed", clients: []string{"ours", "dropin", "gozk", "samuel"}, about: "Get, 64 callers, while a hundred watches are armed; dropin asks whether one has fired before each call returns"},
	{name: "get64 unpinned", workload: "get64", place: anywhere, clients: most, about: "the same on all CPUs"},
	{name: "get512", workload: "get512", clients: all, quick: true, about: "Get, 512 callers"},
	{name: "get512 unpinned", workload: "get512", place: anywhere, clients: most, about: "the same on all CPUs"},
	{name: "get1 context", workload: "get1ctx", place: together, clients: []string{"ours"}, about: "get1 with a context that can be cancelled"},
	{name: "get64 context", workload: "get64ctx", clients: []string{"ours"}, about: "get64 with a context that can be cancelled"},
	{name: "get512 context", workload: "get512ctx", clients: []string{"ours"}, about: "get512 with a context that can be cancelled"},
	{name: "get512 events", workload: "get512ev", events: 100, clients: []string{"ours", "unordered", "gozk", "raw"}, about: "Get, 512 callers, and one event of a persistent watch after every 100 replies; gozk knows no such watch and drops the events"},
	{name: "set512", workload: "set512", clients: all, quick: true, about: "Set of 100 bytes, 512 callers"},
	{name: "batch512", workload: "batch512", clients: []string{"ours", "raw"}, quick: true, about: "Batch of 512 Gets, one at a time; an operation is one Get. The limit is a window of 512 Gets"},
	{name: "batch512 two", workload: "batch512x2", clients: []string{"ours", "raw"}, about: "Batch of 512 Gets, two in flight"},
	{name: "children", workload: "children", clients: known, quick: true, about: "Children of a node that has 1,000, one caller"},
	{name: "events", workload: "events", clients: known, quick: true, about: "a burst of 20,000 events of as many watches; an operation is one event"},
	{name: "events unpinned", workload: "events", place: anywhere, clients: inGo, about: "the same on all CPUs"},
	{name: "arm", workload: "arm", clients: []string{"ours", "dropin", "gozk", "samuel"}, args: []string{"-n", "1000000"}, each: []string{"dropin=-n 20000", "gozk=-n 20000", "samuel=-n 20000"}, once: true, limit: 2 * time.Minute,
		about: "arming 1,000,000 watches (dropin, gozk and samuel: 20,000) by Get from 64 callers; bytes per watch are without path and the application's channel"},
	{name: "restore 20000", workload: "restore", clients: []string{"ours", "gozk", "raw"}, each: []string{"gozk=-time 1s"}, once: true,
		about: "moving a session with 20,000 watches to another connection; an operation is one watch. gozk sleeps 1 s before it dials"},
	{name: "restore 1000000", workload: "restore", clients: []string{"ours", "raw"}, args: []string{"-n", "1000000"}, once: true, limit: 2 * time.Minute,
		about: "moving a session with 1,000,000 watches"},
	{name: "sessions", workload: "sessions", clients: []string{"ours", "gozk"}, args: []string{"-n", "10000", "-time", "10s", "-warmup", "3s"}, each: []string{"gozk=-n 100"}, once: true, limit: 2 * time.Minute,
		about: "10,000 sessions at rest (gozk: 100), timeout 10 s"},
	{name: "get1 real", workload: "get1", real: true, clients: inGo, place: apart, about: "get1 on a real server"},
	{name: "get64 real", workload: "get64", real: true, clients: known, place: apart, about: "get64 on a real server"},
	{name: "get512 real", workload: "get512", real: true, clients: known, place: apart, about: "get512 on a real server"},
	{name: "set512 real", workload: "set512", real: true, clients: inGo, place: apart, about: "set512 on a real server"},
	{name: "restore 20000 real", workload: "restore", real: true, clients: []string{"ours", "gozk", "raw"}, once: true, place: anywhere, about: "restore 20000 on a real server, on all CPUs"},
	{name: "restore 1000000 real", workload: "restore", real: true, clients: []string{"ours", "raw"}, args: []string{"-n", "1000000", "-timeout", "60s"}, once: true, limit: 3 * time.Minute, place: anywhere, about: "restore 1000000 on a real server, on all CPUs"},
}
