package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
)

// ringbufFuncs write to ring buffers and empty those user space writes (kernel/bpf/ringbuf.c).
var ringbufFuncs = map[catalog.HelperID]Func{
	catalog.FnRingBufOutput:        ringbufOutput,
	catalog.FnRingBufReserve:       ringbufReserve,
	catalog.FnRingBufSubmit:        ringbufSubmit,
	catalog.FnRingBufDiscard:       ringbufDiscard,
	catalog.FnRingBufQuery:         ringbufQuery,
	catalog.FnRingBufReserveDynptr: ringbufReserveDynptr,
	catalog.FnRingBufSubmitDynptr:  ringbufSubmitDynptr,
	catalog.FnRingBufDiscardDynptr: ringbufDiscardDynptr,
	catalog.FnUserRingBufDrain:     userRingbufDrain,
}

func (e *Env) ring(m uint64) *maps.RingBuf {
	rb, ok := e.Host.Map(m).(*maps.RingBuf)
	if !ok {
		panic("BUG: ring buffer helper on another map")
	}
	return rb
}

func ringbufOutput(e *Env, m, data, size, flags, _ uint64) uint64 {
	return e.ring(m).Output(data, size, flags)
}

func ringbufReserve(e *Env, m, size, flags, _, _ uint64) uint64 {
	return e.ring(m).Reserve(size, flags)
}

func ringbufSubmit(e *Env, sample, flags, _, _, _ uint64) uint64 {
	e.ring(maps.RingBufOf(sample)).Submit(sample, flags)
	return 0
}

func ringbufDiscard(e *Env, sample, flags, _, _, _ uint64) uint64 {
	e.ring(maps.RingBufOf(sample)).Discard(sample, flags)
	return 0
}

func ringbufQuery(e *Env, m, what, _, _, _ uint64) uint64 { return e.ring(m).Query(what) }

// ringbufReserveDynptr leaves a dynptr in any case; it is null when there is no record.
func ringbufReserveDynptr(e *Env, m, size, flags, ptr, _ uint64) uint64 {
	dynptr{}.store(ptr)
	n := uint64(uint32(size))
	switch {
	case flags != 0:
		return errno.EINVAL.Ret()
	case n > dynMaxSize:
		return errno.E2BIG.Ret()
	}
	sample := e.ring(m).Reserve(n, 0)
	if sample == 0 {
		return errno.EINVAL.Ret()
	}
	dynptr{data: sample, size: n, kind: dynRingbuf}.store(ptr)
	return 0
}

func ringbufSubmitDynptr(e *Env, ptr, flags, _, _, _ uint64) uint64 {
	if d := loadDynptr(ptr); d.data != 0 {
		ringbufSubmit(e, d.data, flags, 0, 0, 0)
		dynptr{}.store(ptr)
	}
	return 0
}

func ringbufDiscardDynptr(e *Env, ptr, flags, _, _, _ uint64) uint64 {
	if d := loadDynptr(ptr); d.data != 0 {
		ringbufDiscard(e, d.data, flags, 0, 0, 0)
		dynptr{}.store(ptr)
	}
	return 0
}

// userRingbufDrain calls a callback with (dynptr, ctx) for each record, until it returns 1.
func userRingbufDrain(e *Env, m, callback, ctx, flags, _ uint64) uint64 {
	rb, ok := e.Host.Map(m).(*maps.UserRingBuf)
	if !ok {
		panic("BUG: user_ringbuf_drain on another map")
	}
	ptr := e.enterWalk()
	defer e.leaveWalk()
	return rb.ProgDrain(flags, func(sample, size uint64) uint64 {
		dynptr{data: sample, size: size, kind: dynLocal}.store(ptr)
		return e.Call(callback, ptr, ctx, 0, 0, 0)
	})
}
