package result

import "testing"

// A file's name says what a machine is, and nothing else of it.
func TestFileName(t *testing.T) {
	for machine, want := range map[string]string{
		"AMD EPYC, 2 CPUs, Linux 6.18.44, go1.26.8":                             "amd-epyc-2-cpus",
		"Intel(R) Xeon(R) Processor @ 2.60GHz, 16 CPUs, Linux 5.10.0, go1.26.8": "intel-xeon-processor-2.60ghz-16-cpus",
		"darwin/arm64, 8 CPUs, go1.26.8":                                        "darwin-arm64-8-cpus",
		"../../x":                                                               "x",
	} {
		if got := FileName(machine); got != want {
			t.Errorf("%q: %q, want %q", machine, got, want)
		}
	}
}
