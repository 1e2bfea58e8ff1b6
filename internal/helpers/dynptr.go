package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
)

// dynptrFuncs make and use dynptrs (kernel/bpf/helpers.c).
var dynptrFuncs = map[catalog.HelperID]Func{
	catalog.FnDynptrFromMem: dynptrFromMem,
	catalog.FnDynptrRead:    dynptrRead,
	catalog.FnDynptrWrite:   dynptrWrite,
	catalog.FnDynptrData:    dynptrData,
}

// A dynptr takes sixteen bytes of a program's stack, laid out as the kernel does:
//
//	0          8          12         16
//	┌──────────┬──────────┬──────────┐
//	│ data     │ size     │ offset   │
//	└──────────┴──────────┴──────────┘
//	            31 read-only · 30–28 kind · 23–0 size in bytes
//
// data is the address of the memory or record, or of the packet's Frame; 0 makes
// the dynptr null. offset counts from data, or from the packet's first byte.
const (
	dynSize   = 8
	dynOffset = 12

	dynMaxSize  = 1<<24 - 1
	dynSizeMask = 1<<24 - 1
	dynRdonly   = 1 << 31
	dynKind     = 28
)

// Kinds of dynptrs (enum bpf_dynptr_type).
const (
	dynLocal   = 1
	dynRingbuf = 2
	dynSKB     = 3
	dynXDP     = 4
	dynSKBMeta = 5
)

// dynptr is a dynptr read from the stack.
type dynptr struct {
	data, off, size uint64
	kind            uint32
	rdonly          bool
}

func loadDynptr(addr uint64) dynptr {
	size := mem.Load32(addr + dynSize)
	return dynptr{
		data: mem.Load64(addr), off: uint64(mem.Load32(addr + dynOffset)), size: uint64(size & dynSizeMask),
		kind: size >> dynKind & 7, rdonly: size&dynRdonly != 0,
	}
}

func (d dynptr) store(addr uint64) {
	size := uint32(d.size) | d.kind<<dynKind
	if d.rdonly {
		size |= dynRdonly
	}
	mem.Store64(addr, d.data)
	mem.Store32(addr+dynSize, size)
	mem.Store32(addr+dynOffset, uint32(d.off))
}

// holds reports whether n bytes at off lie inside.
func (d dynptr) holds(off, n uint32) bool {
	return uint64(n) <= d.size && uint64(off) <= d.size-uint64(n)
}

// local reports whether the bytes lie in one piece of memory.
func (d dynptr) local() bool { return d.kind == dynLocal || d.kind == dynRingbuf }

func dynptrFromMem(_ *Env, data, size, flags, ptr, _ uint64) uint64 {
	err := errno.Errno(0)
	switch {
	case uint32(size) > dynMaxSize:
		err = errno.E2BIG
	case flags != 0:
		err = errno.EINVAL
	}
	if err != 0 {
		dynptr{}.store(ptr)
		return err.Ret()
	}
	dynptr{data: data, size: uint64(uint32(size)), kind: dynLocal}.store(ptr)
	return 0
}

func dynptrRead(e *Env, dst, n, ptr, off, flags uint64) uint64 {
	d := loadDynptr(ptr)
	switch {
	case d.data == 0 || flags != 0:
		return errno.EINVAL.Ret()
	case !d.holds(uint32(off), uint32(n)):
		return errno.E2BIG.Ret()
	case d.local():
		copy(mem.Bytes(dst, int(uint32(n))), mem.Bytes(d.data+d.off+uint64(uint32(off)), int(uint32(n))))
		return 0
	case d.kind == dynXDP:
		return xdpLoadBytes(e, d.data, d.off+uint64(uint32(off)), dst, n, 0)
	}
	return skbLoadBytes(e, d.data, d.off+uint64(uint32(off)), dst, n, 0)
}

func dynptrWrite(e *Env, ptr, off, src, n, flags uint64) uint64 {
	d := loadDynptr(ptr)
	switch {
	case d.data == 0 || d.rdonly:
		return errno.EINVAL.Ret()
	case !d.holds(uint32(off), uint32(n)):
		return errno.E2BIG.Ret()
	case d.kind == dynSKB:
		return skbStoreBytes(e, d.data, d.off+uint64(uint32(off)), src, n, flags)
	case flags != 0:
		return errno.EINVAL.Ret()
	case d.kind == dynXDP:
		return xdpStoreBytes(e, d.data, d.off+uint64(uint32(off)), src, n, 0)
	}
	copy(mem.Bytes(d.data+d.off+uint64(uint32(off)), int(uint32(n))), mem.Bytes(src, int(uint32(n))))
	return 0
}

func dynptrData(_ *Env, ptr, off, n, _, _ uint64) uint64 {
	d := loadDynptr(ptr)
	if d.data == 0 || d.rdonly || !d.local() || !d.holds(uint32(off), uint32(n)) {
		return 0
	}
	return d.data + d.off + uint64(uint32(off))
}

// slice returns the address of n bytes at off where they lie, if they can be
// read in place, else copies them to buf if there is one (bpf_dynptr_slice).
func (e *Env) slice(d dynptr, off, n uint32, buf uint64) uint64 {
	if d.data == 0 || !d.holds(off, n) {
		return 0
	}
	if d.local() {
		return d.data + d.off + uint64(off)
	}
	at, size := d.off+uint64(off), uint64(n)
	if d.kind == dynXDP && (at > 0xffff || size > 0xffff) || at+size > e.Pkt.Size() {
		return 0
	}
	if at+size <= e.Pkt.Headlen() || d.kind == dynXDP && inOnePage(e.Pkt, at, size) {
		return e.Pkt.Data + at
	}
	if buf == 0 {
		return 0
	}
	copy(mem.Bytes(buf, int(n)), mem.Bytes(e.Pkt.Data+at, int(n)))
	return buf
}

// inOnePage reports whether a range of an XDP packet's paged bytes lies inside
// one of its fragments.
func inOnePage(p *packet.Packet, at, n uint64) bool {
	head := p.Headlen()
	if at < head || n == 0 {
		return false
	}
	return (at-head)/packet.XDPFrameLen == (at-head+n-1)/packet.XDPFrameLen
}
