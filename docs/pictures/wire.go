package main

import "fmt"

// order: what the server sends, and when the application sees it.
func order() string {
	c := newCanvas(860, 400, "Answers and events reach the application in the order in which the server sent them")
	frames := []struct {
		x            int
		fill, stroke string
		wire, app    string
	}{
		{150, paleBlue, blue, "answer of Get", "Get returns"},
		{325, paleAmber, amber, "event", "in the channel"},
		{500, paleBlue, blue, "answer of Set", "Set returns"},
		{675, paleAmber, amber, "event", "in the channel"},
	}
	c.bold(20, 32, ink, "This client: one order")
	c.left(20, 77, muted, "the wire")
	c.left(20, 162, muted, "application")
	for _, f := range frames {
		c.box(f.x, 52, 140, 38, f.fill, f.stroke, f.wire)
		c.arrow(f.x+70, 92, f.x+70, 135, f.stroke)
		c.box(f.x, 138, 140, 38, f.fill, f.stroke, f.app)
	}
	for _, y := range []int{71, 157} {
		for x := 290; x < 660; x += 175 {
			c.arrow(x, y, x+33, y, muted)
		}
	}
	c.left(150, 200, muted, "When Set returns, the event that came before its answer is already in its channel.")

	c.line(20, 222, 840, 222, pale)
	c.bold(20, 252, ink, "A client that hands events to a goroutine of their own: two orders")
	c.left(20, 297, muted, "calls")
	c.box(150, 272, 140, 38, paleBlue, blue, "Get returns")
	c.arrow(290, 291, 498, 291, muted)
	c.box(500, 272, 140, 38, paleBlue, blue, "Set returns")
	c.left(20, 357, muted, "events")
	c.box(560, 332, 140, 38, paleAmber, amber, "event")
	c.arrow(700, 351, 723, 351, muted)
	c.box(725, 332, 115, 38, paleAmber, amber, "event")
	c.left(150, 357, red, "Set has returned, and where is its event?")
	return c.String()
}

// outcomes: where the connection can break, and what is known then.
func outcomes() string {
	c := newCanvas(860, 400, "Where the connection breaks decides the outcome: answered, not sent, or lost")
	for i, o := range []struct {
		title, color, fill string
		known              []string
	}{
		{"Answered", green, paleGreen, []string{"the server's answer", "handle it"}},
		{"Not sent", blue, paleBlue, []string{"it was not done", "repeat it"}},
		{"Lost", amber, paleAmber, []string{"it was not done, but you", "cannot know: look"}},
		{"Lost", amber, paleAmber, []string{"it was done, but you", "cannot know: look"}},
	} {
		x := 20 + i*210
		client, server := x+25, x+165
		c.box(x, 16, 190, 34, o.fill, o.color, o.title)
		c.text(client, 74, muted, "client")
		c.text(server, 74, muted, "server")
		c.line(client, 84, client, 300, muted)
		c.line(server, 84, server, 300, muted)
		c.box(x, 316, 190, 62, o.fill, o.color, o.known...)
		if i != 1 && i != 2 {
			c.box(server-34, 174, 56, 26, ground, muted, "done")
		}
		switch i {
		case 0:
			c.arrow(client, 110, server-3, 160, ink)
			c.text(x+92, 124, ink, "request")
			c.arrow(server, 205, client+3, 255, green)
			c.text(x+98, 250, green, "answer")
		case 1:
			c.cross(client, 110)
			c.left(client+14, 114, red, "connection ends")
		case 2:
			c.arrow(client, 110, x+100, 138, ink)
			c.text(x+80, 110, ink, "request")
			c.cross(x+112, 142)
			c.text(x+98, 170, red, "connection ends")
		case 3:
			c.arrow(client, 110, server-3, 160, ink)
			c.text(x+92, 124, ink, "request")
			c.stroke(server, 205, x+105, 226, green, "")
			c.cross(x+97, 230)
			c.text(x+90, 258, red, "connection ends")
		}
	}
	return c.String()
}

// migration: the fence, the floor and what is asked of the next server.
func migration() string {
	c := newCanvas(860, 490, "A session moves: the fence ends the old connection, and one floor holds until all watches are back")
	// The old connection.
	c.bold(20, 34, ink, "Old connection")
	y := 52
	for i, f := range []struct{ label, fill, stroke string }{
		{"answer, zxid 41", paleBlue, blue}, {"event", paleAmber, amber}, {"answer, zxid 42", paleBlue, blue},
	} {
		c.box(20+i*145, y, 132, 36, f.fill, f.stroke, f.label)
	}
	c.dashed(470, 26, 470, 112, red)
	c.text(470, 128, red, "fence")
	c.box(487, y, 132, 36, ground, pale, "event")
	c.box(632, y, 132, 36, ground, pale, "answer, zxid 43")
	c.text(625, 110, muted, "may be on their way: nothing of it counts")
	c.text(230, 110, muted, "all of it counts")

	// The servers' history.
	c.bold(20, 172, ink, "History of the servers")
	c.line(20, 205, 840, 205, muted)
	for i, z := range []string{"41", "42", "43", "44", "45"} {
		c.dot(100+i*150, 205, map[bool]string{true: blue, false: amber}[i < 2])
		c.text(100+i*150, 230, ink, "zxid "+z)
	}
	c.dashed(290, 176, 290, 246, green)
	c.left(300, 183, green, "floor 42: the last answer that counts")
	c.text(550, 262, amber, "changes from here on arrive as events, one for each watch")

	// The new connection.
	c.bold(20, 302, ink, "New connection, to any server that has zxid 42")
	x := 20
	for _, f := range []struct {
		label, second, fill, stroke string
		w                           int
	}{
		{"handshake", "", ground, muted, 100},
		{"credentials", "", ground, muted, 105},
		{"SetWatches", "floor 42", paleGreen, green, 110},
		{"SetWatches", "floor 42", paleGreen, green, 110},
		{"SetWatches", "floor 42", paleGreen, green, 110},
		{"events", "of 43 to 45", paleAmber, amber, 110},
		{"calls", "", paleBlue, blue, 85},
	} {
		lines := []string{f.label}
		if f.second != "" {
			lines = append(lines, f.second)
		}
		c.box(x, 320, f.w, 50, f.fill, f.stroke, lines...)
		x += f.w + 14
	}
	c.line(253, 392, 610, 392, green)
	c.line(253, 392, 253, 382, green)
	c.line(610, 392, 610, 382, green)
	c.text(431, 412, green, "the floor stays the same for all of them")
	c.arrow(618, 440, 618, 378, green)
	c.text(618, 458, green, "all answered: from here the floor rises again")
	c.left(20, 458, muted, "Cut anywhere here: the next Dial asks for the same.")
	return c.String()
}

// watch: one watch over two connections and an expiry.
func watch() string {
	c := newCanvas(860, 400, "One watch over two connections and an expired session")
	const x0, perUnit = 130, 72
	at := func(u float64) int { return x0 + int(u*perUnit) }
	band := func(y int, from, to float64, fill, stroke, label string) {
		c.box(at(from), y, at(to)-at(from), 34, fill, stroke, label)
	}
	for i, row := range []string{"session", "connection", "the watch", "znode /color", "application"} {
		c.left(18, 58+i*64, muted, row)
	}
	band(36, 0, 6.1, paleBlue, blue, "session 1")
	band(36, 6.9, 9.9, paleBlue, blue, "session 2")
	c.text(at(6.5), 30, red, "expired")
	band(100, 0, 2.3, paleGreen, green, "connection 1")
	band(100, 3.6, 5.2, paleGreen, green, "connection 2")
	band(100, 7.2, 9.9, paleGreen, green, "connection 3")
	c.cross(at(2.3), 117)
	c.cross(at(5.2), 117)
	band(164, 0.8, 4.1, paleAmber, amber, "armed")
	band(164, 4.6, 7.7, paleAmber, amber, "armed")
	band(164, 8.6, 9.9, paleAmber, amber, "armed")
	for _, e := range []struct {
		u     float64
		color string
	}{{0, "red"}, {2.9, "blue"}, {6.0, "green"}} {
		c.dot(at(e.u)+8, 243, ink)
		c.left(at(e.u)+20, 248, ink, fmt.Sprintf("= %q", e.color))
		if e.u > 0 {
			c.dashed(at(e.u)+8, 200, at(e.u)+8, 236, muted)
		}
	}
	for _, e := range []struct {
		u           float64
		label, what string
		color       string
	}{
		{0.8, "Get", "arms", blue},
		{3.6, "Dial", "", ink},
		{4.1, "event", "", amber},
		{4.6, "Get", "arms", blue},
		{7.2, "Renew", "", ink},
		{7.7, "event", "", amber},
		{8.6, "Get", "arms", blue},
	} {
		c.dashed(at(e.u), 134, at(e.u), 226, e.color)
		c.dashed(at(e.u), 258, at(e.u), 292, e.color)
		y := 310
		if e.label == "event" {
			y = 332
		}
		c.text(at(e.u), y, e.color, e.label)
	}
	c.left(18, 376, muted, "The watch stays armed while there is no connection, and even without a session. Each change reaches it once.")
	return c.String()
}
