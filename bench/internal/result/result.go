// Package result is what a driver tells the runner.
package result

import "slices"

// Sample is one measurement of one client on one workload. Everything but Ops,
// Seconds, Rate and the percentiles is per operation.
type Sample struct {
	Client   string `json:"client"`
	Version  string `json:"version,omitempty"` // of the client, where whoever installed it chose
	Workload string `json:"workload"`
	Procs    int    `json:"gomaxprocs"`

	Ops       int64   `json:"ops"`
	Seconds   float64 `json:"seconds"`
	Rate      float64 `json:"ops_per_s"`
	CPU       float64 `json:"cpu_us"`        // of the client
	ServerCPU float64 `json:"server_cpu_us"` // if the server's process is known
	Allocs    float64 `json:"allocs"`
	Bytes     float64 `json:"bytes"`
	Reads     float64 `json:"reads"` // system calls
	Writes    float64 `json:"writes"`

	P50  float64 `json:"p50_us,omitempty"` // where calls are timed
	P99  float64 `json:"p99_us,omitempty"`
	P999 float64 `json:"p99_9_us,omitempty"` // where there are enough of them

	// Extra holds what only some workloads have.
	Extra map[string]float64 `json:"extra,omitempty"`
}

// Row is a workload as one client did it in all rounds.
type Row struct {
	Client  string
	Samples []Sample
}

// Table is a workload.
type Table struct {
	Name  string // also says where it runs, as in "get64 unpinned"
	About string
	// Measured says where and when, if that is not where and when the Report was.
	Measured string `json:",omitempty"`
	Rows     []Row
}

// Report is all that a run of the benchmark found.
type Report struct {
	Machine string
	Date    string
	Rounds  int
	Pinned  bool   // the client was on CPU 0 and the responder on CPU 1 where a table says nothing else
	Real    string // the real server, where one was started
	Tables  []Table
}

// Range is the median of some figures, and how far they lie apart.
type Range struct{ Median, Min, Max float64 }

// Of returns the range of a figure over the samples.
func (r Row) Of(f func(Sample) float64) Range {
	v := make([]float64, 0, len(r.Samples))
	for _, s := range r.Samples {
		v = append(v, f(s))
	}
	if len(v) == 0 {
		return Range{}
	}
	slices.Sort(v)
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (m + v[len(v)/2-1]) / 2
	}
	return Range{m, v[0], v[len(v)-1]}
}

// Rate is the range of operations per second.
func (r Row) Rate() Range { return r.Of(func(s Sample) float64 { return s.Rate }) }

// CPU is the range of the client's CPU time per operation, in microseconds.
func (r Row) CPU() Range { return r.Of(func(s Sample) float64 { return s.CPU }) }

// Extra is the range of a figure that only some workloads have.
func (r Row) Extra(name string) Range { return r.Of(func(s Sample) float64 { return s.Extra[name] }) }

// Row returns the row of a client; it has no samples if there is none.
func (t Table) Row(client string) Row {
	for _, r := range t.Rows {
		if r.Client == client {
			return r
		}
	}
	return Row{Client: client}
}

// Table returns the table of a name; it has no rows if there is none.
func (r Report) Table(name string) Table {
	for _, t := range r.Tables {
		if t.Name == name {
			return t
		}
	}
	return Table{Name: name}
}
