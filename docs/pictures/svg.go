package main

import (
	"fmt"
	"html"
	"strings"
)

// Colors. Every picture has a ground of its own, so that it can be read on dark pages too.
const (
	ink    = "#1f2933"
	muted  = "#66727f"
	pale   = "#dfe4ea"
	ground = "#ffffff"
	blue   = "#1c63b7"
	green  = "#1f8a50"
	red    = "#c93a3a"
	amber  = "#b86e00"

	paleBlue  = "#e3eefb"
	paleGreen = "#e2f4ea"
	paleRed   = "#fbe6e6"
	paleAmber = "#fdf0d9"
)

// canvas collects the elements of one picture. Coordinates are in pixels.
type canvas struct {
	width, height int
	b             strings.Builder
}

func newCanvas(width, height int, title string) *canvas {
	c := &canvas{width: width, height: height}
	fmt.Fprintf(&c.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="DejaVu Sans, Verdana, sans-serif" font-size="13">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&c.b, "<title>%s</title>\n", html.EscapeString(title))
	c.b.WriteString(`<defs>`)
	for _, color := range []string{ink, muted, blue, green, red, amber} {
		fmt.Fprintf(&c.b, `<marker id="%s" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z" fill="%s"/></marker>`,
			head(color), color)
	}
	c.b.WriteString("</defs>\n")
	fmt.Fprintf(&c.b, `<rect width="%d" height="%d" rx="8" fill="%s" stroke="%s"/>`+"\n", width, height, ground, pale)
	return c
}

// head is the name of the arrow head of a color.
func head(color string) string { return "head" + strings.TrimPrefix(color, "#") }

func (c *canvas) String() string { return c.b.String() + "</svg>\n" }

// text writes a line whose middle is at x.
func (c *canvas) text(x, y int, color, s string) { c.write(x, y, "middle", color, "", s) }

// left writes a line that begins at x.
func (c *canvas) left(x, y int, color, s string) { c.write(x, y, "start", color, "", s) }

// bold is left in bold face.
func (c *canvas) bold(x, y int, color, s string) {
	c.write(x, y, "start", color, ` font-weight="bold"`, s)
}

func (c *canvas) write(x, y int, anchor, color, more, s string) {
	fmt.Fprintf(&c.b, `<text x="%d" y="%d" text-anchor="%s" fill="%s"%s>%s</text>`+"\n", x, y, anchor, color, more, html.EscapeString(s))
}

// box draws a rectangle with lines of text in its middle.
func (c *canvas) box(x, y, w, h int, fill, stroke string, lines ...string) {
	fmt.Fprintf(&c.b, `<rect x="%d" y="%d" width="%d" height="%d" rx="5" fill="%s" stroke="%s"/>`+"\n", x, y, w, h, fill, stroke)
	for i, l := range lines {
		c.text(x+w/2, y+h/2+5+i*17-(len(lines)-1)*17/2, ink, l)
	}
}

func (c *canvas) line(x1, y1, x2, y2 int, color string) { c.stroke(x1, y1, x2, y2, color, "") }

func (c *canvas) dashed(x1, y1, x2, y2 int, color string) {
	c.stroke(x1, y1, x2, y2, color, ` stroke-dasharray="5 4"`)
}

func (c *canvas) arrow(x1, y1, x2, y2 int, color string) {
	c.stroke(x1, y1, x2, y2, color, fmt.Sprintf(` marker-end="url(#%s)"`, head(color)))
}

func (c *canvas) stroke(x1, y1, x2, y2 int, color, more string) {
	fmt.Fprintf(&c.b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="1.6"%s/>`+"\n", x1, y1, x2, y2, color, more)
}

// cross marks where something broke.
func (c *canvas) cross(x, y int) {
	for _, d := range []int{1, -1} {
		fmt.Fprintf(&c.b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s" stroke-width="3"/>`+"\n", x-7, y-7*d, x+7, y+7*d, red)
	}
}

func (c *canvas) dot(x, y int, color string) {
	fmt.Fprintf(&c.b, `<circle cx="%d" cy="%d" r="5" fill="%s"/>`+"\n", x, y, color)
}
