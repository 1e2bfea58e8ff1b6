package helpers

import (
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// What programs learn of a sysctl; the hook's tests ask the kernel.
func TestSysctl(t *testing.T) {
	e, _ := env(t)
	s := Sysctl{Name: "net/ipv4/ttl", Current: []byte("64\n")}
	e.Sysctl = &s
	room := newScratch(t, 8192)
	at := room.Addr()
	reads := func(what string, got, ret uint64, text string) {
		t.Helper()
		want(t, what, got, ret)
		if b := room.Bytes()[:len(text)]; string(b) != text {
			t.Errorf("%s: %q, want %q", what, b, text)
		}
	}
	inval, big := errno.EINVAL.Ret(), errno.E2BIG.Ret()
	reads("the name", e.do(catalog.FnSysctlGetName, 0, at, 16, 0), 12, "net/ipv4/ttl\x00")
	reads("the last part", e.do(catalog.FnSysctlGetName, 0, at, 4, 1), 3, "ttl\x00")
	reads("a name without room", e.do(catalog.FnSysctlGetName, 0, at, 12, 0), big, "net/ipv4/tt\x00")
	reads("a name without any room", e.do(catalog.FnSysctlGetName, 0, at, 1, 0), big, "\x00")
	reads("the value", e.do(catalog.FnSysctlGetCurrentValue, 0, at, 6), 3, "64\n\x00\x00\x00")
	reads("a value without room", e.do(catalog.FnSysctlGetCurrentValue, 0, at, 3), big, "64\x00")
	reads("a new value of none", e.do(catalog.FnSysctlGetNewValue, 0, at, 4), inval, "\x00\x00\x00\x00")
	want(t, "setting while reading", e.do(catalog.FnSysctlSetNewValue, 0, at, 1), inval)
	s.New = []byte("1")
	reads("the new value", e.do(catalog.FnSysctlGetNewValue, 0, at, 4), 1, "1\x00\x00\x00")
	copy(room.Bytes(), strings.Repeat("2", MaxSysctl))
	want(t, "setting a page", e.do(catalog.FnSysctlSetNewValue, 0, at, MaxSysctl), big)
	want(t, "setting", e.do(catalog.FnSysctlSetNewValue, 0, at, MaxSysctl-1), 0)
	mem.Store8(at, '3') // what is set is a copy
	if !s.Set || string(s.New) != strings.Repeat("2", MaxSysctl-1) {
		t.Errorf("set is %v, to %q", s.Set, s.New)
	}

	// Where the retval is shown in a context, it is the same there.
	e.RetvalAt = at
	want(t, "set_retval", e.do(catalog.FnSetRetval, errno.EPERM.Ret()), 0)
	want(t, "the context's", uint64(int64(int32(mem.Load32(at)))), errno.EPERM.Ret())
	mem.Store32(at, 5)
	want(t, "get_retval", e.do(catalog.FnGetRetval), 5)
}
