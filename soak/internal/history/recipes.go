package history

// Recipes is what a client did by recipes.
type Recipes struct {
	Holds []Hold
	Onces []Once
	Adds  []Add
	Looks []Look
	Left  []string // paths in the directories of locks and elections, when all had been released
}

// Hold is a lock or a term that a client had.
type Hold struct {
	Dir, Path string
	Token     int64
	Session   int64
	// From is when Acquire had returned it, To the last time at which it was not Lost.
	From, To int64
	Guarded  []Guarded
}

// Guarded is a write that the server was to make only under the hold.
type Guarded struct {
	Path, Value string
	Outcome     Outcome // Refused: the hold was over
}

// Once is a transaction that was to happen exactly once.
type Once struct {
	Value   string  // that no other has
	Outcome Outcome // Lost: nobody can tell
	Sent    int     // calls that it took
}

// Add is an addition to a counter.
type Add struct {
	Path       string
	Start, End int64
	Session    int64 // when it ended
	Delta, Sum int64
	Unknown    bool // there is no Sum: the session expired
}

// Look is what an observer of an election was told.
type Look struct {
	Dir   string
	Token int64 // of the leader; 0: nobody leads
	Tick  int64
}
