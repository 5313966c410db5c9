package fourletter

import (
	"fmt"
	"strings"
)

func parseDump(text string) (Dump, error) {
	var s scanner
	d := Dump{Ephemerals: make(map[int64][]string)}
	const sessions, ephemerals, other = 1, 2, 3
	section, owner, owned := 0, int64(0), false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch line {
		case "SessionTracker dump:":
			section = sessions
			continue
		case "ephemeral nodes dump:":
			section = ephemerals
			continue
		case "Connections dump:":
			section = other
			continue
		}
		word := strings.TrimPrefix(line, "\t")
		switch {
		case section == 0 && line != "":
			s.fail("dump", line)
		case section == sessions && strings.HasPrefix(word, "0x"):
			id, _, _ := strings.Cut(word, "\t") // and its timeout
			d.Sessions = append(d.Sessions, s.hex("session", id))
		case section == ephemerals && strings.HasPrefix(line, "0x"):
			owner, owned = s.hex("session", strings.TrimSuffix(line, ":")), true
		case section == ephemerals && strings.HasPrefix(line, "\t"):
			if !owned {
				s.fail("a path before its session", line)
			}
			d.Ephemerals[owner] = append(d.Ephemerals[owner], word)
		}
	}
	if s.err == nil && section == 0 {
		s.fail("dump", text)
	}
	if s.err != nil {
		return Dump{}, s.err
	}
	return d, nil
}

func parseWchs(text string) (Watches, error) {
	var s scanner
	first, second, _ := strings.Cut(strings.TrimSpace(text), "\n")
	conns, paths, ok := strings.Cut(strings.TrimSuffix(first, " paths"), " connections watching ")
	total, also := strings.CutPrefix(second, "Total watches:")
	if !ok || !also {
		s.fail("watches", text)
	}
	w := Watches{s.int("connections", conns), s.int("paths", paths), s.int("watches", strings.TrimSpace(total))}
	if s.err != nil {
		return Watches{}, s.err
	}
	return w, nil
}

// groups reads lines of which those that begin with a tab belong to the one before.
func groups(text string, head func(line string) error, member func(line string) error) error {
	begun := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		var err error
		switch rest, tab := strings.CutPrefix(line, "\t"); {
		case line == "":
		case !tab:
			begun = true
			err = head(line)
		case !begun:
			err = malformed(fmt.Sprintf("watch %.100q", line))
		default:
			err = member(rest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parseWchc(text string) (map[int64][]string, error) {
	watches := make(map[int64][]string)
	var id int64
	err := groups(text, func(line string) error {
		var s scanner
		id = s.hex("session", line)
		return s.err
	}, func(line string) error {
		if line == "" || line[0] != '/' {
			return malformed(fmt.Sprintf("path %.100q", line))
		}
		watches[id] = append(watches[id], line)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return watches, nil
}

func parseWchp(text string) (map[string][]int64, error) {
	watches := make(map[string][]int64)
	var path string
	err := groups(text, func(line string) error {
		if path = line; path[0] != '/' {
			return malformed(fmt.Sprintf("path %.100q", line))
		}
		return nil
	}, func(line string) error {
		var s scanner
		watches[path] = append(watches[path], s.hex("session", line))
		return s.err
	})
	if err != nil {
		return nil, err
	}
	return watches, nil
}
