package kstruct

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Numbers of every width and place are read as they were written, and nothing around them changes.
func TestPlaces(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for bits := uint32(1); bits <= 64; bits++ {
		for off := uint32(0); off < 24; off++ {
			for _, enc := range []btf.IntEncoding{btf.Unsigned, btf.Signed} {
				p := Place{off, bits, &btf.Int{Size: 8, Encoding: enc}}
				b := make([]byte, 12)
				for i := range b {
					b[i] = byte(rnd.Uint32())
				}
				before, v := bytes.Clone(b), rnd.Uint64()
				old := p.Get(b)
				p.Put(b, v)
				want := v
				if bits < 64 {
					want &= 1<<bits - 1
					if enc == btf.Signed && want>>(bits-1) != 0 {
						want |= ^uint64(0) << bits
					}
				}
				if got := p.Get(b); got != want {
					t.Fatalf("%d bits at %d: wrote %#x, read %#x", bits, off, want, got)
				}
				if p.Put(b, old); !bytes.Equal(b, before) {
					t.Fatalf("%d bits at %d: what is around them changed", bits, off)
				}
			}
		}
	}
}

// Members are found through structures without names, and bit fields too.
func TestFind(t *testing.T) {
	u32 := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	inner := &btf.Struct{Name: "in", Size: 8, Members: []btf.Member{{Name: "a", Type: u32}, {Name: "b", Type: u32, Offset: 35, BitfieldSize: 3}}}
	hidden := &btf.Union{Size: 8, Members: []btf.Member{{Name: "x", Type: u32}, {Name: "y", Type: inner}}}
	outer := &btf.Struct{Name: "out", Size: 16, Members: []btf.Member{{Name: "in", Type: inner}, {Type: hidden, Offset: 64}}}
	for path, want := range map[string]Place{
		"in": {0, 64, inner}, "in.a": {0, 32, u32}, "in.b": {35, 3, u32}, "x": {64, 32, u32}, "y.b": {99, 3, u32},
	} {
		if p, ok := Find(outer, path); !ok || p != want {
			t.Errorf("%s: %+v, %v; want %+v", path, p, ok, want)
		}
	}
	for _, path := range []string{"", "a", "in.", "in.c", "inn", "x.y", ".x"} {
		if p, ok := Find(outer, path); ok {
			t.Errorf("%q: %+v", path, p)
		}
	}
}
