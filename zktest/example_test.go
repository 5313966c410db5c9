package zktest_test

import (
	"fmt"
	"io"
	"net"

	"github.com/seed-9f8420c6/zk/zktest"
)

func ExampleStartServer() {
	server, err := zktest.StartServer(zktest.Options{})
	if err != nil {
		panic(err)
	}
	defer server.Close()

	conn, err := net.Dial("tcp", server.Addr())
	if err != nil {
		panic(err)
	}
	fmt.Fprint(conn, "ruok")
	answer, _ := io.ReadAll(conn)
	fmt.Printf("%s\n", answer)
	// Output: imok
}
