package main

import "fmt"

// lock: who waits for whom.
func lock() string {
	c := newCanvas(860, 300, "Contenders of a lock: each watches the one before it")
	c.bold(20, 32, ink, "/locks/report")
	for i, k := range []struct{ state, fill, stroke string }{
		{"holds the lock", paleGreen, green},
		{"waits", paleBlue, blue},
		{"waits", paleBlue, blue},
		{"waits", paleBlue, blue},
	} {
		x := 20 + i*212
		c.box(x, 56, 184, 56, k.fill, k.stroke, fmt.Sprintf("…lock-%010d", 7+i), k.state)
		c.text(x+92, 134, muted, fmt.Sprintf("session %c, ephemeral", 'A'+i))
		if i > 0 {
			c.arrow(x-2, 84, x-26, 84, amber)
		}
	}
	c.left(20, 160, amber, "Each watches only the znode before its own.")
	c.line(20, 178, 840, 178, pale)
	c.left(20, 206, ink, "7 is released, or its session expires: its znode goes, and only 8 is woken. It holds the lock now.")
	c.left(20, 230, ink, "8 gives up waiting: its znode goes, and only 9 is woken. It watches 7 from now on.")
	c.left(20, 254, ink, "The connection of 9 is lost: its znode stays for the session timeout. It goes on in its place.")
	c.left(20, 278, ink, "Token: the zxid of the znode's creation. It grows from holder to holder.")
	return c.String()
}

// house: the packages, and who may import whom.
func house() string {
	c := newCanvas(860, 480, "The packages: arrows point to what is imported")
	c.left(20, 30, muted, "An arrow points to what is imported. Nothing points back.")
	c.box(330, 46, 200, 40, ground, ink, "your program")
	c.box(90, 130, 150, 44, paleGreen, green, "recipe")
	c.box(90, 214, 150, 44, paleGreen, green, "tree")
	c.box(350, 214, 160, 44, paleBlue, blue, "zk, the client")
	c.box(550, 218, 70, 36, paleBlue, blue, "sasl")
	c.box(650, 130, 150, 44, paleAmber, amber, "zktest")
	c.box(650, 218, 110, 36, paleGreen, green, "fourletter")
	c.arrow(330, 80, 245, 126, ink)
	c.arrow(430, 88, 430, 210, ink)
	c.arrow(530, 80, 648, 134, amber)
	c.text(650, 100, amber, "in tests")
	c.arrow(165, 176, 165, 210, green)
	c.arrow(242, 236, 346, 236, green)
	c.arrow(242, 160, 370, 210, green)
	c.arrow(512, 236, 546, 236, blue)
	c.text(705, 274, muted, "stands alone")

	c.box(40, 306, 710, 104, ground, pale)
	c.left(56, 328, muted, "internal: each room decides one thing")
	for i, p := range []string{"pipeline", "order", "watches", "handshake", "flight", "hosts", "zpath"} {
		c.box(56+i*98, 336, 90, 30, paleBlue, blue, p)
	}
	for i, p := range []string{"frames", "fifo", "liveness", "limits"} {
		c.box(56+i*98, 372, 90, 30, paleBlue, blue, p)
	}
	c.box(40, 430, 780, 34, paleAmber, amber, "wire: every record of the protocol")
	c.arrow(430, 260, 430, 302, blue)
	c.arrow(430, 411, 430, 427, amber)
	c.arrow(780, 176, 780, 427, amber)
	return c.String()
}
