package result

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Processor is the part of a machine's description that says what it is: the
// processor and how many there are, not what runs on it.
func Processor(machine string) string {
	if m := regexp.MustCompile(`^.*?\d+ CPUs?`).FindString(machine); m != "" {
		return m
	}
	return machine
}

// FileName is the name, without an extension, of the files about a machine: nothing
// but its Processor.
func FileName(machine string) string {
	name := strings.ToLower(Processor(machine))
	name = regexp.MustCompile(`\((r|tm)\)`).ReplaceAllString(name, " ")
	name = regexp.MustCompile(`[^a-z0-9.]+`).ReplaceAllString(name, "-")
	return strings.Trim(name, "-.")
}

// Read reads the report of one machine.
func Read(file string) (Report, error) {
	var rep Report
	b, err := os.ReadFile(file)
	if err != nil {
		return rep, err
	}
	if err := json.Unmarshal(b, &rep); err != nil {
		return rep, fmt.Errorf("%s: %w", file, err)
	}
	return rep, nil
}

// ReadAll reads the reports of all machines in a folder, in the order of their names.
func ReadAll(folder string) ([]Report, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all []Report
	for _, f := range files {
		rep, err := Read(f)
		if err != nil {
			return nil, err
		}
		all = append(all, rep)
	}
	return all, nil
}
