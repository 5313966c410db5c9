module github.com/seed-9f8420c6/zk/soak

go 1.25.0

require (
	github.com/anishathalye/porcupine v1.3.1
	github.com/seed-9f8420c6/zk v0.0.0
)

require github.com/pkg/errors v0.9.1 // indirect

replace github.com/seed-9f8420c6/zk => ..
