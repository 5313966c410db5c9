module github.com/seed-9f8420c6/zk/bench

go 1.25.0

require (
	github.com/go-zookeeper/zk v1.0.4
	github.com/samuel/go-zookeeper v0.0.0-20190923202752-2cc03de413da
	github.com/seed-9f8420c6/zk v0.9.0
	github.com/seed-9f8420c6/zk/gozk v1.1.0
	golang.org/x/sys v0.38.0
	gonum.org/v1/plot v0.17.0
)

require (
	codeberg.org/go-fonts/liberation v0.5.0 // indirect
	codeberg.org/go-latex/latex v0.2.0 // indirect
	codeberg.org/go-pdf/fpdf v0.11.1 // indirect
	git.sr.ht/~sbinet/gg v0.7.0 // indirect
	github.com/ajstarks/svgo v0.0.0-20211024235047-1546f124cd8b // indirect
	github.com/golang/freetype v0.0.0-20170609003504-e2365dfdc4a0 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	golang.org/x/image v0.30.0 // indirect
	golang.org/x/text v0.28.0 // indirect
)

replace (
	github.com/seed-9f8420c6/zk => ..
	github.com/seed-9f8420c6/zk/gozk => ../gozk
)
