package helpers

import (
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
)

// Every row has an implementation or a reason for lacking one, never both, and
// nothing is bound that has no row.
func TestEveryRowIsBound(t *testing.T) {
	for id := catalog.HelperID(1); id <= lastHelper; id++ {
		_, excused := Unimplemented[id]
		switch row := catalog.HelperByID(id); {
		case row == nil:
			t.Errorf("helper %d has no row", id)
		case Table[id] == nil && !excused:
			t.Errorf("bpf_%s (%d) has neither an implementation nor a reason for lacking one", row.Name, id)
		case Table[id] != nil && excused:
			t.Errorf("bpf_%s (%d) is implemented and listed as unimplemented", row.Name, id)
		}
	}
	if Table[0] != nil {
		t.Error("helper 0 is bound")
	}
	for id, why := range Unimplemented {
		if id <= 0 || id > lastHelper || why == "" {
			t.Errorf("unimplemented helper %d: %q", id, why)
		}
	}
}

func TestLookupOutOfRange(t *testing.T) {
	for _, id := range []catalog.HelperID{-1, 0, lastHelper + 1, 1 << 30} {
		if Lookup(id) != nil {
			t.Errorf("Lookup(%d) found something", id)
		}
	}
	if Lookup(catalog.FnMapLookupElem) == nil {
		t.Error("bpf_map_lookup_elem is missing")
	}
}

// Every kernel function bound has a row; rows without one are refused when a
// program that calls them is loaded.
func TestKfuncsHaveRows(t *testing.T) {
	for name := range KfuncTable {
		if catalog.KfuncByName(name) == nil {
			t.Errorf("%s has no row", name)
		}
	}
}
