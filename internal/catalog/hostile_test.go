package catalog

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Each of these structs has the one before it in it a thousand times: walked
// one by one, the members of the last are more than there are atoms.
func TestSpecialFieldsOfStructsWithoutEnd(t *testing.T) {
	const members = 1000
	inner := &btf.Struct{Name: "s0"}
	for i := 1; i < maxSpecialDepth; i++ {
		st := &btf.Struct{Name: fmt.Sprint("s", i)}
		for range members {
			st.Members = append(st.Members, btf.Member{Type: inner})
		}
		inner = st
	}
	if found, no := FindSpecial(inner, false); no != 0 || len(found) != 0 {
		t.Errorf("%v, %v", found, no)
	}
	if _, no := FindSpecial(&btf.Struct{Members: []btf.Member{{Type: inner}}}, false); no.Name() != "E2BIG" {
		t.Errorf("one level more: %v, want E2BIG", no)
	}
}
