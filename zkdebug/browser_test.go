package zkdebug_test

import (
	"context"
	"fmt"
	"image"
	"image/png"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/metrics"
	"github.com/seed-9f8420c6/zk/zkdebug"
)

// browse runs a browser without a window.
func browse(t *testing.T, args ...string) string {
	t.Helper()
	exe := suite.Tool(t, "chromium", "chromium-browser", "google-chrome")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args = append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
		"--user-data-dir=" + t.TempDir(), "--window-size=1200,1600",
	}, args...)
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	assert.NilError(t, err, "%s", stderr.String())
	return string(out)
}

// inked returns how many pixels are not white, and how many are red, as what is bad is.
func inked(img image.Image) (ink, red int) {
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			if r < 0xe000 || g < 0xe000 || b < 0xe000 {
				ink++
			}
			if r > 0x9000 && g < 0x3000 && b < 0x3000 {
				red++
			}
		}
	}
	return ink, red
}

// A real browser shows what there is to see, and obeys no path.
func TestBrowser(t *testing.T) {
	e := suite.Private(t, 1)
	page, s := busy(t, e)
	server := httptest.NewServer(page)
	defer server.Close()
	empty := httptest.NewServer(zkdebug.Handler(metrics.New()))
	defer empty.Close()

	dom := browse(t, "--dump-dom", server.URL+"/?paths=1")
	for _, want := range []string{"<h2 id=\"sessions\">Sessions: 1</h2>", fmt.Sprintf("0x%x", uint64(s.ID())), "waits for room", "&lt;script&gt;"} {
		assert.Check(t, strings.Contains(dom, want), "no %q in\n%s", want, dom)
	}
	assert.Check(t, !strings.Contains(dom, "<script"))

	shot := func(url string) (ink, red int) {
		file := filepath.Join(t.TempDir(), "page.png")
		browse(t, "--screenshot="+file, url)
		f, err := os.Open(file)
		assert.NilError(t, err)
		defer f.Close()
		img, err := png.Decode(f)
		assert.NilError(t, err)
		assert.Equal(t, img.Bounds().Dx(), 1200)
		if keep := os.Getenv("ZK_TEST_SCREENSHOTS"); keep != "" {
			text, err := os.ReadFile(file)
			assert.NilError(t, err)
			assert.NilError(t, os.WriteFile(filepath.Join(keep, fmt.Sprintf("%d.png", time.Now().UnixNano())), text, 0o644))
		}
		return inked(img)
	}
	ink, red := shot(server.URL + "/?paths=1")
	little, none := shot(empty.URL)
	assert.Assert(t, little > 500, "an empty page has %d pixels that are not white", little)
	assert.Assert(t, ink > 4*little, "%d pixels, and %d of an empty page", ink, little)
	assert.Assert(t, red > 20 && none == 0, "%d red pixels, and %d of an empty page", red, none)
}
