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
	c := newCanvas(860, 386+len(internalRooms)*58, "The packages: arrows point to what is imported")
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

	bottom := 312 + len(internalRooms)*58
	c.box(40, 306, 710, bottom-300, ground, pale)
	for i, group := range internalRooms {
		c.left(56, 328+i*58, muted, group.what)
		for j, p := range group.rooms {
			c.box(56+j*98, 336+i*58, 90, 30, paleBlue, blue, p)
		}
	}
	c.box(40, bottom+26, 780, 34, paleAmber, amber, "wire: every record of the protocol")
	c.arrow(430, 260, 430, 302, blue)
	c.arrow(430, bottom+7, 430, bottom+23, amber)
	c.arrow(780, 176, 780, bottom+23, amber)
	return c.String()
}

// internalRooms are the packages that the client is made of. TestHousePicture asks
// for a new one.
var internalRooms = []struct {
	what  string
	rooms []string
}{
	{"internal, calls: one connection, and what its answers do", []string{"calls", "pipeline", "interlock", "answers", "liveness", "frames", "fifo"}},
	{"internal, watches: what moves with a session", []string{"registry", "watches", "order", "place", "handover"}},
	{"internal, dialing: from addresses to a session", []string{"doors", "hosts", "handshake", "flight"}},
	{"internal, small things", []string{"zpath", "modes", "acl", "limits", "hooks", "rescue", "talk"}},
}

// znodes: a tree with the kinds of znodes that one meets first.
func znodes() string {
	c := newCanvas(860, 300, "A tree of znodes")
	node := func(x, y int, fill, stroke, name, data string) {
		if data == "" {
			c.box(x, y, 150, 44, fill, stroke, name)
			return
		}
		c.box(x, y, 150, 44, fill, stroke, name, data)
	}
	node(350, 16, ground, muted, "/", "")
	node(110, 100, paleBlue, blue, "/app", "")
	node(350, 100, paleBlue, blue, "/services", "")
	node(590, 100, paleBlue, blue, "/locks", "")
	node(20, 190, paleBlue, blue, "/app/color", `"red"`)
	node(190, 190, paleBlue, blue, "/app/db", `"db1:5432"`)
	node(360, 190, paleAmber, amber, "/services/a", `"host-1:8080"`)
	node(530, 190, paleAmber, amber, "/services/b", `"host-2:8080"`)
	node(690, 190, paleAmber, amber, "/locks/…-007", "")
	for _, l := range [][4]int{
		{425, 60, 185, 98}, {425, 60, 425, 98}, {425, 60, 665, 98},
		{185, 144, 95, 188}, {185, 144, 265, 188}, {425, 144, 435, 188}, {425, 144, 605, 188}, {665, 144, 765, 188},
	} {
		c.line(l[0], l[1], l[2], l[3], muted)
	}
	c.box(20, 254, 18, 18, paleBlue, blue)
	c.left(46, 268, ink, "persistent: stays until it is deleted")
	c.box(360, 254, 18, 18, paleAmber, amber)
	c.left(386, 268, ink, "ephemeral: goes with the session that made it")
	return c.String()
}

// session: one session over three servers.
func session() string {
	c := newCanvas(860, 300, "A session is known to all servers, and has one connection at a time")
	c.box(20, 24, 820, 40, paleBlue, blue, "the session: id, password, timeout, ephemeral znodes; all servers know it")
	for i, s := range []string{"server 1", "server 2", "server 3"} {
		x := 100 + i*250
		c.box(x, 100, 160, 44, ground, muted, s)
		c.dashed(x+80, 66, x+80, 98, muted)
	}
	c.box(20, 226, 820, 40, paleGreen, green, "your program")
	c.arrow(180, 224, 180, 148, green)
	c.cross(180, 190)
	c.left(194, 186, red, "1. the server stops:")
	c.left(194, 204, red, "the connection ends")
	c.arrow(430, 224, 430, 148, green)
	c.left(444, 186, green, "2. Dial: the same session,")
	c.left(444, 204, green, "on another connection")
	c.left(20, 288, muted, "If no server hears from the program for the timeout, they expire the session. Nobody else can.")
	return c.String()
}
