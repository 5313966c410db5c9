package watches

// fan is the channels that are armed at one path in one kind, in the order in
// which they were armed.
type fan[C comparable] struct {
	list []member[C]
	at   map[C]int32 // where each is; nil for a short list
	dead int         // members of the list that were removed
}

type member[C comparable] struct {
	ch   C
	live bool
	raw  bool
}

// shortFan is the longest list that is searched from end to end.
const shortFan = 16

func (f *fan[C]) len() int { return len(f.list) - f.dead }

// find returns the place of a channel, or -1.
func (f *fan[C]) find(ch C) int {
	if f.at != nil {
		if i, ok := f.at[ch]; ok {
			return int(i)
		}
		return -1
	}
	for i := range f.list {
		if f.list[i].live && f.list[i].ch == ch {
			return i
		}
	}
	return -1
}

// add appends a channel, unless it is there.
func (f *fan[C]) add(ch C, raw bool) bool {
	if f.find(ch) >= 0 {
		return false
	}
	f.list = append(f.list, member[C]{ch, true, raw})
	if f.at != nil {
		f.at[ch] = int32(len(f.list) - 1)
	} else if len(f.list) > shortFan {
		f.reindex()
	}
	return true
}

// remove takes a channel out and reports whether it was there.
func (f *fan[C]) remove(ch C) bool {
	i := f.find(ch)
	if i < 0 {
		return false
	}
	f.list[i] = member[C]{}
	delete(f.at, ch)
	if f.dead++; f.dead > shortFan && f.dead > len(f.list)/2 {
		f.reindex()
	}
	return true
}

// reindex closes the holes of the list.
func (f *fan[C]) reindex() {
	kept := make([]member[C], 0, f.len())
	f.each(func(m member[C]) { kept = append(kept, m) })
	f.list, f.dead, f.at = kept, 0, nil
	if len(kept) > shortFan {
		f.at = make(map[C]int32, len(kept))
		for i, m := range kept {
			f.at[m.ch] = int32(i)
		}
	}
}

func (f *fan[C]) each(g func(member[C])) {
	for _, m := range f.list {
		if m.live {
			g(m)
		}
	}
}
