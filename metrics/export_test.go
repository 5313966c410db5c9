package metrics

// Remembered returns how many Watches a Set knows.
func (s *Set) Remembered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watches)
}
