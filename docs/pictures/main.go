// Pictures draws the pictures of docs: it writes an SVG for each into the folder
// that it is run in.
//
//	cd docs/pictures && go run .
package main

import (
	"fmt"
	"os"
)

// pictures are all of them, by the name of their file.
var pictures = map[string]func() string{
	"order.svg":     order,
	"outcomes.svg":  outcomes,
	"migration.svg": migration,
	"watch.svg":     watch,
	"lock.svg":      lock,
	"house.svg":     house,
	"flow.svg":      flow,
	"tree.svg":      znodes,
	"session.svg":   session,
}

func main() {
	for name, draw := range pictures {
		if err := os.WriteFile(name, []byte(draw()), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
