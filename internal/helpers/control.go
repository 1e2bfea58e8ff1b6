package helpers

import (
	"runtime"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// controlFuncs steer the run itself: loops, tail calls, locks, timers.
var controlFuncs = map[catalog.HelperID]Func{
	catalog.FnLoop:             loop,
	catalog.FnTailCall:         tailCall,
	catalog.FnSpinLock:         spinLock,
	catalog.FnSpinUnlock:       spinUnlock,
	catalog.FnKptrXchg:         kptrXchg,
	catalog.FnTimerInit:        timerInit,
	catalog.FnTimerSetCallback: func(e *Env, t, fn, _, _, _ uint64) uint64 { return e.Host.Timers().SetCallback(e, t, fn) },
	catalog.FnTimerStart:       timerStart,
	catalog.FnTimerCancel:      func(e *Env, t, _, _, _, _ uint64) uint64 { return e.Host.Timers().Cancel(e, t) },
	catalog.FnGetRetval:        func(e *Env, _, _, _, _, _ uint64) uint64 { return uint64(int64(e.ReadRetval())) },
	catalog.FnSetRetval:        setRetval,
}

// maxLoops bounds bpf_loop (BPF_MAX_LOOPS).
const maxLoops = 8 << 20

// loop calls a callback with (index, ctx) n times, or until it returns 1; the
// result is how often it was called. All of n counts, as in the loop the kernel
// puts in place of most calls (inline_bpf_loop); the function itself takes a u32.
func loop(e *Env, n, callback, ctx, flags, _ uint64) uint64 {
	if flags != 0 {
		return errno.EINVAL.Ret()
	}
	if n > maxLoops {
		return errno.E2BIG.Ret()
	}
	for i := range n {
		if e.Call(callback, i, ctx, 0, 0, 0) != 0 {
			return i + 1
		}
	}
	return n
}

// tailCall leaves the program to go on with in e.TailCall and returns 0. An
// error is what R0 holds when the caller goes on instead.
func tailCall(e *Env, _, m, index, _, _ uint64) uint64 {
	pa, ok := e.Host.Map(m).(*maps.ProgArray)
	if !ok {
		panic("BUG: tail call through a map that holds no programs")
	}
	p := pa.Prog(uint32(index))
	if p == nil {
		return errno.ENOENT.Ret()
	}
	e.TailCall = p
	return 0
}

// lockWord returns the word of the struct bpf_spin_lock at addr.
func lockWord(addr uint64) *uint32 {
	// Sound: map values are off-heap, alive for the run, and the verifier
	// demands that locks are four-byte aligned.
	return (*uint32)(mem.Ptr(addr))
}

// spinLock takes the lock at addr. The holder may be another vCPU or a user's
// update with BPF_F_LOCK; both run on Go threads, so waiting yields.
func spinLock(_ *Env, addr, _, _, _, _ uint64) uint64 {
	if maps.LockShared(addr) {
		return 0
	}
	for !atomic.CompareAndSwapUint32(lockWord(addr), 0, 1) {
		runtime.Gosched()
	}
	return 0
}

func spinUnlock(_ *Env, addr, _, _, _, _ uint64) uint64 {
	if maps.UnlockShared(addr) {
		return 0
	}
	atomic.StoreUint32(lockWord(addr), 0)
	return 0
}

// resSpinTries is how often a resilient lock is tried before its holder counts as stuck.
const resSpinTries = 1 << 20

// resSpinLock takes the struct bpf_res_spin_lock at addr, whose word names its
// holder: 0, or a vCPU's number plus one. It gives up where waiting can have no end.
func resSpinLock(e *Env, addr, _, _, _, _ uint64) uint64 {
	me := uint32(e.CPU) + 1
	for range resSpinTries {
		if atomic.CompareAndSwapUint32(lockWord(addr), 0, me) {
			return 0
		}
		if atomic.LoadUint32(lockWord(addr)) == me {
			return int32Of(errno.EDEADLK)
		}
		runtime.Gosched()
	}
	return int32Of(errno.ETIMEDOUT)
}

func resSpinLockIRQ(e *Env, addr, flags, _, _, _ uint64) uint64 {
	localIRQSave(e, flags, 0, 0, 0, 0)
	return resSpinLock(e, addr, 0, 0, 0, 0)
}

// kptrXchg puts a pointer into a map value and returns the old one.
func kptrXchg(_ *Env, dst, ptr, _, _, _ uint64) uint64 {
	return atomic.SwapUint64((*uint64)(mem.Ptr(dst)), ptr) // aligned, as lockWord says
}

// Clocks and flags of timers.
const (
	clockMonotonic = 1
	clockBoottime  = 7
	timerAbs       = 1 << 0
	timerCPUPin    = 1 << 1
)

func timerInit(e *Env, timer, m, flags, _, _ uint64) uint64 {
	switch flags {
	case 0, clockMonotonic, clockBoottime: // 0 is CLOCK_REALTIME
		return e.Host.Timers().Init(timer, e.Host.Map(m), flags)
	}
	return errno.EINVAL.Ret()
}

func timerStart(e *Env, timer, nsecs, flags, _, _ uint64) uint64 {
	if flags&^uint64(timerAbs|timerCPUPin) != 0 {
		return errno.EINVAL.Ret()
	}
	return e.Host.Timers().Start(e, timer, nsecs, flags)
}

func setRetval(e *Env, v, _, _, _, _ uint64) uint64 {
	e.Retval = int32(v)
	if e.RetvalAt != 0 {
		mem.Store32(e.RetvalAt, uint32(v))
	}
	return 0
}

// ReadRetval is what the call is to return so far.
func (e *Env) ReadRetval() int32 {
	if e.RetvalAt != 0 {
		return int32(mem.Load32(e.RetvalAt))
	}
	return e.Retval
}
