package helpers

import (
	"os"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// TestUserRingbufDrain: the callback gets each record as a dynptr, until it says stop.
func TestUserRingbufDrain(t *testing.T) {
	e, h := env(t)
	m := h.newMap(t, catalog.MapDef{Name: "u", Type: catalog.MapUserRingBuf, MaxEntries: uint32(os.Getpagesize())})
	ring := m.(*maps.UserRingBuf)
	for i := range byte(5) {
		rec := ring.Reserve(8 + int(i))
		rec[0] = i
		if i == 1 {
			ring.Discard(rec)
		} else {
			ring.Submit(rec)
		}
	}
	var seen []byte
	stopAt := 2
	e.Call = func(fn, ptr, ctx, _, _, _ uint64) uint64 {
		if fn != 0xf00 || ctx != 0xc {
			t.Fatalf("callback %#x(…, %#x)", fn, ctx)
		}
		d := loadDynptr(ptr)
		first := e.do(catalog.FnDynptrData, ptr, 0, 1)
		if first == 0 || d.kind != dynLocal {
			t.Fatalf("dynptr %+v", d)
		}
		seen = append(seen, mem.Load8(first))
		want(t, "size", d.size, uint64(8+seen[len(seen)-1]))
		return b2u(len(seen) == stopAt)
	}
	ptr := m.Def().Ptr
	want(t, "drain, stopped", e.do(catalog.FnUserRingBufDrain, ptr, 0xf00, 0xc, 0), 2)
	want(t, "drain", e.do(catalog.FnUserRingBufDrain, ptr, 0xf00, 0xc, 0), 2)
	want(t, "drain of nothing", e.do(catalog.FnUserRingBufDrain, ptr, 0xf00, 0xc, 0), 0)
	want(t, "unknown flag", e.do(catalog.FnUserRingBufDrain, ptr, 0xf00, 0xc, 8), errno.EINVAL.Ret())
	if string(seen) != "\x00\x02\x03\x04" {
		t.Errorf("saw %v", seen)
	}
}
