package helpers

import "github.com/skep-bpf/skep/internal/catalog"

// timeFuncs read the machine's clocks, in nanoseconds and ticks.
var timeFuncs = map[catalog.HelperID]Func{
	catalog.FnKtimeGetNs:       func(e *Env, _, _, _, _, _ uint64) uint64 { return e.Host.Monotonic() },
	catalog.FnKtimeGetBootNs:   func(e *Env, _, _, _, _, _ uint64) uint64 { return e.Host.Boot() },
	catalog.FnKtimeGetTaiNs:    func(e *Env, _, _, _, _, _ uint64) uint64 { return e.Host.TAI() },
	catalog.FnKtimeGetCoarseNs: ktimeGetCoarseNs,
	catalog.FnJiffies64:        func(e *Env, _, _, _, _, _ uint64) uint64 { return e.Host.Jiffies() },
}

// tick is how coarse the coarse clock is, in nanoseconds: a kernel's with HZ=1000.
const tick = 1_000_000

func ktimeGetCoarseNs(e *Env, _, _, _, _, _ uint64) uint64 {
	now := e.Host.Monotonic()
	return now - now%tick
}
