package suite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seed-9f8420c6/zk"
)

// Sorted sorts a list in place.
func Sorted(list []string) []string {
	slices.Sort(list)
	return list
}

// Taken returns the events that are in a channel now.
func Taken(ch <-chan zk.Event) (events []zk.Event) {
	for {
		select {
		case ev := <-ch:
			events = append(events, ev)
		default:
			return events
		}
	}
}

// Told is the short form of events: "changed /a, child /b".
func Told(events ...zk.Event) string {
	var list []string
	for _, ev := range events {
		list = append(list, fmt.Sprintf("%v %s", ev.Type, ev.Path))
	}
	return strings.Join(list, ", ")
}

// ArmedList is the short form of what a Session has armed: "data /a, child /b".
func ArmedList(w *zk.Watches) string {
	var list []string
	for _, x := range w.List() {
		if !x.Fired {
			list = append(list, fmt.Sprintf("%v %s", x.Kind, x.Path))
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// SortedEvents is the sorted short form of events.
func SortedEvents(events ...zk.Event) []string {
	var list []string
	for _, ev := range events {
		list = append(list, fmt.Sprint(ev.Type, " ", ev.Path))
	}
	slices.Sort(list)
	return list
}

// ConfigPath is where the events of GetConfig's watch say that they happened, under
// any chroot.
const ConfigPath = "/zookeeper/config"

// ConfigServers returns the lines of a configuration that are servers.
func ConfigServers(config []byte) []string {
	var list []string
	for line := range strings.Lines(string(config)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "server.") {
			list = append(list, line)
		}
	}
	return list
}
