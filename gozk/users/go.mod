module github.com/seed-9f8420c6/zk/gozk/users

go 1.26.0

require (
	github.com/go-kit/kit v0.13.0
	github.com/go-zookeeper/zk v1.0.4
	github.com/prometheus/prometheus v0.301.0
	github.com/seed-9f8420c6/zk v0.9.0
	gotest.tools/v3 v3.5.2
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/go-kit/log v0.2.1 // indirect
	github.com/go-logfmt/logfmt v0.5.1 // indirect
	github.com/google/go-cmp v0.6.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/prometheus/client_golang v1.20.5 // indirect
	github.com/prometheus/client_model v0.6.1 // indirect
	github.com/prometheus/common v0.61.0 // indirect
	github.com/prometheus/procfs v0.15.1 // indirect
	golang.org/x/sys v0.28.0 // indirect
	google.golang.org/protobuf v1.36.0 // indirect
)

replace (
	github.com/go-zookeeper/zk => ../
	github.com/seed-9f8420c6/zk => ../..
)
