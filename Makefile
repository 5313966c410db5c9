# make test does everything: it installs what is missing, checks, and runs all tests.
# Each step can be run by itself, and says what to do when it fails.

.PHONY: help test test-matrix setup servers fmt fmt-check vet staticcheck lint race unraced allocs nested bench soak clean

# A clone may belong to another user than the one who builds; nothing here needs its revision.
export GOFLAGS ?= -buildvcs=false

TOOLS := $(CURDIR)/.bin
# A linter understands code up to the Go that it was built with.
STATICCHECK := $(TOOLS)/staticcheck-$(shell go env GOVERSION 2>/dev/null)
# Modules of their own: every folder with a go.mod but the root. Programs of others are for test-matrix.
NESTED = $(shell find . -mindepth 2 -name go.mod -not -path '*/testdata/*' -not -path './gozk/users/*' -exec dirname {} \; | sort)
# Packages whose alloc_test.go measures allocations, which the race detector changes.
ALLOCS = $(shell grep -rlE --include='alloc_test.go' '^//go:build .*!race' . | xargs -r -n1 dirname | sort -u)
# When a package's tests hang: more than three times what the slowest takes on an idle machine with two cores, for
# one that does much else.
LONGEST ?= 40m
# Tests that do less under the race detector, or leave a part out, as FOLDER/NAME.
UNRACED = $(shell grep -rlF --include='*_test.go' suite.RaceEnabled . | xargs -r awk 'FNR == 1 { name = ""; dir = FILENAME; sub(/[^\/]*$$/, "", dir) } /^func / { name = $$2; sub(/[^A-Za-z0-9_].*/, "", name) } /suite\.RaceEnabled/ && name ~ /^Test/ { print dir name }' | sort -u)

# MAKE_TERMOUT is set when make prints to a terminal.
say = @printf '\n$(if $(MAKE_TERMOUT),\033[1m== %s\033[0m,== %s)\n'

help:
	@echo 'make test      all of the below but test-matrix, bench, fuzz and soak: the one command before a commit'
	@echo 'make test-matrix  all tests of real servers on all six releases, and Kerberos; prints what works on which'
	@echo 'make setup     installs Java, Maven, spin, kazoo, chromium, promtool and a C compiler on Debian, where they are missing'
	@echo 'make servers   fetches the jars of the two real ZooKeeper releases'
	@echo 'make lint      format, go vet, staticcheck'
	@echo 'make race      all tests with the race detector, on the in-process server and the real ones'
	@echo 'make unraced   what the race detector cuts short, without it'
	@echo 'make allocs    allocation budgets, without the race detector'
	@echo 'make nested    the same for the modules in $(or $(NESTED),(none))'
	@echo 'make fmt       formats the code'
	@echo 'make bench     benchmarks beside other clients, forty minutes; make bench-quick: the main ones, within 50 seconds'
	@echo 'make fuzz      all fuzz targets, about a minute; FUZZTIME=10m gives each that long'
	@echo 'make actionlint  checks .github/workflows; make apidiff: what is incompatible with the last release'
	@echo 'make release VERSION=v1.2.3  checks what has to hold before that tag; make released VERSION=v1.2.3: after it'
	@echo 'make soak      one minute of migrations and faults on three real servers; SOAKFLAGS takes what soak/README.md lists'
	@echo
	@echo 'go test ./...  needs nothing but Go, and leaves the real servers out'

test:
	@start=$$(date +%s); skipped=$$(mktemp); export ZK_TEST_SKIPPED=$$skipped; \
	$(MAKE) --no-print-directory setup && \
	$(MAKE) --no-print-directory servers && \
	$(MAKE) --no-print-directory lint && \
	$(MAKE) --no-print-directory allocs && \
	$(MAKE) --no-print-directory unraced && \
	$(MAKE) --no-print-directory nested && \
	$(MAKE) --no-print-directory race && \
	{ what='everything passed'; [ ! -s $$skipped ] || { what='all that ran passed'; printf '\nskipped, which CI does not do:\n'; sort -u $$skipped; }; \
	printf '\nmake test: %s in %ds\n' "$$what" $$(($$(date +%s) - start)); rm -f $$skipped; } || \
	{ rm -f $$skipped; printf '\nmake test: FAILED, see above\n'; exit 1; }

# The behaviour suite, and all other tests of real servers, on every pinned release. In its own folder
# go test prints what the root's tests print: the table of operations and releases.
test-matrix: export ZK_TEST_RELEASES ?= all
test-matrix: export ZK_TEST_APACHE = 1
test-matrix: export ZK_TEST_KDC = 1
test-matrix: setup servers
	$(say) 'The behaviour suite on ZooKeeper $(ZK_TEST_RELEASES)'
	go test -race -count=1 -timeout=2h
	$(say) 'Other tests of real servers, and Kerberos'
	go test -race -count=1 -timeout=1h ./fourletter ./examples/... ./internal/scripts ./recipe ./tree ./zktest/...
	cd recipe/interop && go test -race -count=1 -timeout=1h ./...
	cd sasl/gssapi && go test -race -count=1 -timeout=1h ./...
	$(say) 'gozk: go-zookeeper'"'"'s own tests, the loss test, and programs that import go-zookeeper'
	cd gozk/compare && go test -race -count=1 -timeout=2h -v -run 'RealServers|^TestLoss$$' .
	cd gozk && go test -race -count=1 -timeout=1h ./...
	cd gozk/samuel && go test -race -count=1 -timeout=1h ./...
	cd gozk/users && go vet ./... && go test -count=1 -timeout=1h -v ./...
	cd gozk/users/vitess && go vet ./... && go test -count=1 -timeout=1h ./...

setup:
	$(say) 'Tools: Go, a C compiler for the race detector, spin for the model, Java and Maven for real servers, kazoo for Python, chromium and promtool'
	@need=; \
	debian=; [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || debian=yes; \
	look() { for name in "$$@"; do command -v $$name >/dev/null || [ -x $(TOOLS)/$$name ] && return; done; false; }; \
	skipped() { echo "missing: $$1; what needs it is skipped"; }; \
	command -v go >/dev/null || { echo 'Go is missing: install Go 1.26 or later'; exit 1; }; \
	command -v gcc >/dev/null || need="$$need gcc libc6-dev"; \
	command -v spin >/dev/null || need="$$need spin"; \
	command -v javac >/dev/null || { [ -n "$$JAVA_HOME" ] && [ -x "$$JAVA_HOME/bin/javac" ]; } || need="$$need default-jdk-headless"; \
	command -v mvn >/dev/null || need="$$need maven"; \
	python3 -c 'import kazoo' 2>/dev/null || /usr/bin/python3 -c 'import kazoo' 2>/dev/null || need="$$need python3-kazoo"; \
	[ "$$ZK_TEST_KDC" != 1 ] || { [ -x /usr/sbin/krb5kdc ] && [ -x /usr/sbin/kadmin.local ]; } || need="$$need krb5-kdc krb5-admin-server"; \
	look chromium chromium-browser google-chrome || if [ -n "$$debian$$CI" ]; then need="$$need chromium"; else skipped chromium; fi; \
	if [ -n "$$need" ]; then \
		if [ -z "$$debian" ]; then \
			echo "missing:$$need (names of Debian packages). Install them, or run make setup as root on Debian."; \
			exit 1; \
		fi; \
		echo "installing$$need"; \
		export DEBIAN_FRONTEND=noninteractive; \
		log=$$(mktemp); \
		{ apt-get update -q && apt-get install -q -y --no-install-recommends $$need; } >"$$log" 2>&1 </dev/null || \
			{ cat "$$log"; echo "apt-get could not install$$need"; exit 1; }; \
		rm -f "$$log"; \
	fi; \
	look promtool || ./tools/promtool.sh $(TOOLS) || { [ "$$CI" != true ] || exit 1; skipped promtool; }; \
	java=java; command -v java >/dev/null || java="$$JAVA_HOME/bin/java"; \
	go version; gcc --version | sed 1q; spin -V; "$$java" -version 2>&1 | sed 1q; \
	mvn -v 2>&1 | grep -o 'Apache Maven [0-9.]*' | sed 1q

servers:
	$(say) 'Real ZooKeeper servers, by testdata/pom.xml'
	@go run ./zktest/apache/install -pom testdata/pom.xml

lint: fmt-check vet staticcheck

fmt-check:
	$(say) 'Format'
	@bad=$$(find . -name '*.go' -not -path '*/testdata/*' -exec gofmt -l {} +) || exit 1; \
	if [ -n "$$bad" ]; then echo 'not formatted, run make fmt:'; echo "$$bad"; exit 1; fi; \
	echo 'all files are formatted'

fmt:
	find . -name '*.go' -not -path '*/testdata/*' -exec gofmt -w {} +

vet:
	$(say) 'go vet'
	go vet ./...
	GOARCH=386 CGO_ENABLED=0 go vet ./...

# The linter is built from the version that tools/go.mod pins, once.
$(STATICCHECK): tools/go.mod tools/go.sum
	go build -C tools -o $@ honnef.co/go/tools/cmd/staticcheck

staticcheck: $(STATICCHECK)
	$(say) 'staticcheck'
	$(STATICCHECK) ./...

race:
	$(say) 'All tests with the race detector, on the in-process server and on real ones'
	ZK_TEST_APACHE=1 go test -race -count=1 -timeout=$(LONGEST) ./...

allocs:
	$(say) 'Allocation budgets'
	$(if $(ALLOCS),go test -count=1 -run=Alloc $(ALLOCS),@echo 'none yet')

# In-process servers only: the rest of these tests has run on real ones with the race detector.
unraced:
	$(say) 'What the race detector cuts short, without it: $(UNRACED)'
	@for dir in $(sort $(dir $(UNRACED))); do \
		tests=$$(printf '%s\n' $(UNRACED) | sed -n "s|^$$dir\([^/]*\)\$$|\1|p" | paste -sd '|' -); \
		echo "go test -count=1 -run='^($$tests)\$$' $$dir"; \
		go test -count=1 -run="^($$tests)\$$" $$dir || exit 1; \
	done

nested: $(STATICCHECK)
	$(say) 'Nested modules'
	@for dir in $(NESTED); do \
		pkgs=$$(go list -C $$dir ./... 2>/dev/null) || { go list -C $$dir ./...; exit 1; }; \
		if [ -z "$$pkgs" ]; then echo "$$dir: no packages"; continue; fi; \
		echo "$$dir: go vet, staticcheck, go test -race"; \
		( cd $$dir && go vet ./... && $(STATICCHECK) ./... && \
			ZK_TEST_APACHE=1 go test -race -count=1 -timeout=$(LONGEST) ./... ) || exit 1; \
	done

# All workloads, in about forty minutes: tables and a picture in bench/results. BENCHFLAGS='-real HOST:PORT'
# takes a real server of your own, -only PATTERN picks workloads, -profiles FOLDER adds profiles.
bench:
	cd bench && go run ./cmd/bench $(BENCHFLAGS) && go run ./cmd/plot

# Every fuzz target for FUZZTIME, one after another. What fails is kept in testdata/fuzz of its package, where
# go test finds it. The session's scripts do not run the same way twice: they are not shortened for long.
FUZZTIME ?= 3s
.PHONY: fuzz
fuzz:
	$(say) 'Fuzzing, $(FUZZTIME) for each target'
	@grep -roE --include='*_test.go' '^func Fuzz\w+' . | sed 's|/[^/]*:func | |' | sort -u | while read -r dir target; do \
		out=$$(cd "$$dir" && go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=10x . 2>&1 </dev/null) || \
			{ echo "$$dir $$target:"; echo "$$out"; exit 1; }; \
		execs=$$(echo "$$out" | grep -o 'execs: [0-9]*' | tail -n 1); \
		echo "$$dir $$target, $${execs:-no time for more than its corpus}"; \
	done

# The most telling workloads, within 50 seconds, one line each at the end.
.PHONY: bench-quick
bench-quick:
	@start=$$(date +%s); cd bench && go run ./cmd/bench -quick -since $$start

# Real servers that break: SOAKFLAGS='-duration 14m -migrations 10000 -faults 200 -acquisitions 10000' is the run to publish.
soak: servers
	$(say) 'Soak'
	@cd soak && go run ./cmd/soak $(SOAKFLAGS)

# The workflows cannot run here, but be checked.
.PHONY: actionlint apidiff release released
actionlint:
	$(say) 'Workflows'
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12 -shellcheck= -pyflakes=

# MODULE is the folder of a nested module; none is the root. These change nothing: release prints how to tag.
apidiff:
	$(say) 'The API, compared with the last release'
	@cd tools && go run ./release -root .. -module '$(MODULE)' -api

release:
	$(say) 'Before $(VERSION)'
	@cd tools && go run ./release -root .. -module '$(MODULE)' '$(VERSION)'

released:
	$(say) 'After $(VERSION)'
	@cd tools && go run ./release -root .. -module '$(MODULE)' -after '$(VERSION)'

clean:
	rm -rf $(TOOLS)
