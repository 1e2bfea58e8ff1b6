package image

import (
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Types to be held against each other.
var (
	tU32   = &btf.Int{Name: "unsigned int", Size: 4}
	tU32b  = &btf.Int{Name: "unsigned int", Size: 4}
	tU64   = &btf.Int{Name: "unsigned long", Size: 8}
	tS32   = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	tFloat = &btf.Float{Name: "float", Size: 4}
	tSmall = &btf.Struct{Name: "s", Members: []btf.Member{{Name: "a", Type: tU32}}}
	tBig   = &btf.Struct{Name: "s___v2", Members: []btf.Member{{Name: "x", Type: tU64}, {Name: "a", Type: tU32b}}}
	tOther = &btf.Struct{Name: "s", Members: []btf.Member{{Name: "a", Type: tS32}, {Name: "b", Type: tU32}}}
	tUnion = &btf.Union{Name: "s", Members: []btf.Member{{Name: "a", Type: tU32}}}
	tFwd   = &btf.Fwd{Name: "s", Kind: btf.FwdStruct}
	tFwdU  = &btf.Fwd{Name: "s", Kind: btf.FwdUnion}
	tRed   = &btf.Enum{Name: "e", Size: 4, Values: []btf.EnumValue{{Name: "RED"}}}
	tRed2  = &btf.Enum{Name: "e___two", Size: 4, Values: []btf.EnumValue{{Name: "BLUE"}, {Name: "RED___new", Value: 5}}}
	tRed8  = &btf.Enum{Name: "e", Size: 8, Values: []btf.EnumValue{{Name: "RED"}}}
	tAnon  = &btf.Enum{Size: 1}
)

func ptrTo(t btf.Type) btf.Type           { return &btf.Pointer{Target: t} }
func arrOf(t btf.Type, n uint32) btf.Type { return &btf.Array{Type: t, Nelems: n} }

func proto(ret btf.Type, params ...btf.Type) btf.Type {
	p := &btf.FuncProto{Return: ret}
	for _, t := range params {
		p.Params = append(p.Params, btf.FuncParam{Type: t})
	}
	return p
}

func TestFieldsCompatible(t *testing.T) {
	for _, c := range []struct {
		local, target btf.Type
		want          bool
	}{
		{tU32, tS32, true}, {tU32, tU64, true}, {tU32, tFloat, false}, {tU32, ptrTo(tU32), false},
		{tFloat, &btf.Float{Size: 8}, true}, {ptrTo(tU32), ptrTo(tSmall), true},
		{tSmall, tUnion, true}, {tSmall, tU32, false},
		{tRed, tRed2, true}, {tRed, tAnon, true}, {tRed, &btf.Enum{Name: "f"}, false},
		{tFwd, &btf.Fwd{Name: "s___x"}, true}, {tFwd, &btf.Fwd{Name: "r"}, false},
		{arrOf(tU32, 3), arrOf(tU64, 5), true}, {arrOf(tU32, 3), arrOf(tFloat, 3), false},
		{&btf.Typedef{Name: "u32", Type: tU32}, &btf.Const{Type: tU64}, true},
		{proto(tU32), proto(tU32), false},
	} {
		if got := fieldsCompatible(c.local, c.target); got != c.want {
			t.Errorf("%v, %v: %v", c.local, c.target, got)
		}
	}
}

func TestTypesMatch(t *testing.T) {
	void := (*btf.Void)(nil)
	for _, c := range []struct {
		local, target btf.Type
		want          bool
	}{
		{void, void, true},
		{tU32, tU32b, true}, {tU32, tS32, false}, {tU32, tU64, false},
		{tSmall, tBig, true}, {tBig, tSmall, false}, {tSmall, tOther, false}, {tSmall, tUnion, false},
		{tRed, tRed2, true}, {tRed2, tRed, false}, {tRed, tRed8, false},
		{tFwd, tFwd, true}, {tFwd, tFwdU, false}, {tFwd, tSmall, false},
		// Behind a pointer names and kinds are enough, and a declaration stands for its definition.
		{ptrTo(tSmall), ptrTo(tOther), true}, {ptrTo(tFwd), ptrTo(tSmall), true}, {ptrTo(tSmall), ptrTo(tFwd), true},
		{ptrTo(tFwdU), ptrTo(tSmall), false}, {ptrTo(tUnion), ptrTo(tFwd), false}, {ptrTo(tSmall), ptrTo(tUnion), false},
		{ptrTo(tU32), ptrTo(tU64), false},
		{arrOf(tU32, 3), arrOf(tU32b, 3), true}, {arrOf(tU32, 3), arrOf(tU32, 4), false},
		{proto(tU32, tU64), proto(tU32b, tU64), true}, {proto(tU32, tU64), proto(tU32), false},
		{proto(tU32, tU64), proto(tU32, tU32), false}, {proto(tU32), proto(tU64), false},
	} {
		if got := typesMatch(c.local, c.target, false, 32); got != c.want {
			t.Errorf("%v, %v: %v", c.local, c.target, got)
		}
	}
	deep := btf.Type(tU32)
	for range 40 {
		deep = ptrTo(deep)
	}
	if typesMatch(deep, deep, false, 32) {
		t.Error("40 pointers deep")
	}
}

func TestBitfieldUnit(t *testing.T) {
	for _, c := range []struct{ bits, width, size, off, unit uint64 }{
		{0, 3, 4, 0, 4},
		{33, 5, 4, 4, 4},
		{30, 5, 4, 0, 8}, // crosses its own unit: the next larger one
		{6, 4, 1, 0, 2},  // likewise, from bytes
		{62, 4, 8, 0, 0}, // crosses 64 bits
		{100, 1, 8, 8, 8},
	} {
		off, unit, err := bitfieldUnit(c.bits, c.width, c.size)
		if c.unit == 0 {
			if err == nil {
				t.Errorf("%d bits at %d fit %d+%d", c.width, c.bits, off, unit)
			}
			continue
		}
		if err != nil || off != c.off || unit != c.unit {
			t.Errorf("%d bits at %d: %d+%d (%v), want %d+%d", c.width, c.bits, off, unit, err, c.off, c.unit)
		}
	}
}
