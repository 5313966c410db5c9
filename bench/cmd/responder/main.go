// Responder answers ZooKeeper clients as fast as it can, to measure them. It prints
// the address it listens on and runs until it is killed.
//
// Every path exists, with -data bytes and -children names below it, but those that
// begin with /absent. A setData or delete fires the watches that the same connection
// has armed at its path, as a server does; of the path /burst, all one-shot watches of
// the connection at once. A getData of /cut is answered by the end of the connection.
// Nothing is stored, and connections do not see each other.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"github.com/seed-9f8420c6/zk/bench/internal/responder"
	"github.com/seed-9f8420c6/zk/zktest"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("responder: ")
	conf := responder.Default
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on; port 0 takes a free one")
	flag.IntVar(&conf.EventEvery, "event-every", 0, "one event (data changed) after every `N` replies on a connection, for the path of its latest addWatch, or "+responder.EventPath+"; 0: none")
	flag.IntVar(&conf.Data, "data", conf.Data, "`bytes` of data of every path")
	flag.IntVar(&conf.Children, "children", conf.Children, "`number` of children of every path")
	own := flag.Bool("zktest", false, "run a server of zktest instead, which has a tree; only -listen and -child matter")
	secure := flag.Bool("tls", false, "speak TLS 1.3, with a certificate that nobody can verify")
	child := flag.Bool("child", false, "end when standard input does: for a parent that holds its other side")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: responder [flags]\nA minimal, fast ZooKeeper server to measure clients with.")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if *child {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
	}
	if *own {
		s, err := zktest.StartServer(zktest.Options{Listen: *listen}) // as tests have it, with its log
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.Addr())
		select {}
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	if *secure {
		if l, err = responder.TLS(l); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(l.Addr())
	if err := responder.New(conf).Serve(l); err != nil {
		log.Fatal(err)
	}
}
