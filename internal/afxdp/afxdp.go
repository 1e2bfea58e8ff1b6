// Package afxdp is AF_XDP: sockets that take packets from XDP programs and send
// packets out of devices, by rings in memory shared with who holds the socket.
//
// [Socket] is the kernel's side, rebuilt: what net/xdp does with a socket's system
// calls, with what programs redirect to it and with what waits in its rings.
// [Sys] are the system calls as their caller sees them; a Socket has them, and so
// has [Linux], a socket of the real kernel.
//
//	          ┌─ fill ring ◀── free chunks ──┐
//	device ◀──┤                              ├── user
//	  │       └─ completion ── sent chunks ─▶┘
//	  ├────────▶ rx ring ───── packets ─────▶
//	  ◀───────── tx ring ◀──── packets ──────
//
// Fill and completion ring belong to the queue of a device that a UMEM is bound to
// (a [Pool]); all sockets there share them.
package afxdp

import "time"

// RingKind names one of the four rings.
type RingKind uint8

// Rings, in the order of struct xdp_mmap_offsets.
const (
	RX RingKind = iota
	TX
	Fill
	Completion
	ringKinds
)

func (k RingKind) String() string { return [...]string{"rx", "tx", "fill", "completion"}[k] }

// Flags of [Addr] (sxdp_flags).
const (
	SharedUMEM    = 1 << 0 // XDP_SHARED_UMEM
	Copy          = 1 << 1 // XDP_COPY
	ZeroCopy      = 1 << 2 // XDP_ZEROCOPY
	UseNeedWakeup = 1 << 3 // XDP_USE_NEED_WAKEUP
	UseSG         = 1 << 4 // XDP_USE_SG
	bindFlags     = SharedUMEM | Copy | ZeroCopy | UseNeedWakeup | UseSG
)

// Flags of [Reg].
const (
	Unaligned  = 1 << 0 // XDP_UMEM_UNALIGNED_CHUNK_FLAG
	txSoftCsum = 1 << 1 // XDP_UMEM_TX_SW_CSUM
	txMetaLen  = 1 << 2 // XDP_UMEM_TX_METADATA_LEN
)

// NeedWakeup is the flag of a ring whose user has to call Send or Recv (XDP_RING_NEED_WAKEUP).
const NeedWakeup = 1 << 0

// OptionZeroCopy is the flag of Options of a socket in zero-copy mode (XDP_OPTIONS_ZEROCOPY).
const OptionZeroCopy = 1 << 0

// Options of a descriptor.
const (
	Continued  = 1 << 0 // XDP_PKT_CONTD: the packet goes on in the next descriptor
	txMetadata = 1 << 1 // XDP_TX_METADATA
)

// Headroom is what lies between a chunk's headroom and the packet (XDP_PACKET_HEADROOM), in bytes.
const Headroom = 256

// In a UMEM of unaligned chunks an address of a descriptor is a chunk's, with the
// offset of the packet behind it in the upper bits:
//
//	│ offset, 16 bits │ address, 48 bits │
const (
	offsetShift = 48
	addrMask    = 1<<offsetShift - 1
)

// Desc is struct xdp_desc: a packet, or a part of one.
type Desc struct {
	Addr    uint64 // in the UMEM, of its first byte
	Len     uint32
	Options uint32
}

// Start returns where the packet of a descriptor begins in the UMEM.
func (d Desc) Start() uint64 { return d.Addr&addrMask + d.Addr>>offsetShift }

// Reg is struct xdp_umem_reg but for its address and length, which an area has.
type Reg struct {
	ChunkSize, Headroom, Flags, TxMetadataLen uint32
}

// Addr is struct sockaddr_xdp. Device is a [Netdev] for a [Socket], an ifindex
// (int) for a socket of [Linux]; Shared is the socket of sxdp_shared_umem_fd.
type Addr struct {
	Flags  uint16
	Device any
	Queue  uint32
	Shared Sys
}

// Statistics is struct xdp_statistics.
type Statistics struct {
	RxDropped, RxInvalidDescs, TxInvalidDescs, RxRingFull, RxFillRingEmptyDescs, TxRingEmptyDescs uint64
}

// RingOffsets say where in the memory of a ring its parts lie, in bytes.
type RingOffsets struct{ Producer, Consumer, Desc, Flags uint64 }

// Sys is an AF_XDP socket by its system calls. Errors are errno.Errno, those of Wait
// as the readers' of package observe.
type Sys interface {
	// Register is setsockopt(XDP_UMEM_REG). The area stays where it is until the
	// socket and all that share it are closed.
	Register(area *Area, r Reg) error
	// MakeRing is setsockopt(XDP_RX_RING) and those of the other rings.
	MakeRing(k RingKind, entries uint32) error
	// MapRing is mmap of a ring; every call gives a view of its own.
	MapRing(k RingKind) (*Ring, error)
	// Offsets is getsockopt(XDP_MMAP_OFFSETS).
	Offsets() ([ringKinds]RingOffsets, error)
	Bind(Addr) error
	// Send is sendto(MSG_DONTWAIT), Recv recvfrom(MSG_DONTWAIT).
	Send() error
	Recv() error
	Statistics() (Statistics, error)
	// Options is getsockopt(XDP_OPTIONS).
	Options() (uint32, error)
	// Wait returns nil as soon as ready does true, looking whenever something may
	// have come; else os.ErrClosed or os.ErrDeadlineExceeded.
	Wait(ready func() bool) error
	SetDeadline(t time.Time) error
	// Stop ends all waiting, now and later.
	Stop()
	// FD is what a map is updated with.
	FD() uint32
	Close() error
}
