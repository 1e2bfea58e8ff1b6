package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestKconfigValues writes values of every spelling into variables of every kind.
func TestKconfigValues(t *testing.T) {
	var (
		boolT    = &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}
		char     = &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
		u16      = &btf.Int{Name: "unsigned short", Size: 2}
		s32      = &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
		u64      = &btf.Int{Name: "unsigned long", Size: 8}
		tristate = &btf.Enum{Name: "libbpf_tristate", Size: 4}
		text     = &btf.Array{Type: char, Nelems: 5}
	)
	const refused = "refused"
	for _, c := range []struct {
		typ   btf.Type
		value string
		want  string
	}{
		{boolT, "y", "01"}, {boolT, "n", "00"}, {boolT, "m", refused}, {boolT, "1", refused},
		{tristate, "n", "00000000"}, {tristate, "y", "01000000"}, {tristate, "m", "02000000"}, {tristate, "1", refused},
		{char, "y", "79"}, {char, "m", "6d"}, {char, "65", "41"}, {char, "256", refused},
		{u16, "0xffff", "ffff"}, {u16, "65536", refused}, {u16, "-1", refused}, {u16, "y", refused},
		{s32, "-5", "fbffffff"}, {s32, "2147483648", refused}, {s32, `"5"`, refused},
		{u64, "18446744073709551615", "ffffffffffffffff"}, {u64, "12x", refused},
		{text, `"ab"`, "6162000000"}, {text, `"abcdefg"`, "6162636400"}, {text, `"`, refused}, {text, "ab", refused},
	} {
		ext := &Extern{Name: "CONFIG_X", Kind: ExternKconfig, Type: c.typ}
		if err := ext.setKconfigType(); err != nil {
			t.Fatal(err)
		}
		table := &externTable{data: make([]byte, ext.raw.size)}
		target := newTarget(&Options{Kconfig: "# comment\nCONFIG_X_NOT=3\nCONFIG_X=" + c.value + "\nCONFIG_X=9\n"})
		err := table.setKconfig([]*Extern{ext}, binary.LittleEndian, target)
		got := fmt.Sprintf("%x", table.data)
		if err != nil {
			got = refused
			if !errors.Is(err, ErrBadConfig) || !strings.Contains(err.Error(), "section .kconfig: CONFIG_X: ") {
				t.Errorf("%v = %s: %v", c.typ, c.value, err)
			}
		}
		if got != c.want || ext.Resolved != (err == nil) {
			t.Errorf("%v = %s is %s (resolved %v), want %s", c.typ, c.value, got, ext.Resolved, c.want)
		}
	}
}

func TestKconfigTypes(t *testing.T) {
	for _, typ := range []btf.Type{
		&btf.Int{Size: 16}, &btf.Int{Size: 4, Encoding: btf.Bool}, &btf.Enum{Name: "other", Size: 4},
		&btf.Struct{Size: 4}, &btf.Array{Type: &btf.Int{Size: 4}, Nelems: 2}, &btf.Array{Type: &btf.Int{Size: 1}},
	} {
		ext := &Extern{Name: "CONFIG_X", Type: typ}
		if err := ext.setKconfigType(); !errors.Is(err, ErrNotSupported) {
			t.Errorf("%v: %v", typ, err)
		}
	}
}

func TestTargetVersion(t *testing.T) {
	if v := newTarget(&Options{KernelVersion: 0x050f20}).version(); v != 0x050f20 {
		t.Errorf("given version is %#x", v)
	}
	if v := newTarget(nil).version(); v>>16 < 4 {
		t.Errorf("the running kernel's version is %#x", v)
	}
}
