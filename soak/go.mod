module github.com/seed-9f8420c6/zk/soak

go 1.25.0

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/seed-9f8420c6/zk v0.9.0
	github.com/seed-9f8420c6/zk/gozk v1.1.0
	gotest.tools/v3 v3.5.2
)

require (
	github.com/google/go-cmp v0.5.9 // indirect
	github.com/pkg/errors v0.9.1 // indirect
)

replace (
	github.com/seed-9f8420c6/zk => ..
	github.com/seed-9f8420c6/zk/gozk => ../gozk
)
