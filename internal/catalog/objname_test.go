package catalog

import (
	"strings"
	"testing"
)

func TestObjNames(t *testing.T) {
	for name, valid := range map[string]bool{
		"": true, "a_Z.09": true, strings.Repeat("x", 15): true, strings.Repeat("x", 16): false,
		"a-b": false, "a b": false, "é": false, "a\x00b": false,
	} {
		if got := ValidName(name); got != valid {
			t.Errorf("%q is valid: %t, want %t", name, got, valid)
		}
	}
	for field, want := range map[string]string{"ab\x00\x00": "ab", "\x00": "", "ab\x00-": "ab"} {
		if got, ok := ObjName([]byte(field)); got != want || !ok {
			t.Errorf("the field %q holds %q %t, want %q", field, got, ok, want)
		}
	}
	for _, field := range []string{"", "abcd", "a-\x00\x00"} {
		if got, ok := ObjName([]byte(field)); ok {
			t.Errorf("the field %q holds %q, want nothing", field, got)
		}
	}
}
