// Draw makes the picture of the README from the figures of the loss test:
//
//	cd gozk/compare && go run ./draw ../docs/loss.csv >../docs/loss.svg
package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: draw FIGURES.csv >PICTURE.svg")
	}
	f, err := os.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	svg, err := draw(f)
	if err != nil {
		log.Fatal(err)
	}
	os.Stdout.Write(svg)
}

// figure is how many events never came when the connection was cut after a frame.
type figure struct {
	cut, total           int
	theirs, mine         int
	haveTheirs, haveMine bool
}

// read reads lines of client,cut,lost,total, in the order of the cuts.
func read(r io.Reader) (list []*figure, err error) {
	lines, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, err
	}
	at := make(map[int]*figure)
	for _, line := range lines {
		var n [3]int
		if len(line) != 4 {
			return nil, fmt.Errorf("%v has not four fields", line)
		}
		for i := range n {
			if n[i], err = strconv.Atoi(line[i+1]); err != nil {
				return nil, err
			}
		}
		f := at[n[0]]
		if f == nil {
			f = &figure{cut: n[0], total: n[2]}
			at[n[0]] = f
			list = append(list, f)
		}
		switch line[0] {
		case "go-zookeeper":
			f.theirs, f.haveTheirs = n[1], true
		case "gozk":
			f.mine, f.haveMine = n[1], true
		default:
			return nil, fmt.Errorf("unknown client %q", line[0])
		}
	}
	for _, f := range list {
		if !f.haveTheirs || !f.haveMine {
			return nil, fmt.Errorf("cut %d: one client is missing", f.cut)
		}
	}
	return list, nil
}

const (
	width, height = 720, 300
	left, bottom  = 40, 240
	tall          = 170
)

func draw(r io.Reader) ([]byte, error) {
	list, err := read(r)
	if err != nil || len(list) == 0 {
		return nil, fmt.Errorf("no figures: %v", err)
	}
	var b bytes.Buffer
	text := func(x, y, size int, anchor, fill, s string) {
		fmt.Fprintf(&b, `<text x="%d" y="%d" font-size="%d" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, size, anchor, fill, s)
	}
	bar := func(x, n, total int, fill string) {
		h := tall * n / total
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="44" height="%d" fill="%s"/>`+"\n", x, bottom-h, max(h, 1), fill)
		text(x+22, bottom-h-6, 13, "middle", fill, strconv.Itoa(n))
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	text(left, 26, 16, "start", "#222222", fmt.Sprintf("Events that never came, of %d one-shot watches", list[0].total))
	fmt.Fprintf(&b, `<rect x="%d" y="38" width="12" height="12" fill="#c0392b"/>`+"\n", left)
	text(left+18, 49, 13, "start", "#222222", "go-zookeeper")
	fmt.Fprintf(&b, `<rect x="%d" y="38" width="12" height="12" fill="#1f6f43"/>`+"\n", left+130)
	text(left+148, 49, 13, "start", "#222222", "gozk, one import changed")
	fmt.Fprintf(&b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#888888"/>`+"\n", left, bottom, width-left, bottom)
	step := (width - 2*left) / len(list)
	for i, f := range list {
		x := left + i*step + step/2
		bar(x-50, f.theirs, f.total, "#c0392b")
		bar(x+6, f.mine, f.total, "#1f6f43")
		text(x, bottom+20, 13, "middle", "#222222", fmt.Sprint("after frame ", f.cut))
	}
	text(left, height-24, 12, "start", "#555555", "All znodes change while the client is away. Its next connection is cut after so many frames to it,")
	text(left, height-8, 12, "start", "#555555", "and the one after that holds. ZooKeeper 3.8.6.")
	b.WriteString("</svg>\n")
	return b.Bytes(), nil
}
