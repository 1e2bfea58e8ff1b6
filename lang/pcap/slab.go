package pcap

// slab hands out zeroed values of one type from chunks it keeps, so that a
// compiler that is used again allocates nothing. Addresses stay valid until
// reset.
type slab[T any] struct {
	chunks [][]T
	chunk  []T // the one values are handed out from
	used   int // values of it handed out
	full   int // chunks before it
}

const slabChunk = 64

// alloc returns a zeroed T.
func (s *slab[T]) alloc() *T {
	if s.used == len(s.chunk) {
		s.next()
	}
	v := &s.chunk[s.used]
	s.used++
	var zero T
	*v = zero
	return v
}

// next goes on to the next chunk.
//
//go:noinline
func (s *slab[T]) next() {
	if s.chunk != nil {
		s.full++
	}
	if s.full == len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, slabChunk))
	}
	s.chunk, s.used = s.chunks[s.full], 0
}

// count returns how many values are in use.
func (s *slab[T]) count() int { return s.full*slabChunk + s.used }

// reset takes all values back. What a giant expression needed is let go.
func (s *slab[T]) reset() {
	if len(s.chunks) > 64 {
		s.chunks = s.chunks[:64:64]
	}
	s.chunk, s.used, s.full = nil, 0, 0
}
