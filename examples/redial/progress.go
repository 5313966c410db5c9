package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress shows how a run is going: on a terminal as one line that is drawn
// again and again, elsewhere as a line per second.
type progress struct {
	out      io.Writer
	terminal bool
	began    time.Time
	duration time.Duration
	tick     *time.Ticker
}

func newProgress(out io.Writer, duration time.Duration) *progress {
	p := &progress{out: out, terminal: isTerminal(out), began: time.Now(), duration: duration}
	every := time.Second
	if p.terminal {
		every = 100 * time.Millisecond
	}
	p.tick = time.NewTicker(every)
	return p
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

const (
	barWidth = 10
	width    = 79 // a longer line would break, and could not be drawn again
)

func (p *progress) show(redials, events int, counted int64, addr string) {
	since := time.Since(p.began)
	line := fmt.Sprintf("%5.1fs %4d redials %6d events %6d counted  %s", since.Seconds(), redials, events, counted, addr)
	if !p.terminal {
		fmt.Fprintln(p.out, line)
		return
	}
	n := min(barWidth, int(barWidth*since/p.duration))
	line = "[" + strings.Repeat("#", n) + strings.Repeat(".", barWidth-n) + "]" + line
	fmt.Fprintf(p.out, "\r%.*s\x1b[K", width, line)
}

// end leaves the line for what comes next.
func (p *progress) end() {
	p.tick.Stop()
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
