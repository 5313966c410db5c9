package registry

// This file is the place in history: how much of it the watches have seen. See
// internal/place.

// Past is a place in history that was given up.
type Past struct{ zxid, floor int64 }

// GiveUp makes the history begin anew: the zxid and the floor are zero.
func (r *Registry[T, E]) GiveUp() Past {
	r.mu.Lock()
	defer r.mu.Unlock()
	zxid := r.zxid.Load()
	was := Past{zxid, r.place.Floor(zxid)}
	r.zxid.Store(0)
	r.place.Move(0)
	return was
}

// TakeBack undoes GiveUp.
func (r *Registry[T, E]) TakeBack(was Past) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Advance(was.zxid)
	r.place.Move(was.floor)
}

// GoOn goes on from the zxid of a session that nobody has had in this process. Where
// watches are armed, the floor stays theirs.
func (r *Registry[T, E]) GoOn(zxid int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Advance(max(zxid, r.place.Floor(0)))
	if r.table.Len() == 0 {
		r.place.Move(zxid)
	}
}

// Tell notes an AddWatch of the client's own, see place.Place.Tell.
func (r *Registry[T, E]) Tell(since int64, longer bool) {
	r.mu.Lock()
	r.place.Tell(since, longer)
	r.mu.Unlock()
}

// Heard notes its answer.
func (r *Registry[T, E]) Heard() {
	r.mu.Lock()
	r.place.Heard()
	r.mu.Unlock()
}

// ChildDeaf notes that the child watch of a path is deaf since a zxid.
func (r *Registry[T, E]) ChildDeaf(path string, since int64) {
	r.mu.Lock()
	r.place.ChildDeaf(path, since)
	r.mu.Unlock()
}

// ChildHears notes that the child watch of a path was restored.
func (r *Registry[T, E]) ChildHears(path string) {
	r.mu.Lock()
	r.place.ChildHears(path)
	r.mu.Unlock()
}

// Restored notes the reply to a SetWatches frame, which rearms persistent watches or
// not; after the last one the floor follows the zxid. Only the reader calls it.
func (r *Registry[T, E]) Restored(zxid int64, rearms, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.place.Restored(zxid, rearms) {
		r.queueGapsLocked()
		r.queue.Release()
	}
	if last {
		r.place.Settle()
	}
}

// Settle makes the floor follow the zxid where there was no frame to wait for. A
// connection that has ended meanwhile has settled nothing.
func (r *Registry[T, E]) Settle() {
	r.mu.Lock()
	if r.queue.Moves() {
		r.place.Settle()
	}
	r.mu.Unlock()
}

// OweGap notes that persistent watches get a Gap with a new session, whatever its zxid.
// They get it when the server begins to restore them: until then they miss changes.
func (r *Registry[T, E]) OweGap() {
	r.mu.Lock()
	r.place.OweGap(r.table.Persistent() > 0)
	r.mu.Unlock()
}
