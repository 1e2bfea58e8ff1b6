package image

import (
	"errors"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/btfval"
)

func TestSetConst(t *testing.T) {
	img, err := LoadFile("testdata/data.o", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, want, section string }{
		{"limit", "200", "200", ".rodata"},
		{"table", "{ 5, 6 }", "{ 5, 6, ... }", ".rodata"},
		{"motto", `"bees"`, `"bees"`, ".rodata"},
		{"mode", "AUTO", "AUTO", ".rodata"},
		{"small", "0xffff", "65535", ".rodata"},
		{"named", "9", "9", ".rodata.named"},
		{"pair", "{ .b = -3 }", "{ .a = 0, .b = -3 }", ".data"},
		{"sums", "[1, 2, 3]", "{ 1, 2, 3, ... }", ".bss"},
	} {
		if err := img.SetConst(c.name, c.text); err != nil {
			t.Error(err)
			continue
		}
		v, ok := img.Variable(c.name)
		if got := btfval.Format(v.Type, v.Bytes(), img.ByteOrder); !ok || got != c.want || v.Map.Name != c.section {
			t.Errorf("%s = %s in %s, want %s in %s", c.name, got, v.Map.Name, c.want, c.section)
		}
	}
	for name, c := range map[string]struct{ text, want string }{
		"nobody": {"1", "nobody: cannot set variable: no such global variable"},
		"limit":  {"lots", `section .rodata: limit: cannot set variable: cannot read value: at column 1, "lots": not a number`},
	} {
		err := img.SetConst(name, c.text)
		if !errors.Is(err, ErrBadConstant) || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s = %s: %v, want %s", name, c.text, err, c.want)
		}
	}
}
