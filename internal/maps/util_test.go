package maps_test

import (
	"testing"

	"github.com/skep-bpf/skep/internal/mem"
)

// scratch is off-heap memory for the keys and values of program-side calls.
type scratch struct {
	block *mem.Block
	at    uint64
}

func newScratch(t testing.TB) *scratch {
	t.Helper()
	b, err := mem.Alloc(1 << 16)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Free)
	return &scratch{b, b.Addr()}
}

// put copies b off-heap and returns where. Inlined with a slice of constant
// length it crashes the compiler of Go 1.26.8 (disjointTypes).
//
//go:noinline
func (s *scratch) put(b []byte) uint64 {
	if s.at+uint64(len(b))+8 > s.block.Addr()+uint64(s.block.Size()) {
		s.at = s.block.Addr()
	}
	at := s.at
	copy(mem.Bytes(at, len(b)), b)
	s.at += uint64(len(b)+7) &^ 7
	return at
}

// read returns n bytes at an address.
func (s *scratch) read(at uint64, n int) []byte { return mem.Bytes(at, n) }
