package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The client lets an event wait while calls that were answered before it have not
// left their wait. The number of these is read in one place.
const (
	orderFile   = "internal/order/order.go"
	orderOn     = "q.picked.Load()"
	orderOff    = "q.answered"
	orderPlaces = 1
)

// buildUnordered builds the driver with a client that lets no event wait: what
// the order costs is seen beside it. Such a client exists nowhere else.
func buildUnordered(dir string) error {
	list, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/seed-9f8420c6/zk").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	name := filepath.Join(strings.TrimSpace(string(list)), filepath.FromSlash(orderFile))
	src, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if n := strings.Count(string(src), orderOn); n != orderPlaces {
		return fmt.Errorf("%s has %d places where events wait for their turn, want %d: adapt orderOn", orderFile, n, orderPlaces)
	}
	changed := filepath.Join(dir, filepath.Base(name))
	if err := os.WriteFile(changed, []byte(strings.ReplaceAll(string(src), orderOn, orderOff)), 0o666); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{name: changed}})
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o666); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-overlay", file, "-o", filepath.Join(dir, "driver-unordered"), "github.com/seed-9f8420c6/zk/bench/cmd/driver")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	return nil
}
