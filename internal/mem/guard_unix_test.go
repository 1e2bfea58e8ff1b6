//go:build unix

package mem

import (
	"runtime/debug"
	"testing"
)

var sink uint8

// One byte outside a guarded block faults instead of reading a neighbour.
func TestGuard(t *testing.T) {
	b, err := AllocGuarded(512)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Free()
	faults := func(addr uint64) (fault bool) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() { fault = recover() != nil }()
		sink += Load8(addr) // a result nobody wants is a load the compiler drops
		return false
	}
	if faults(b.Addr()) || faults(b.Addr()+511) {
		t.Error("the block itself faults")
	}
	if !faults(b.Addr() + 512) {
		t.Error("the byte after the block does not fault")
	}
}
