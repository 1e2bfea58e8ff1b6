package afxdp

import (
	"sync/atomic"
	"unsafe"
)

// offsets is where the parts of a ring lie: a cache line and its prefetched
// neighbour between those that different sides write (struct xdp_ring).
//
//	0            128          196     320
//	│ producer … │ consumer … │ flags │ descriptors
var offsets = RingOffsets{Producer: 0, Consumer: 128, Flags: 196, Desc: 320}

// Sizes of descriptors in bytes: of packets in rx and tx rings, of chunks in the others.
const (
	descSize = int(unsafe.Sizeof(Desc{}))
	addrSize = 8
)

func (k RingKind) descSize() int {
	if k == RX || k == TX {
		return descSize
	}
	return addrSize
}

// Ring is one side's view of a ring between a single producer and a single
// consumer. Who produces uses Free, PutAddr or PutDesc, and Submit; who consumes
// Waiting, Addr or Desc, Skip, and Release. A view is used by one goroutine at a time.
//
// The positions run on for ever; a slot is a position modulo the size.
//
//	   consumer        producer
//	      ▼               ▼
//	│ . . │ x │ x │ x │ x │ . . │
//	       read           written
//
// The other side sees descriptors when the position behind them is stored, and
// whoever loads that position sees them: the atomic store and load order both.
type Ring struct {
	producer, consumer, flags *uint32
	desc                      unsafe.Pointer
	mask                      uint32
	memory                    []byte // keeps it reachable where it is Go's

	prod, cons uint32 // what this side knows, and has not shown yet
	unmap      func()
}

// newRing looks at a ring of entries descriptors, a power of two, in memory.
//
// The pointers are sound as long as the memory is there, which its owner sees to; it is
// as large as ringSize says, and offsets are multiples of the size of what lies there.
func newRing(memory []byte, at RingOffsets, entries uint32) *Ring {
	base := unsafe.Pointer(unsafe.SliceData(memory))
	r := &Ring{
		producer: (*uint32)(unsafe.Add(base, at.Producer)),
		consumer: (*uint32)(unsafe.Add(base, at.Consumer)),
		flags:    (*uint32)(unsafe.Add(base, at.Flags)),
		desc:     unsafe.Add(base, at.Desc),
		mask:     entries - 1,
		memory:   memory,
	}
	r.prod, r.cons = atomic.LoadUint32(r.producer), atomic.LoadUint32(r.consumer)
	return r
}

// ringSize is how much memory a ring takes.
func ringSize(at RingOffsets, k RingKind, entries uint32) int {
	return int(at.Desc) + int(entries)*k.descSize()
}

// Unmap gives the view up.
func (r *Ring) Unmap() {
	if r != nil && r.unmap != nil {
		r.unmap()
		r.unmap = nil
	}
}

// Size is how many descriptors there is room for.
func (r *Ring) Size() uint32 { return r.mask + 1 }

// NeedsWakeup reports whether the other side wants to be called.
func (r *Ring) NeedsWakeup() bool { return atomic.LoadUint32(r.flags)&NeedWakeup != 0 }

func (r *Ring) setFlags(f uint32) { atomic.StoreUint32(r.flags, f) }

// Free returns how many descriptors can be put, and looks anew if these are fewer than want.
func (r *Ring) Free(want uint32) uint32 {
	free := r.Size() - (r.prod - r.cons)
	if free < want {
		r.cons = atomic.LoadUint32(r.consumer)
		free = r.Size() - (r.prod - r.cons)
	}
	return free
}

// PutAddr and PutDesc write the next descriptor, for which Free has found room.
func (r *Ring) PutAddr(addr uint64) {
	*(*uint64)(unsafe.Add(r.desc, uintptr(r.prod&r.mask)*addrSize)) = addr
	r.prod++
}

// PutDesc is described with PutAddr.
func (r *Ring) PutDesc(d Desc) {
	*(*Desc)(unsafe.Add(r.desc, uintptr(r.prod&r.mask)*uintptr(descSize))) = d
	r.prod++
}

// Submit shows the consumer what was put.
func (r *Ring) Submit() { atomic.StoreUint32(r.producer, r.prod) }

// Waiting returns how many descriptors can be read, and looks anew if these are fewer than want.
func (r *Ring) Waiting(want uint32) uint32 {
	n := r.prod - r.cons
	if n < want {
		r.prod = atomic.LoadUint32(r.producer)
		n = r.prod - r.cons
	}
	return n
}

// Addr and Desc read the next descriptor, which Waiting has found.
func (r *Ring) Addr() uint64 {
	return *(*uint64)(unsafe.Add(r.desc, uintptr(r.cons&r.mask)*addrSize))
}

// Desc is described with Addr.
func (r *Ring) Desc() Desc {
	return *(*Desc)(unsafe.Add(r.desc, uintptr(r.cons&r.mask)*uintptr(descSize)))
}

// Skip goes on to the next descriptor.
func (r *Ring) Skip() { r.cons++ }

// Release tells the producer that what was skipped has been read.
func (r *Ring) Release() { atomic.StoreUint32(r.consumer, r.cons) }
