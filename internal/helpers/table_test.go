package helpers

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
)

// Every row has an implementation or a reason for lacking one, never both, and
// nothing is bound that has no row.
func TestEveryRowIsBound(t *testing.T) {
	for id := catalog.HelperID(1); id <= catalog.LastHelper; id++ {
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
		if id <= 0 || id > catalog.LastHelper || why == "" {
			t.Errorf("unimplemented helper %d: %q", id, why)
		}
	}
}

func TestLookupOutOfRange(t *testing.T) {
	for _, id := range []catalog.HelperID{-1, 0, catalog.LastHelper + 1, 1 << 30} {
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
	for _, name := range kfuncNames() {
		if catalog.KfuncByName(name) == nil {
			t.Errorf("%s has no row", name)
		}
	}
}

// kfuncNames are those of all that are bound.
func kfuncNames() []string {
	return append(slices.Collect(maps.Keys(KfuncTable)), slices.Collect(maps.Keys(TypedKfuncs))...)
}

// Every helper that is bound is named by a test of this package.
func TestEveryHelperIsTested(t *testing.T) {
	names := helperConstants(t)
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(text)
	}
	for id := range Table {
		if name := names[catalog.HelperID(id)]; Table[id] != nil && !regexp.MustCompile(`catalog\.`+name+`\b`).MatchString(tests.String()) {
			t.Errorf("no test calls catalog.%s", name)
		}
	}
	for _, name := range kfuncNames() {
		if !strings.Contains(tests.String(), `"`+name+`"`) {
			t.Errorf("no test calls %s", name)
		}
	}
}

// helperConstants reads the names of the catalog's helper numbers.
func helperConstants(t *testing.T) map[catalog.HelperID]string {
	t.Helper()
	text, err := os.ReadFile("../catalog/uapi.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[catalog.HelperID]string{}
	for _, m := range regexp.MustCompile(`(?m)^\t(Fn\w+)\s+HelperID = (\d+)$`).FindAllStringSubmatch(string(text), -1) {
		id, _ := strconv.Atoi(m[2])
		names[catalog.HelperID(id)] = m[1]
	}
	return names
}
