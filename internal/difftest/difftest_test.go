package difftest

import (
	"testing"

	"github.com/skep-bpf/skep/isa"
)

func TestCases(t *testing.T) { RunFiles(t, "testdata/*.txtar") }

// outside are the forms of isa's table that name what a case has not:
// descriptors, kernel types, another address space.
var outside = map[string]bool{
	"ld_map_fd": true, "ld_map_value": true, "ld_btf_id": true, "call_kfunc": true, "addr_space_cast": true,
}

// Every other form stands in some case.
func TestEveryRowHasACase(t *testing.T) {
	cases, err := Load("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{}
	for _, c := range cases {
		for _, ins := range c.Insns {
			if row := isa.Lookup(ins); row != nil {
				covered[row.Name] = true
			}
		}
	}
	for _, row := range isa.Table {
		if !covered[row.Name] && !outside[row.Name] {
			t.Errorf("no case has %s", row.Name)
		}
	}
}
