package pcap

// slab hands out zeroed values of one type from chunks it keeps, so that a
// compiler that is used again allocates nothing. Addresses stay valid until
// reset.
type slab[T any] struct {
	chunks [][]T
	used   int // values handed out
}

const slabChunk = 64

// alloc returns a zeroed T.
func (s *slab[T]) alloc() *T {
	c, i := s.used/slabChunk, s.used%slabChunk
	if c == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, slabChunk))
	}
	s.used++
	v := &s.chunks[c][i]
	var zero T
	*v = zero
	return v
}

// reset takes all values back. What a giant expression needed is let go.
func (s *slab[T]) reset() {
	if s.used = 0; len(s.chunks) > 64 {
		s.chunks = s.chunks[:64:64]
	}
}
