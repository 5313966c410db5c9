package compare

// What tests look at and no Go file here calls: go mod tidy keeps it.
import (
	_ "github.com/samuel/go-zookeeper/zk"

	_ "github.com/seed-9f8420c6/zk/gozk/samuel/zk"
)
