package main

import (
	"context"
	"log"

	"github.com/seed-9f8420c6/zk/zktest"
)

func Example() {
	server, err := zktest.StartServer(zktest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	for _, color := range []string{"red", "blue"} {
		if err := put(context.Background(), server.Addr(), "/app/color", color); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// /app/color has version 0
	// /app/color has version 1
}
