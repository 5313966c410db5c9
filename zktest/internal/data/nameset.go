package data

import "iter"

// nameSet is a set of names with the order of a Java HashSet, in which servers
// list children: it stays the same until the set changes. nil is an empty set.
// Of a bucket with nine names and more Java makes a tree, and then its order
// is another one.
type nameSet struct {
	buckets []*nameEntry // a power of two
	size    int
}

type nameEntry struct {
	name string
	hash uint32
	next *nameEntry
}

// Bounds of a HashSet of children, which begins with as few buckets as it can.
const (
	firstBuckets = 8
	longChain    = 8  // from here on a chain makes the table grow
	largeTable   = 64 // up to this size
)

func (s *nameSet) len() int {
	if s == nil {
		return 0
	}
	return s.size
}

// all goes through the names. The set must not change meanwhile.
func (s *nameSet) all() iter.Seq[string] {
	return func(yield func(string) bool) {
		if s == nil {
			return
		}
		for _, e := range s.buckets {
			for ; e != nil; e = e.next {
				if !yield(e.name) {
					return
				}
			}
		}
	}
}

// add adds a name that the set does not have.
func (s *nameSet) add(name string) {
	if s.buckets == nil {
		s.buckets = make([]*nameEntry, firstBuckets)
	}
	added := &nameEntry{name: name, hash: javaHash(name)}
	end, chain := s.bucket(added.hash), 0
	for ; *end != nil; end = &(*end).next {
		chain++
	}
	*end = added
	if chain >= longChain && len(s.buckets) < largeTable {
		s.grow()
	}
	if s.size++; s.size*4 > len(s.buckets)*3 {
		s.grow()
	}
}

func (s *nameSet) remove(name string) {
	if s == nil || s.size == 0 {
		return
	}
	for e := s.bucket(javaHash(name)); *e != nil; e = &(*e).next {
		if (*e).name == name {
			*e = (*e).next
			s.size--
			return
		}
	}
}

func (s *nameSet) bucket(hash uint32) **nameEntry { return &s.buckets[hash&uint32(len(s.buckets)-1)] }

// grow doubles the buckets. Names that share one keep their order.
func (s *nameSet) grow() {
	old := s.buckets
	s.buckets = make([]*nameEntry, 2*len(old))
	for i, e := range old {
		ends := [2]**nameEntry{&s.buckets[i], &s.buckets[i+len(old)]}
		for e != nil {
			next := e.next
			side := 0
			if e.hash&uint32(len(old)) != 0 {
				side = 1
			}
			*ends[side], e.next = e, nil
			ends[side], e = &e.next, next
		}
	}
}

func (s *nameSet) clone() *nameSet {
	if s == nil {
		return nil
	}
	c := &nameSet{make([]*nameEntry, len(s.buckets)), s.size}
	for i, e := range s.buckets {
		for end := &c.buckets[i]; e != nil; e = e.next {
			copied := *e
			copied.next = nil
			*end = &copied
			end = &copied.next
		}
	}
	return c
}
