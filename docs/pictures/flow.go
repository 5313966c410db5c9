package main

// flow: from an error to an action.
func flow() string {
	steps := []struct {
		question, detail string
		action           string
		fill, stroke     string
	}{
		{"err == nil", "", "done", paleGreen, green},
		{"zk.Hopeless(err)", "the next connection would end in the same way", "stop, and report it", paleRed, red},
		{"ErrLost", "it was sent, and may have been done", "look, then decide", paleAmber, amber},
		{"ErrConnection or ErrMoved", "it was not done", "redial, and repeat it", paleBlue, blue},
		{"ErrExpired", "only of Dial and Redial", "Renew, make ephemerals again", paleBlue, blue},
		{"ErrNoServer", "only of Dial, Redial and Renew", "wait a moment, dial again", paleBlue, blue},
		{"anything else", "an answer such as ErrNoNode, or a mistake", "handle it", paleGreen, green},
	}
	const top, each, x, w = 20, 62, 20, 460
	c := newCanvas(860, top+each*len(steps)+4, "From an error to an action: ask from top to bottom")
	for i, s := range steps {
		y := top + i*each
		lines := []string{s.question}
		if s.detail != "" {
			lines = append(lines, s.detail)
		}
		c.box(x, y, w, 44, ground, muted, lines...)
		c.arrow(x+w+2, y+22, 576, y+22, s.stroke)
		if i < len(steps)-1 {
			c.text(528, y+16, s.stroke, "yes")
		}
		c.box(580, y, 260, 44, s.fill, s.stroke, s.action)
		if i > 0 {
			c.arrow(x+w/2, y-16, x+w/2, y-2, muted)
			c.left(x+w/2+10, y-5, muted, "no")
		}
	}
	return c.String()
}
