package mem

import "sync"

// Slab hands out elements of one size. Elements never move; the memory goes
// back to the system only as a whole. All methods are safe for concurrent use.
type Slab struct {
	size  int // of an element, a multiple of 8
	chunk int // elements per block

	mu     sync.Mutex
	blocks []*Block
	free   uint64 // first free element; its first word holds the next
	fresh  uint64 // elements of the last block nobody had yet
	left   int    // how many of those
}

// NewSlab makes an empty slab for elements of size bytes, rounded up to 8. It
// grows by blocks of chunk elements.
func NewSlab(size, chunk int) *Slab {
	return &Slab{size: (size + 7) &^ 7, chunk: max(chunk, 1)}
}

// Size is the size of an element, rounded up.
func (s *Slab) Size() int { return s.size }

// Get returns the address of an element, with whatever bytes its last user left
// after the first word.
func (s *Slab) Get() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free != 0 {
		addr := s.free
		s.free = Load64(addr)
		return addr, nil
	}
	if s.left == 0 {
		b, err := Alloc(s.size * s.chunk)
		if err != nil {
			return 0, err
		}
		s.blocks = append(s.blocks, b)
		s.fresh, s.left = b.Addr(), s.chunk
	}
	addr := s.fresh
	s.fresh += uint64(s.size)
	s.left--
	return addr, nil
}

// Put takes an element back; nobody may hold its address any more.
func (s *Slab) Put(addr uint64) {
	s.mu.Lock()
	Store64(addr, s.free)
	s.free = addr
	s.mu.Unlock()
}

// Reclaim is Put, for [Epoch.RetireAddr].
func (s *Slab) Reclaim(addr uint64) { s.Put(addr) }

// Free gives all memory back. No element may be in use any more.
func (s *Slab) Free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.blocks {
		b.Free()
	}
	s.blocks, s.free, s.left = nil, 0, 0
}
