package tree_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
)

// session returns a Session on a server in this process.
func session(ctx context.Context) (s *zk.Session, end func()) {
	server, err := zktest.StartServer(zktest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	s, err = zk.Dial(ctx, zk.Config{Addrs: server.Addrs()})
	if err != nil {
		log.Fatal(err)
	}
	return s, func() { s.Close(); server.Close() }
}

func Example() {
	ctx := context.Background()
	s, end := session(ctx)
	defer end()

	for path, data := range map[string]string{"/app/color": "red", "/app/limits/rate": "100", "/app/limits/burst": "10"} {
		if _, err := tree.Put(ctx, s, path, []byte(data), nil); err != nil {
			log.Fatal(err)
		}
	}
	n, err := tree.Get(ctx, s, "/app")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(n)
	if err := tree.DeleteAll(ctx, s, "/app/limits"); err != nil {
		log.Fatal(err)
	}
	// Output:
	// /app
	// ├── color  "red"
	// └── limits
	//     ├── burst  "10"
	//     └── rate  "100"
}

func ExampleCache() {
	ctx, stop := context.WithCancel(context.Background())
	s, end := session(ctx)
	defer end()
	if _, err := tree.Put(ctx, s, "/app/color", []byte("red"), nil); err != nil {
		log.Fatal(err)
	}

	cache := &tree.Cache{Root: "/app"}
	over := make(chan error)
	go func() { over <- cache.Run(ctx, s) }() // until the Session ends: then again, with the next
	if err := cache.Wait(ctx, 0); err != nil {
		log.Fatal(err)
	}
	n, _ := cache.Get("/app/color")
	fmt.Printf("%s\n", n.Data)

	stat, err := s.Set(ctx, "/app/color", []byte("blue"), n.Stat.Version)
	if err != nil {
		log.Fatal(err)
	}
	if err := cache.Wait(ctx, stat.Mzxid); err != nil { // to see one's own write
		log.Fatal(err)
	}
	cache.View(func(v tree.View) {
		n, _ := v.Get("/app/color")
		names, _ := v.Children("/app")
		fmt.Printf("%s, one of %q\n", n.Data, names)
	})

	stop()
	<-over
	cache.Close()
	// Output:
	// red
	// blue, one of ["color"]
}

func ExampleStream() {
	ctx := context.Background()
	s, end := session(ctx)
	defer end()

	stream := tree.Stream{Path: "/color"}
	for state, err := range stream.States(ctx, s) {
		if err != nil {
			log.Fatal(err) // with the next Session stream.States goes on
		}
		fmt.Printf("%v %q\n", state.Exists, state.Data)
		switch string(state.Data) {
		case "":
			tree.Put(ctx, s, "/color", []byte("red"), nil)
		case "red":
			s.Set(ctx, "/color", []byte("blue"), zk.AnyVersion)
		case "blue":
			return
		}
	}
	// Output:
	// false ""
	// true "red"
	// true "blue"
}

func ExampleUpdate() {
	ctx := context.Background()
	s, end := session(ctx)
	defer end()
	tree.Put(ctx, s, "/n", []byte("1"), nil)

	stat, err := tree.Update(ctx, s, "/n", func(data []byte, _ zk.Stat) ([]byte, error) {
		if strings.HasPrefix(string(data), "1") {
			return append(data, '0'), nil
		}
		return nil, tree.ErrKeep
	})
	fmt.Println(stat.Version, err)
	// Output: 1 <nil>
}

func ExampleExport() {
	ctx := context.Background()
	s, end := session(ctx)
	defer end()
	tree.Put(ctx, s, "/app/key", []byte{0, 1, 2}, nil)

	var file strings.Builder
	if err := tree.Export(ctx, s, "/app", &file, tree.Options{}); err != nil {
		log.Fatal(err)
	}
	for i, line := range strings.Split(file.String(), "\n") {
		if i > 0 && line != "" {
			before, _, _ := strings.Cut(line, `,"stat"`)
			fmt.Println(before + ",…")
		}
	}
	if err := tree.Import(ctx, s, "/copy", strings.NewReader(file.String()), tree.Options{}); err != nil {
		log.Fatal(err)
	}
	n, err := tree.Get(ctx, s, "/copy")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(n)
	// Output:
	// {"path":"",…
	// {"path":"/key","base64":"AAEC",…
	// /copy
	// └── key  3 bytes
}
