package main

import (
	"strconv"
	"time"
)

var (
	three = []string{"ours", "gozk", "raw"}
	inGo  = []string{"ours", "dropin", "gozk", "samuel", "raw"}
	four  = []string{"ours", "gozk", "mux", "raw"}
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
	{name: "get512 events", workload: "get512ev", server: []string{"-event-every", "100"}, clients: []string{"ours", "unordered", "gozk", "raw"}, about: "Get, 512 callers, and one event of a persistent watch after every 100 replies; gozk knows no such watch and drops the events"},
	{name: "set512", workload: "set512", clients: all, quick: true, about: "Set of 100 bytes, 512 callers"},
	{name: "get64 TLS", workload: "get64", server: []string{"-tls"}, clients: four, args: []string{"-tls"}, about: "get64 over TLS 1.3"},
	{name: "get512 TLS", workload: "get512", server: []string{"-tls"}, clients: four, args: []string{"-tls"}, about: "get512 over TLS 1.3"},
	{name: "open512", workload: "open512", clients: four, about: "Gets that become due at half of the peak rate of 512 callers, every 100 microseconds, whether the client keeps up or not; latency counts from then. The limit has them at this client's rate"},
	{name: "open512 fifth", workload: "open512", clients: four, args: []string{"-load", "0.2"}, about: "the same at a fifth of the peak rate"},
	{name: "open512 burst", workload: "open512", clients: []string{"ours", "gozk"}, args: []string{"-burst", "20000"}, about: "open512 with 20,000 watches that fire at once, half-way"},
	{name: "fair512", workload: "fair512", clients: []string{"ours", "gozk", "mux"}, about: "get512, where each call is timed, and what the callers with the fewest and the most calls made of the mean"},
	{name: "fair mixed", workload: "mixed", clients: []string{"ours", "gozk", "mux"}, args: []string{"-bytes", "1000000"}, about: "Set of 100 bytes, 64 callers, beside one that sets 1 MB, all on one session. Only the small ones are counted and timed; CPU is that of all"},
	{name: "batch512", workload: "batch512", clients: []string{"ours", "raw"}, quick: true, about: "Batch of 512 Gets, one at a time; an operation is one Get. The limit is a window of 512 Gets"},
	{name: "batch512 two", workload: "batch512x2", clients: []string{"ours", "raw"}, about: "Batch of 512 Gets, two in flight"},
	{name: "batch10000", workload: "batch512", clients: []string{"ours", "raw"}, args: []string{"-batch", "10000"}, about: "Batch of 10,000 Gets, one at a time. The limit is a window of 10,000 Gets"},
	{name: "children", workload: "children", clients: known, quick: true, about: "Children of a node that has 1,000, one caller"},
	{name: "children 100000", workload: "children", place: together, server: []string{"-children", "100000"}, clients: []string{"ours", "gozk", "raw"}, args: []string{"-n", "100000"}, about: "Children of a node that has 100,000, one caller, on one CPU. The limit drops the names"},
	value("get", "1 KB", 1<<10), value("get", "64 KB", 64<<10), value("get", "1 MB", 1e6),
	overTLS(value("get", "1 MB", 1e6)),
	value("set", "1 KB", 1<<10), value("set", "64 KB", 64<<10), value("set", "1 MB", 1e6),
	cancellable(value("set", "1 MB", 1e6)),
	{name: "events", workload: "events", clients: known, quick: true, about: "a burst of 20,000 events of as many watches; an operation is one event"},
	{name: "events unpinned", workload: "events", place: anywhere, clients: inGo, about: "the same on all CPUs"},
	{name: "arm", workload: "arm", clients: []string{"ours", "dropin", "gozk", "samuel"}, args: []string{"-n", "1000000"}, each: []string{"dropin=-n 20000", "gozk=-n 20000", "samuel=-n 20000"}, once: true, limit: 2 * time.Minute,
		about: "arming 1,000,000 watches (dropin, gozk and samuel: 20,000) by Get from 64 callers; bytes per watch are without path and the application's channel"},
	{name: "restore 20000", workload: "restore", clients: []string{"ours", "gozk", "raw"}, each: []string{"gozk=-time 1s"}, once: true,
		about: "moving a session with 20,000 watches to another connection; an operation is one watch. gozk sleeps 1 s before it dials"},
	{name: "restore 1000000", workload: "restore", clients: []string{"ours", "raw"}, args: []string{"-n", "1000000"}, once: true, limit: 2 * time.Minute,
		about: "moving a session with 1,000,000 watches"},
	redial("0", 0), redial("1000", 1000), redial("20000", 20000),
	{name: "sessions", workload: "sessions", clients: []string{"ours", "gozk"}, args: []string{"-n", "10000", "-time", "10s", "-warmup", "3s"}, each: []string{"gozk=-n 100"}, once: true, limit: 2 * time.Minute,
		about: "10,000 sessions at rest (gozk: 100), timeout 10 s"},
	{name: "get1 real", workload: "get1", real: true, clients: inGo, place: apart, about: "get1 on a real server"},
	{name: "get64 real", workload: "get64", real: true, clients: known, place: apart, about: "get64 on a real server"},
	{name: "get512 real", workload: "get512", real: true, clients: known, place: apart, about: "get512 on a real server"},
	{name: "set512 real", workload: "set512", real: true, clients: inGo, place: apart, about: "set512 on a real server"},
	realValue("get", "1 MB", 1e6), realValue("set", "1 MB", 1e6),
	zktestServer("get", 1), zktestServer("get", 8), zktestServer("get", 64),
	zktestServer("set", 1), zktestServer("set", 8), zktestServer("set", 64),
	{name: "restore 20000 real", workload: "restore", real: true, clients: []string{"ours", "gozk", "raw"}, once: true, place: anywhere, about: "restore 20000 on a real server, on all CPUs"},
	{name: "restore 1000000 real", workload: "restore", real: true, clients: []string{"ours", "raw"}, args: []string{"-n", "1000000", "-timeout", "60s"}, once: true, limit: 3 * time.Minute, place: anywhere, about: "restore 1000000 on a real server, on all CPUs"},
}

// value is a Get or a Set of so many bytes. The limit of a Get is the same bytes
// through a socket into a fresh slice.
func value(op, size string, bytes int) spec {
	about := "Get of " + size + ", one caller, client and responder on the same CPU. The limit reads the data into a fresh slice"
	if op == "set" {
		about = "Set of " + size + ", one caller, client and responder on the same CPU. The limit writes a frame that was encoded before"
	}
	return spec{
		name: op + " " + size, workload: op + "value", place: together, clients: four, about: about,
		server: []string{"-data", strconv.Itoa(bytes)}, args: []string{"-bytes", strconv.Itoa(bytes)},
	}
}

// cancellable is a workload of this client alone, beside the limit.
func cancellable(s spec) spec {
	s.name, s.about = s.name+" context", s.about+". The context can be cancelled"
	s.clients, s.args = []string{"ours", "raw"}, append(s.args, "-cancel")
	return s
}

func overTLS(s spec) spec {
	s.name, s.about = s.name+" TLS", s.about+", both over TLS 1.3"
	s.server, s.args = append(s.server, "-tls"), append(s.args, "-tls")
	return s
}

// zktestServer is a server of zktest with so many sessions.
func zktestServer(op string, sessions int) spec {
	n := strconv.Itoa(sessions)
	return spec{
		name: "zktest " + op + " " + n, workload: "many" + op, clients: []string{"ours", "raw"}, server: []string{"-zktest"}, args: []string{"-n", n},
		about: "a server of zktest, not the responder, asked by " + n + " sessions with 16 " + op + "s under way each; what counts is server CPU",
	}
}

// redial is a session with n watches on which the server hangs up.
func redial(name string, n int) spec {
	return spec{
		name: "redial " + name, workload: "redial", place: together, clients: three, args: []string{"-n", strconv.Itoa(n)}, each: []string{"gozk=-time 1s"}, once: true,
		about: "from a hang-up by the server to the next answer to a Get, with " + name + " watches, client and responder on the same CPU; gozk sleeps 1 s before it dials",
	}
}

func realValue(op, size string, bytes int) spec {
	s := value(op, size, bytes)
	s.name, s.place, s.real, s.server = s.name+" real", apart, true, nil
	s.about = op + " " + size + " on a real server"
	return s
}
