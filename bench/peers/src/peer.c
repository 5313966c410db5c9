// Peer measures ZooKeeper's C client, libzookeeper_mt, on one workload, and prints
// one line of JSON, as cmd/driver does. One caller calls synchronously; more are a
// window of as many asynchronous requests, each sent by the completion of another.
//
//	gcc -O2 -o peer peer.c -lzookeeper_mt -pthread

#define THREADED
#include <errno.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>
#include <zookeeper/zookeeper_version.h>

#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)
#ifdef ZOO_VERSION
#define VERSION ZOO_VERSION
#else
#define VERSION STRING(ZOO_MAJOR_VERSION) "." STRING(ZOO_MINOR_VERSION) "." STRING(ZOO_PATCH_VERSION)
#endif

static const char *usage =
	"usage: peer [flags]\n"
	"Measures ZooKeeper's C client once and prints what it found as JSON.\n"
	"  -workload name     get1, get64, get512, set512, children or events (default get64)\n"
	"  -addr host:port    the server (default 127.0.0.1:2181)\n"
	"  -warmup duration   time before the measurement, as 600ms or 0.6s (default 600ms)\n"
	"  -time duration     time of the measurement, at least (default 1.2s)\n"
	"  -n number          watches of events (default 20000)\n"
	"  -server-pid pid    process of the server, to tell its CPU time too\n";

static const char node[] = "/bench/node", parent[] = "/bench/children";
enum { num_names = 1000, data_size = 100, armers = 64 };

static zhandle_t *zh;

static void fatal(const char *format, ...) {
	va_list args;
	va_start(args, format);
	fputs("peer: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static void check(int rc, const char *what) {
	if (rc != ZOK)
		fatal("%s: %s", what, zerror(rc));
}

// await waits for a semaphore, not longer than 20 s.
static void await(sem_t *sem, const char *what) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 20;
	while (sem_timedwait(sem, &t) != 0)
		if (errno != EINTR)
			fatal("%s: not within 20 s", what);
}

// What has been used so far.

struct usage {
	double at, cpu, server; // seconds
};

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_of(int pid) {
	char name[64], text[1024];
	unsigned long user = 0, sys = 0;
	if (pid == 0)
		return 0;
	snprintf(name, sizeof name, "/proc/%d/stat", pid);
	FILE *f = fopen(name, "r");
	if (f == NULL)
		return 0;
	text[fread(text, 1, sizeof text - 1, f)] = 0;
	fclose(f);
	char *rest = strrchr(text, ')'); // the name may hold anything
	if (rest == NULL || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
		return 0;
	return (double)(user + sys) / sysconf(_SC_CLK_TCK);
}

static struct usage used(int server) {
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return (struct usage){
		now(),
		r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6,
		cpu_of(server),
	};
}

static void add(struct usage *sum, struct usage before, struct usage after) {
	sum->at += after.at - before.at;
	sum->cpu += after.cpu - before.cpu;
	sum->server += after.server - before.server;
}

// One caller.

enum { most_latencies = 1 << 17 };
static double latencies[most_latencies];
static long calls;

static void call(int children) {
	struct Stat stat;
	if (children) {
		struct String_vector names;
		check(zoo_get_children2(zh, parent, 0, &names, &stat), "children");
		if (names.count != num_names)
			fatal("%d children", names.count);
		deallocate_String_vector(&names);
		return;
	}
	char buf[1024];
	int len = sizeof buf;
	check(zoo_get(zh, node, 0, buf, &len, &stat), "get");
	if (len != data_size)
		fatal("%d bytes", len);
}

static void one_caller(int children, double seconds) {
	calls = 0;
	for (double end = now() + seconds, t = now(); t < end;) {
		call(children);
		double after = now();
		latencies[calls++ % most_latencies] = after - t;
		t = after;
	}
}

static int compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

// A window. All completions run on one thread of the library.

static int sets;
static atomic_int left; // requests on the wire once it has stopped
static atomic_bool stop;
static atomic_long done;
static sem_t ended;
static char value[data_size];

static void request(void);

static void completed(int rc) {
	check(rc, sets ? "set" : "get");
	atomic_fetch_add_explicit(&done, 1, memory_order_relaxed);
	if (!atomic_load_explicit(&stop, memory_order_relaxed))
		request();
	else if (atomic_fetch_sub(&left, 1) == 1)
		sem_post(&ended);
}

static void got(int rc, const char *data, int len, const struct Stat *stat, const void *context) { completed(rc); }

static void set(int rc, const struct Stat *stat, const void *context) { completed(rc); }

static void request(void) {
	check(sets ? zoo_aset(zh, node, value, data_size, -1, set, NULL) : zoo_aget(zh, node, 0, got, NULL), "send");
}

static void window(int size, double seconds) {
	atomic_store(&stop, 0);
	atomic_store(&left, size);
	atomic_store(&done, 0);
	for (int i = 0; i < size; i++)
		request();
	struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
	nanosleep(&t, NULL);
	atomic_store(&stop, 1);
	await(&ended, "the last replies");
}

// A burst of events.

static int watches = 20000;
static atomic_int armed, asked, fired;
static sem_t all_armed, all_fired, answered;

static void event(zhandle_t *z, int type, int state, const char *path, void *context) {
	if (type == ZOO_CHANGED_EVENT && atomic_fetch_add(&fired, 1) + 1 == watches)
		sem_post(&all_fired);
}

static void arm(void);

static void has_armed(int rc, const char *data, int len, const struct Stat *stat, const void *context) {
	check(rc, "get with a watch");
	if (atomic_fetch_add(&armed, 1) + 1 == watches)
		sem_post(&all_armed);
	arm();
}

static void arm(void) {
	char path[64];
	int i = atomic_fetch_add(&asked, 1);
	if (i >= watches)
		return;
	snprintf(path, sizeof path, "/bench/watches/node-%010d", i);
	check(zoo_awget(zh, path, event, NULL, has_armed, NULL), "send");
}

static void burst_set(int rc, const struct Stat *stat, const void *context) {
	check(rc, "set");
	sem_post(&answered);
}

static void burst(struct usage *sum, int server) {
	atomic_store(&armed, 0);
	atomic_store(&asked, 0);
	atomic_store(&fired, 0);
	for (int i = 0; i < armers; i++)
		arm();
	await(&all_armed, "watches");
	struct usage before = used(server);
	check(zoo_aset(zh, "/burst", NULL, -1, -1, burst_set, NULL), "send");
	await(&all_fired, "events");
	await(&answered, "the reply to set");
	add(sum, before, used(server));
}

static sem_t connected;

static void session(zhandle_t *z, int type, int state, const char *path, void *context) {
	if (type == ZOO_SESSION_EVENT && state == ZOO_CONNECTED_STATE)
		sem_post(&connected);
}

static double duration(const char *text) {
	char *unit;
	double d = strtod(text, &unit);
	if (unit != text && d >= 0 && strcmp(unit, "ms") == 0)
		return d / 1e3;
	if (unit == text || d < 0 || strcmp(unit, "s") != 0)
		fatal("%s is no duration like 600ms or 1.2s", text);
	return d;
}

int main(int argc, char **argv) {
	const char *workload = "get64", *addr = "127.0.0.1:2181";
	double warmup = 0.6, seconds = 1.2;
	int server = 0;
	for (int i = 1; i < argc; i += 2) {
		const char *flag = argv[i], *arg = argv[i + 1];
		if (strcmp(flag, "-help") == 0) {
			fputs(usage, stdout);
			return 0;
		}
		if (arg == NULL) {
			fputs(usage, stderr);
			return 2;
		}
		if (strcmp(flag, "-workload") == 0)
			workload = arg;
		else if (strcmp(flag, "-addr") == 0)
			addr = arg;
		else if (strcmp(flag, "-warmup") == 0)
			warmup = duration(arg);
		else if (strcmp(flag, "-time") == 0)
			seconds = duration(arg);
		else if (strcmp(flag, "-n") == 0)
			watches = atoi(arg) > 0 ? atoi(arg) : watches;
		else if (strcmp(flag, "-server-pid") == 0)
			server = atoi(arg);
		else {
			fputs(usage, stderr);
			return 2;
		}
	}
	int size = 0, children = 0, events = 0;
	if (strcmp(workload, "get1") == 0)
		size = 1;
	else if (strcmp(workload, "get64") == 0)
		size = 64;
	else if (strcmp(workload, "get512") == 0)
		size = 512;
	else if (strcmp(workload, "set512") == 0)
		size = 512, sets = 1;
	else if (strcmp(workload, "children") == 0)
		size = 1, children = 1;
	else if (strcmp(workload, "events") == 0)
		events = 1;
	else
		fatal("no workload %s", workload);

	sem_t *sems[] = {&connected, &ended, &all_armed, &all_fired, &answered};
	for (size_t i = 0; i < sizeof sems / sizeof *sems; i++)
		sem_init(sems[i], 0, 0);
	zoo_set_debug_level(0);
	zh = zookeeper_init(addr, session, 10000, NULL, NULL, 0);
	if (zh == NULL)
		fatal("zookeeper_init: %s", strerror(errno));
	await(&connected, "a session");

	struct usage sum = {0};
	long ops = 0;
	if (events) {
		struct usage ignored = {0};
		burst(&ignored, server); // warm-up
		for (int i = 0; i < 3 || sum.at < seconds / 4; i++) {
			burst(&sum, server);
			ops += watches;
		}
	} else if (size == 1) {
		one_caller(children, warmup);
		struct usage before = used(server);
		one_caller(children, seconds);
		add(&sum, before, used(server));
		ops = calls;
	} else {
		window(size, warmup);
		struct usage before = used(server);
		window(size, seconds);
		add(&sum, before, used(server));
		ops = atomic_load(&done);
	}
	printf("{\"client\":\"c\",\"version\":\"%s\",\"workload\":\"%s\",\"ops\":%ld,\"seconds\":%.9f,\"ops_per_s\":%.3f,\"cpu_us\":%.6f,\"server_cpu_us\":%.6f",
		VERSION, workload, ops, sum.at, ops / sum.at, sum.cpu * 1e6 / ops, sum.server * 1e6 / ops);
	if (events)
		printf(",\"extra\":{\"burst_ms\":%.6f}", sum.at * 1e3 * watches / ops);
	if (size == 1) {
		long n = calls < most_latencies ? calls : most_latencies;
		qsort(latencies, n, sizeof *latencies, compare);
		printf(",\"p50_us\":%.3f,\"p99_us\":%.3f", latencies[n / 2] * 1e6, latencies[n * 99 / 100] * 1e6);
	}
	puts("}");
	fflush(stdout);
	_exit(0); // the end of the process closes the session's connection
}
