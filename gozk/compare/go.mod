module github.com/seed-9f8420c6/zk/gozk/compare

go 1.26.0

require (
	github.com/go-zookeeper/zk v1.0.4
	github.com/samuel/go-zookeeper v0.0.0-20180130194729-c4fab1ac1bec
	github.com/seed-9f8420c6/zk v0.9.0
	github.com/seed-9f8420c6/zk/gozk v1.1.0
	github.com/seed-9f8420c6/zk/gozk/samuel v1.1.0
	golang.org/x/exp v0.0.0-20261113113407-e3970619a1a4
	gotest.tools/v3 v3.5.2
)

require (
	github.com/google/go-cmp v0.6.0 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	golang.org/x/tools v0.52.1-0.20261106145633-d407941a339a // indirect
)

replace (
	github.com/seed-9f8420c6/zk => ../..
	github.com/seed-9f8420c6/zk/gozk => ..
	github.com/seed-9f8420c6/zk/gozk/samuel => ../samuel
)
