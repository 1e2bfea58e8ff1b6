package skep_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/catalog"
)

// TestFeatures asks about every row: what there is not says so, in one line and with a reason.
func TestFeatures(t *testing.T) {
	check := func(name string, err error) {
		if err != nil && (!errors.Is(err, skep.ErrNotSupported) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, k := range catalog.MapKinds() {
		check(k.Name, skep.HaveMapType(k.Type))
	}
	for _, k := range catalog.ProgKinds() {
		check(k.Name, skep.HaveProgramType(k.Type))
	}
	if err := skep.HaveMapType(catalog.MapLPMTrie); err != nil {
		t.Error(err)
	}
	for _, runs := range []skep.ProgramType{catalog.ProgXDP, catalog.ProgSkReuseport, catalog.ProgSkSKB, catalog.ProgSkMsg} {
		if err := skep.HaveProgramType(runs); err != nil {
			t.Error(err)
		}
	}
	if err := skep.HaveProgramType(catalog.ProgLSM); err == nil {
		t.Error("LSM programs can be run by themselves")
	}
}
