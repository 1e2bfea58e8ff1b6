package bpfsys

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/afxdp"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
)

// Numbers of AF_XDP (uapi linux/if_xdp.h, linux/socket.h).
const (
	AFXDP  = 44
	SolXDP = 283

	sockRaw      = 3
	sockTypeMask = 0xf

	xskMmapOffsets = 1
	xskRxRing      = 2
	xskTxRing      = 3
	xskUmemReg     = 4
	xskFillRing    = 5
	xskCompRing    = 6
	xskStatistics  = 7
	xskOptions     = 8
)

// msgDontWait is MSG_DONTWAIT, without which AF_XDP sockets are not sent to.
const msgDontWait = 1 << 6

// umemReg is struct xdp_umem_reg, the first of whose versions ends behind Headroom.
type umemReg struct {
	Addr, Len                          uint64
	ChunkSize, Headroom, Flags, TxMeta uint32
}

const umemRegV1 = 24

// sockaddr is struct sockaddr_xdp.
type sockaddr struct {
	Family, Flags        uint16
	Ifindex, Queue, UMEM uint32
}

// XSK is an AF_XDP socket of a caller's, and its system calls (net/xdp/xsk.c).
type XSK struct {
	*afxdp.Socket
	s    *System
	refs atomic.Int64
	end  func()
}

// XSKOpen follows socket(AF_XDP, typ, protocol). Rings lie in memory of the caller's; end is called when the last
// descriptor is closed. The result is one reference.
func (s *System) XSKOpen(who *Caller, typ, protocol uint32, rings afxdp.RingMemory, end func()) (*XSK, errno.Errno) {
	switch {
	case !who.can(CapNetAdmin):
		return nil, errno.EPERM
	case typ&sockTypeMask != sockRaw:
		return nil, errno.ESOCKTNOSUPPORT
	case protocol != 0:
		return nil, errno.EPROTONOSUPPORT
	}
	x := &XSK{Socket: afxdp.NewSocket(&s.m.XSKs), s: s, end: end}
	x.KeepRingsIn(rings)
	x.refs.Store(1)
	return x, 0
}

// Acquire takes another reference.
func (x *XSK) Acquire() { x.refs.Add(1) }

// Close gives a reference back.
func (x *XSK) Close() {
	if x.refs.Add(-1) == 0 {
		x.Socket.Close()
		x.end()
	}
}

// of is an error's number.
func of(err error) errno.Errno {
	if err == nil {
		return 0
	}
	return numberOf(err)
}

// ringOptions are the options that make rings.
var ringOptions = map[uint32]afxdp.RingKind{xskRxRing: afxdp.RX, xskTxRing: afxdp.TX, xskFillRing: afxdp.Fill, xskCompRing: afxdp.Completion}

// Setsockopt follows xsk_setsockopt. open opens the memory of a UMEM.
func (x *XSK) Setsockopt(who *Caller, opt uint32, at uint64, n int32, open func(addr, size uint64) (afxdp.Memory, errno.Errno)) errno.Errno {
	k, ring := ringOptions[opt]
	switch {
	case ring:
		if n < 4 {
			return errno.EINVAL
		}
		var b [4]byte
		if !who.Memory.Read(at, b[:]) {
			return errno.EFAULT
		}
		return of(x.MakeRing(k, binary.NativeEndian.Uint32(b[:])))
	case opt != xskUmemReg:
		return errno.ENOPROTOOPT
	}
	var r umemReg
	if n < umemRegV1 {
		return errno.EINVAL
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	if int(n) < len(b) {
		b = b[:umemRegV1]
	}
	if !who.Memory.Read(at, b) {
		return errno.EFAULT
	}
	if r.Addr%pageSize != 0 || r.Addr+r.Len < r.Addr {
		if x.HasUMEM() {
			return errno.EBUSY
		}
		return errno.EINVAL
	}
	reg := afxdp.Reg{ChunkSize: r.ChunkSize, Headroom: r.Headroom, Flags: r.Flags, TxMetadataLen: r.TxMeta}
	return of(x.RegisterMemory(r.Len, reg, func() (afxdp.Memory, errno.Errno) { return open(r.Addr, r.Len) }))
}

// Getsockopt follows xsk_getsockopt.
func (x *XSK) Getsockopt(who *Caller, opt uint32, at, lenAt uint64) errno.Errno {
	var b [4]byte
	if !who.Memory.Read(lenAt, b[:]) {
		return errno.EFAULT
	}
	room := int32(binary.NativeEndian.Uint32(b[:]))
	if room < 0 {
		return errno.EINVAL
	}
	var v []byte
	switch opt {
	case xskStatistics:
		st, _ := x.Statistics()
		const v1 = 24
		if room < int32(unsafe.Sizeof(st)) {
			st.RxDropped += st.RxRingFull
		}
		if v = binaryOf(&st); int(room) < len(v) {
			v = v[:v1]
		}
	case xskMmapOffsets:
		o, _ := x.Offsets()
		if v = binaryOf(&o); int(room) < len(v) { // without the rings' flags
			v = nil
			for i := range o {
				v = append(v, binaryOf(&o[i])[:24]...)
			}
		}
	case xskOptions:
		o, _ := x.Options()
		v = u32bytes(o)
	default:
		return errno.EOPNOTSUPP
	}
	if int(room) < len(v) {
		return errno.EINVAL
	}
	if !who.Memory.Write(at, v) || !who.Memory.Write(lenAt, u32bytes(uint32(len(v)))) {
		return errno.EFAULT
	}
	return 0
}

// binaryOf is a structure of whole words as bytes.
func binaryOf[T any](v *T) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))...)
}

// BindTo follows xsk_bind.
func (x *XSK) BindTo(who *Caller, at uint64, n int32) errno.Errno {
	var a sockaddr
	if uint32(n) > 128 { // sockaddr_storage
		return errno.EINVAL
	}
	if n < int32(unsafe.Sizeof(a)) {
		return errno.EINVAL
	}
	if !who.Memory.Read(at, unsafe.Slice((*byte)(unsafe.Pointer(&a)), unsafe.Sizeof(a))) {
		return errno.EFAULT
	}
	if a.Family != AFXDP {
		return errno.EINVAL
	}
	to := afxdp.Addr{Flags: a.Flags, Queue: a.Queue}
	if d := x.s.o.Devices; d != nil {
		if dev := d.Netdev(a.Ifindex); dev != nil {
			to.Device = dev
		}
	}
	if a.Flags&afxdp.SharedUMEM != 0 {
		switch f, e := who.Files.File(int32(a.UMEM)); {
		case e != 0 || f == nil:
			to.Shared = noSocket{}
		default:
			defer f.Put()
			if other, ok := f.Object().(*XSK); ok {
				to.Shared = other.Socket
			}
		}
	}
	return of(x.Bind(to))
}

// noSocket is what a descriptor is of that is no AF_XDP socket.
type noSocket struct{ afxdp.Sys }

// SendTo follows xsk_sendmsg, without data.
func (x *XSK) SendTo(flags uint32) errno.Errno { return x.kick(flags, x.Send) }

// RecvFrom follows xsk_recvmsg.
func (x *XSK) RecvFrom(flags uint32) errno.Errno { return x.kick(flags, x.Recv) }

func (x *XSK) kick(flags uint32, call func() error) errno.Errno {
	if flags&msgDontWait == 0 {
		if e := x.Sends(); e != 0 {
			return e
		}
		return errno.EOPNOTSUPP
	}
	return of(call())
}

// ringPages are where rings are mapped, in bytes.
var ringPages = map[uint64]afxdp.RingKind{0: afxdp.RX, 0x80000000: afxdp.TX, 0x100000000: afxdp.Fill, 0x180000000: afxdp.Completion}

// RingPage is where a ring is mapped, in bytes.
func RingPage(k afxdp.RingKind) int64 {
	for at, kind := range ringPages {
		if kind == k {
			return int64(at)
		}
	}
	return 0
}

// Mmap follows xsk_mmap: EINVAL for what is none of the rings, or more.
func (x *XSK) Mmap(off, size uint64) errno.Errno {
	k, ok := ringPages[off]
	if !ok {
		return errno.EINVAL
	}
	end, e := x.RingEnd(k)
	if e == 0 && size > uint64(end) {
		return errno.EINVAL
	}
	return e
}

// toXSK replaces the descriptor in a value by the number of the caller's AF_XDP socket.
func (c *call) toXSK(v []byte) {
	fd := int32(binary.NativeEndian.Uint32(v))
	n := run.NoSocket
	switch f, e := c.who.Files.File(fd); {
	case e != 0:
		n = run.NoDescriptor
	case f != nil:
		if x, ok := f.Object().(*XSK); ok {
			n = x.FD()
		}
		f.Put()
	case c.who.Sockets != nil:
		if _, _, _, e := c.who.Sockets.Socket(fd); e == 0 {
			n = run.OtherSocket
		}
	}
	binary.NativeEndian.PutUint32(v, n)
}
