package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// ringbufFuncs write to ring buffers (kernel/bpf/ringbuf.c).
var ringbufFuncs = map[catalog.HelperID]Func{
	catalog.FnRingBufOutput:        ringbufOutput,
	catalog.FnRingBufReserve:       ringbufReserve,
	catalog.FnRingBufSubmit:        ringbufSubmit,
	catalog.FnRingBufDiscard:       ringbufDiscard,
	catalog.FnRingBufQuery:         ringbufQuery,
	catalog.FnRingBufReserveDynptr: ringbufReserveDynptr,
	catalog.FnRingBufSubmitDynptr:  ringbufSubmitDynptr,
	catalog.FnRingBufDiscardDynptr: ringbufDiscardDynptr,
}

// ringBuf is what a ring buffer offers programs.
type ringBuf interface {
	maps.Map
	// ProgReserve takes size bytes for a record and returns their address, or 0
	// when there is no room.
	ProgReserve(size uint64) uint64
	// ProgCommit hands a reserved record to the reader, or lets it skip the
	// record. flags are BPF_RB_NO_WAKEUP and BPF_RB_FORCE_WAKEUP.
	ProgCommit(record, flags uint64, discard bool)
	// ProgQuery returns what bpf_ringbuf_query asks for.
	ProgQuery(what uint64) uint64
}

// reservation is a record the run has reserved and must give back before its
// end; the verifier sees to that.
type reservation struct {
	record uint64
	ring   ringBuf
}

// Flags of a commit.
const (
	rbNoWakeup    = 1 << 0
	rbForceWakeup = 1 << 1
)

func (e *Env) ring(m uint64) ringBuf {
	rb, ok := e.Host.Map(m).(ringBuf)
	if !ok {
		panic("BUG: ring buffer helper on another map")
	}
	return rb
}

// reserve takes room for a record and remembers whose it is.
func (e *Env) reserve(m, size uint64) uint64 {
	rb := e.ring(m)
	record := rb.ProgReserve(size)
	if record != 0 {
		e.reserved = append(e.reserved, reservation{record, rb})
	}
	return record
}

// commit gives a record back.
func (e *Env) commit(record, flags uint64, discard bool) {
	for i := len(e.reserved) - 1; i >= 0; i-- {
		if r := e.reserved[i]; r.record == record {
			e.reserved = append(e.reserved[:i], e.reserved[i+1:]...)
			r.ring.ProgCommit(record, flags, discard)
			return
		}
	}
	panic("BUG: commit of a record that is not reserved")
}

func ringbufOutput(e *Env, m, data, size, flags, _ uint64) uint64 {
	if flags&^uint64(rbNoWakeup|rbForceWakeup) != 0 {
		return errno.EINVAL.Ret()
	}
	rb := e.ring(m)
	record := rb.ProgReserve(size)
	if record == 0 {
		return errno.EAGAIN.Ret()
	}
	copy(mem.Bytes(record, int(size)), mem.Bytes(data, int(size)))
	rb.ProgCommit(record, flags, false)
	return 0
}

func ringbufReserve(e *Env, m, size, flags, _, _ uint64) uint64 {
	if flags != 0 {
		return 0
	}
	return e.reserve(m, size)
}

func ringbufSubmit(e *Env, record, flags, _, _, _ uint64) uint64 {
	e.commit(record, flags, false)
	return 0
}

func ringbufDiscard(e *Env, record, flags, _, _, _ uint64) uint64 {
	e.commit(record, flags, true)
	return 0
}

func ringbufQuery(e *Env, m, what, _, _, _ uint64) uint64 { return e.ring(m).ProgQuery(what) }

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
	record := e.reserve(m, n)
	if record == 0 {
		return errno.EINVAL.Ret()
	}
	dynptr{data: record, size: n, kind: dynRingbuf}.store(ptr)
	return 0
}

func ringbufSubmitDynptr(e *Env, ptr, flags, _, _, _ uint64) uint64 {
	e.commitDynptr(ptr, flags, false)
	return 0
}

func ringbufDiscardDynptr(e *Env, ptr, flags, _, _, _ uint64) uint64 {
	e.commitDynptr(ptr, flags, true)
	return 0
}

func (e *Env) commitDynptr(ptr, flags uint64, discard bool) {
	if d := loadDynptr(ptr); d.data != 0 {
		e.commit(d.data, flags, discard)
		dynptr{}.store(ptr)
	}
}
