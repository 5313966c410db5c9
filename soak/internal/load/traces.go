package load

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/seed-9f8420c6/zk/soak/internal/check"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
)

// writeTraces writes down everything that a reader may want: the findings, the
// transactions, and of each client what it did and saw, by the clock.
func writeTraces(dir string, t *history.Truth, clients []*history.Client, findings []check.Finding) error {
	write := func(name string, f func(w *bufio.Writer)) error {
		out, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		defer out.Close()
		w := bufio.NewWriter(out)
		f(w)
		return w.Flush()
	}
	err := write("findings.txt", func(w *bufio.Writer) {
		for _, f := range findings {
			fmt.Fprintln(w, f)
		}
	})
	if err != nil {
		return err
	}
	err = write("transactions.txt", func(w *bufio.Writer) {
		for i := range t.Txns {
			x := &t.Txns[i]
			fmt.Fprintf(w, "zxid %#x session %#x request %d, not before %d:", x.Zxid, uint64(x.Session), x.Cxid, x.Begun)
			for j := range x.Changes {
				c := &x.Changes[j]
				fmt.Fprintf(w, " %v %s %q version %d;", c.Type, c.Path, c.Value, c.Version)
			}
			fmt.Fprintln(w)
		}
		for i := range t.Single {
			fmt.Fprintf(w, "logged by one server only: %+v\n", t.Single[i])
		}
	})
	if err != nil {
		return err
	}
	for _, c := range clients {
		if err := write(c.Name+".txt", func(w *bufio.Writer) { writeClient(w, c) }); err != nil {
			return err
		}
	}
	return nil
}

func writeClient(w *bufio.Writer, c *history.Client) {
	type line struct {
		tick int64
		text string
	}
	var all []line
	add := func(tick int64, format string, args ...any) {
		all = append(all, line{tick, fmt.Sprintf(format, args...)})
	}
	for i, n := range c.Conns {
		add(n.Begun, "connection %d: session %#x asked for, %#x granted", i, uint64(n.Asked), uint64(n.Session))
		for j := range n.Requests {
			r := &n.Requests[j]
			add(r.Tick, "connection %d > request %d: %v %s", i, r.Xid, r.Op, r.Path)
			if r.Sets() {
				all[len(all)-1].text += fmt.Sprintf(" from %#x: %v", r.Floor, r.Restores)
			}
		}
		for j := range n.Frames {
			f := &n.Frames[j]
			if f.Event != 0 {
				add(f.Tick, "connection %d < event: %v %s, zxid %#x", i, f.Event, f.Path, f.Zxid)
			} else {
				add(f.Tick, "connection %d < reply %d: error %d, zxid %#x", i, f.Xid, f.Err, f.Zxid)
			}
		}
	}
	for i := range c.Calls {
		k := &c.Calls[i]
		add(k.Start, "call of %d to %d: %v %s%v: %v %v", k.Start, k.End, k.Op, k.Path, k.Writes, k.Outcome, k.Code)
		if k.Chan >= 0 {
			all[len(all)-1].text += fmt.Sprintf(", arms channel %d, %v", k.Chan, k.Kind)
		}
		if k.Stat.Mzxid != 0 {
			all[len(all)-1].text += fmt.Sprintf(", mzxid %#x version %d %q", k.Stat.Mzxid, k.Stat.Version, k.Data)
		}
	}
	for ch := range c.Chans {
		for _, e := range c.Chans[ch].Recv {
			add(e.After, "channel %d: %v %s, zxid %#x (waited since %d)", ch, e.Type, e.Path, e.Zxid, e.Before)
		}
	}
	slices.SortStableFunc(all, func(a, b line) int { return cmp.Compare(a.tick, b.tick) })
	for _, l := range all {
		fmt.Fprintf(w, "%9d  %s\n", l.tick, l.text)
	}
}
