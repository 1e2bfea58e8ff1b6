package btfval

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestShow has what Linux shows otherwise; what it shows alike is compared with it by the tests of bpfsys.
func TestShow(t *testing.T) {
	short := &btf.Int{Name: "short", Size: 2}
	pointer := &btf.Pointer{Target: short}
	array := func(t btf.Type, n uint32) *btf.Array { return &btf.Array{Index: short, Type: t, Nelems: n} }
	self := &btf.Struct{Name: "self", Size: 2}
	self.Members = []btf.Member{{Name: "a", Type: self}, {Name: "b", Type: self}}
	empty := &btf.Struct{Name: "empty"}
	for _, c := range []struct {
		what  string
		t     btf.Type
		bytes string
		want  string
	}{
		{"an array of arrays", array(array(short, 2), 2), "\x01\x00\x02\x00\x03\x00\x04\x00", "[1,2,],3,4,],]"},
		{"a small enum", &btf.Enum{Name: "e", Size: 1, Values: []btf.EnumValue{{Name: "ONE", Value: 1}}}, "\x01\x02\x03\x04", "ONE"},
		{"pointers", array(pointer, 1), "\x01\x00\x00\x00\x00\x00\x00\x80", "0x8000000000000001,]"},
		{"too few bytes", short, "\x01", ""},
	} {
		var out strings.Builder
		Show(&out, c.t, []byte(c.bytes))
		if out.String() != c.want {
			t.Errorf("%s: %q, not %q", c.what, out.String(), c.want)
		}
	}
	for _, x := range []btf.Type{array(empty, 1<<31), self} { // without end, but for limits
		var out strings.Builder
		Show(&out, x, []byte("\x01\x00"))
		if n := strings.Count(out.String(), "}"); n > maxNodes(2) {
			t.Errorf("%s: %d are shown", x, n)
		}
	}
}
