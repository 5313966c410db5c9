package host

import (
	"testing"
	"time"
)

// Steps are never over before their time, and none is left out.
func TestTicker(t *testing.T) {
	const step, want = time.Millisecond, 50
	ticker, began, err := NewTicker(step)
	if err != nil {
		t.Fatal(err)
	}
	defer ticker.Close()
	rested := false
	for steps := 0; steps < want; {
		n, err := ticker.Next()
		if err != nil || n < 1 {
			t.Fatal(n, err)
		}
		steps += n
		if past := time.Since(began); past < time.Duration(steps-1)*step {
			t.Errorf("%d steps after %v", steps, past)
		}
		if !rested && steps >= want/2 {
			rested = true
			time.Sleep(10 * step)
			n, err := ticker.Next()
			if steps += n; err != nil || n < 9 {
				t.Errorf("%d steps after ten, %v", n, err)
			}
		}
	}
}
