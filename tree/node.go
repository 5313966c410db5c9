package tree

import (
	"iter"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seed-9f8420c6/zk"
)

// Node is a znode as it was read.
type Node struct {
	Path string
	Data []byte // nil for null, which is not empty
	Stat zk.Stat

	// Children are in the order of their names. Only Get and Snapshot fill them.
	Children []*Node
}

// Name returns the last part of the path, and "/" for the root.
func (n *Node) Name() string { return base(n.Path) }

// All returns the node and all below it, parents before children, siblings by
// name.
func (n *Node) All() iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		if n == nil {
			return
		}
		for stack := []*Node{n}; len(stack) > 0; {
			top := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if !yield(top) {
				return
			}
			for i := len(top.Children) - 1; i >= 0; i-- {
				stack = append(stack, top.Children[i])
			}
		}
	}
}

// Find returns the node of a path at or below n, or nil.
func (n *Node) Find(path string) *Node {
	for n != nil && n.Path != path {
		if !below(path, n.Path) {
			return nil
		}
		rest := path[len(n.Path):]
		if n.Path != "/" {
			rest = rest[1:]
		}
		name, _, _ := strings.Cut(rest, "/")
		i, found := slices.BinarySearchFunc(n.Children, name, func(kid *Node, name string) int {
			return strings.Compare(kid.Name(), name)
		})
		if !found {
			return nil
		}
		n = n.Children[i]
	}
	return n
}

// String draws the tree as tree(1) does. Each znode has a line with its name, its
// data or the length of it, and the owner if it is ephemeral.
func (n *Node) String() string {
	if n == nil {
		return ""
	}
	type line struct {
		n      *Node
		indent string // of what is below
		mark   string // before the name
	}
	var b strings.Builder
	for stack := []line{{n: n}}; len(stack) > 0; {
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		b.WriteString(top.mark)
		if top.mark == "" {
			b.WriteString(top.n.Path)
		} else {
			b.WriteString(top.n.Name())
		}
		top.n.describe(&b)
		b.WriteByte('\n')
		for i := len(top.n.Children) - 1; i >= 0; i-- {
			mark, indent := top.indent+"├── ", top.indent+"│   "
			if i == len(top.n.Children)-1 {
				mark, indent = top.indent+"└── ", top.indent+"    "
			}
			stack = append(stack, line{top.n.Children[i], indent, mark})
		}
	}
	return b.String()
}

// maxText is the longest data that String prints as text, in bytes.
const maxText = 60

func (n *Node) describe(b *strings.Builder) {
	switch {
	case len(n.Data) == 0:
	case len(n.Data) <= maxText && isText(n.Data):
		b.WriteString("  ")
		b.WriteString(strconv.Quote(string(n.Data)))
	default:
		b.WriteString("  ")
		b.WriteString(strconv.Itoa(len(n.Data)))
		b.WriteString(" bytes")
	}
	if n.Stat.EphemeralOwner != 0 {
		b.WriteString("  ephemeral 0x")
		b.WriteString(strconv.FormatUint(uint64(n.Stat.EphemeralOwner), 16))
	}
}

// isText reports whether data is UTF-8 without control characters but \n and \t.
func isText(data []byte) bool {
	if !utf8.Valid(data) {
		return false
	}
	for _, r := range string(data) {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f {
			return false
		}
	}
	return true
}
