package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The client's reader lets an event wait here for callers answered before it.
const (
	orderOn  = "\t\tif w.unpicked.Load() != 0 {\n"
	orderOff = "\t\tif false {\n"
)

// buildUnordered builds the driver with a client that lets no event wait: what
// the order costs is seen beside it. Such a client exists nowhere else.
func buildUnordered(dir string) error {
	list, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/seed-9f8420c6/zk").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	name := filepath.Join(strings.TrimSpace(string(list)), "watch.go")
	src, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if n := strings.Count(string(src), orderOn); n != 1 {
		return fmt.Errorf("%s has %d places where events wait for their turn, want 1: adapt orderOn", filepath.Base(name), n)
	}
	changed := filepath.Join(dir, "watch.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(src), orderOn, orderOff, 1)), 0o666); err != nil {
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
