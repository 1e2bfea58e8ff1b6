package helpers

import (
	"slices"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
)

// Timers only check flags here; what they do is the host's.
func TestTimerFlags(t *testing.T) {
	e, _ := env(t)
	for _, clock := range []uint64{2, 3, 11, 1 << 32} {
		want(t, "timer_init", e.do(catalog.FnTimerInit, 0, 0, clock), errno.EINVAL.Ret())
	}
	want(t, "timer_start", e.do(catalog.FnTimerStart, 0, 0, 4), errno.EINVAL.Ret())
}

// timers notes what it was asked.
type timers struct{ asked []uint64 }

func (f *timers) Init(timer uint64, m maps.Map, flags uint64) uint64 {
	f.asked = append(f.asked, 1, timer, m.Def().Ptr, flags)
	return 11
}

func (f *timers) SetCallback(_ *Env, timer, fn uint64) uint64 {
	f.asked = append(f.asked, 2, timer, fn)
	return 12
}

func (f *timers) Start(_ *Env, timer, nsecs, flags uint64) uint64 {
	f.asked = append(f.asked, 3, timer, nsecs, flags)
	return 13
}

func (f *timers) Cancel(_ *Env, timer uint64) uint64 {
	f.asked = append(f.asked, 4, timer)
	return 14
}

func TestTimersReachTheHost(t *testing.T) {
	e, h := env(t)
	h.timers = new(timers)
	m := h.newMap(t, catalog.MapDef{Name: "m", Type: catalog.MapArray, KeySize: 4, ValueSize: 16, MaxEntries: 1}).Def().Ptr
	want(t, "timer_init", e.do(catalog.FnTimerInit, 0x40, m, clockBoottime), 11)
	want(t, "timer_set_callback", e.do(catalog.FnTimerSetCallback, 0x40, 0xf), 12)
	want(t, "timer_start", e.do(catalog.FnTimerStart, 0x40, 500, timerAbs|timerCPUPin), 13)
	want(t, "timer_cancel", e.do(catalog.FnTimerCancel, 0x40), 14)
	if asked := []uint64{1, 0x40, m, clockBoottime, 2, 0x40, 0xf, 3, 0x40, 500, 3, 4, 0x40}; !slices.Equal(h.timers.asked, asked) {
		t.Errorf("asked %v, want %v", h.timers.asked, asked)
	}
}
