package bpfsys

import (
	"math"
	"testing"
)

// TestIDsWrap: after 2³¹ objects numbers begin anew, and those that are taken are left out.
func TestIDsWrap(t *testing.T) {
	var ids idTable[string]
	add := func(o string) (got uint32) {
		if e := ids.add(o, func(id uint32) { got = id }); e != 0 {
			t.Fatal(o, e)
		}
		return got
	}
	if a, b := add("first"), add("second"); a != 1 || b != 2 {
		t.Fatalf("ids %d and %d, want 1 and 2", a, b)
	}
	ids.drop(1)
	ids.last = math.MaxInt32 - 2 // as many were made, and are gone
	for _, want := range []uint32{math.MaxInt32 - 1, 1, 3} {
		if got := add("later"); got != want {
			t.Errorf("id %d, want %d", got, want)
		}
	}
	for id, want := range map[uint32]uint32{0: 1, 1: 2, 2: 3, 3: math.MaxInt32 - 1} {
		if got, ok := ids.next(id); !ok || got != want {
			t.Errorf("after %d comes %d, want %d", id, got, want)
		}
	}
	if _, ok := ids.next(math.MaxInt32 - 1); ok {
		t.Error("something comes after the last")
	}
}
