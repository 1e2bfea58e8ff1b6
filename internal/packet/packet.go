// Package packet is the one packet type behind XDP, tc and socket filters.
//
// A [Packet] joins the off-heap [Frame] that programs see with what only
// helpers and hooks need: where the headers lie, checksum and segmentation
// state, tunnel metadata. Its methods move the packet's edges and headers
// exactly as the kernel's skb_* and xdp_* functions do; the checks of flags
// that belong to one helper stand with that helper.
//
// [Net] is the network around a packet: devices, routes, neighbours, sockets.
package packet

import (
	"fmt"
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// Kind says which of the kernel's two packet representations a Packet plays.
type Kind uint8

// Kinds of packets.
const (
	KindXDP Kind = iota // an xdp_buff
	KindSKB             // an sk_buff
)

// Sizes of the fixed headers, in bytes.
const (
	ethLen  = 14
	ipLen   = 20
	ip6Len  = 40
	vlanLen = 4
)

// EtherTypes, in host order.
const (
	EtherIPv4  = 0x0800
	EtherIPv6  = 0x86dd
	EtherVLAN  = 0x8100
	EtherQinQ  = 0x88a8
	ether8023  = 0x0001 // ETH_P_802_3: raw IPX over 802.3
	ether8022  = 0x0004 // ETH_P_802_2: LLC
	etherMinII = 0x0600 // smaller is a length, not a type
)

// Values of Frame.PktType (linux/if_packet.h).
const (
	PktHost      = 0
	PktBroadcast = 1
	PktMulticast = 2
	PktOtherHost = 3
	PktLoopback  = 5
)

// initialBuf is what a new Packet can hold without moving: 64 KiB of packet and its rooms.
const initialBuf = 128 << 10

// Packet is one packet on its way through a hook: the off-heap Frame programs
// see, and what only helpers and hooks need. It is reused: SetXDP and SetSKB
// start over without allocating. A Packet belongs to one vCPU.
type Packet struct {
	*Frame
	kind Kind
	own  *socket.Sock // the socket of test runs, beside the Frame

	ctx    *mem.Block // Frame and own, whose addresses never change; nil in a Row
	buf    *mem.Block // the bytes
	indent uint64     // how far into buf they may begin

	skb
	// Tunnel is the tunnel metadata beside a socket buffer.
	Tunnel Tunnel
}

// New returns an empty packet.
func New() (*Packet, error) {
	ctx, err := mem.Alloc(FrameSize + socket.SockSize)
	if err != nil {
		return nil, err
	}
	buf, err := mem.Alloc(initialBuf)
	if err != nil {
		ctx.Free()
		return nil, err
	}
	p := at(ctx.Addr())
	p.ctx, p.buf = ctx, buf
	return p, nil
}

// at makes a packet whose Frame lies at addr.
func at(addr uint64) *Packet {
	// Sound: the block at addr is alive until Free, zeroed, aligned, and FrameSize
	// is a multiple of eight.
	return &Packet{Frame: (*Frame)(mem.Ptr(addr)), own: (*socket.Sock)(mem.Ptr(addr + uint64(FrameSize)))}
}

// Free gives the packet's memory back.
func (p *Packet) Free() {
	if p.ctx != nil {
		p.ctx.Free()
	}
	p.buf.Free()
	p.Frame, p.own = nil, nil
}

// Kind says what the packet was last set up as.
func (p *Packet) Kind() Kind { return p.kind }

// Addr returns the address of the Frame, what R1 holds at a program's start.
func (p *Packet) Addr() uint64 { return uint64(uintptr(unsafe.Pointer(p.Frame))) }

// Bytes returns the packet, paged bytes included, valid until the packet changes.
func (p *Packet) Bytes() []byte { return mem.Bytes(p.Data, int(p.End-p.Data)) }

// Meta returns the metadata in front of the packet.
func (p *Packet) Meta() []byte { return mem.Bytes(p.DataMeta, int(p.Data-p.DataMeta)) }

// Size returns the length of the packet in bytes, paged bytes included.
func (p *Packet) Size() uint64 { return p.End - p.Data }

// Load copies n bytes at off to the address to. It reports whether they all lie
// inside the packet.
func (p *Packet) Load(off, n uint64, to uint64) bool {
	if off+n > p.Size() {
		return false
	}
	copy(mem.Bytes(to, int(n)), mem.Bytes(p.Data+off, int(n)))
	return true
}

// fit makes sure that buf can hold n bytes.
func (p *Packet) fit(n uint64) error {
	if need := p.indent + n; need > uint64(p.buf.Size()) {
		buf, err := mem.Alloc(int(need))
		if err != nil {
			return err
		}
		p.buf.Free()
		p.buf = buf
	}
	return nil
}

// buffer returns room for a packet of n bytes behind head of headroom.
func (p *Packet) buffer(head, n, tail uint64) ([]byte, error) {
	if err := p.fit(head + n + tail); err != nil {
		return nil, err
	}
	return mem.Bytes(p.buf.Addr()+p.indent+head, int(n)), nil
}

// fillFrom puts data where the packet begins, unless it is there already.
func fillFrom(at uint64, data []byte) {
	if uint64(uintptr(unsafe.Pointer(unsafe.SliceData(data)))) != at {
		copy(mem.Bytes(at, len(data)), data)
	}
}

// reset makes the frame that of an empty packet with room for size bytes
// between head and tail bytes of room.
func (p *Packet) reset(kind Kind, head, size, tail uint64) error {
	if err := p.fit(head + size + tail); err != nil {
		return err
	}
	*p.Frame = Frame{}
	p.kind = kind
	p.skb = skb{}
	if p.Tunnel.Present { // rare, and long
		p.Tunnel = Tunnel{}
	}
	p.HardStart = p.buf.Addr() + p.indent
	p.Data = p.HardStart + head
	p.DataMeta = p.Data
	p.End = p.Data + size
	p.DataEnd = p.End
	p.HardEnd = p.buf.Addr() + uint64(p.buf.Size())
	return nil
}

// reserve makes sure that head bytes are free in front of the packet and tail
// bytes behind it, moving it when they are not (skb_cow, pskb_expand_head).
// Addresses into the packet may change; the verifier has made the program forget them.
func (p *Packet) reserve(head, tail uint64) errno.Errno {
	room := p.Data - p.HardStart
	if room >= head && p.HardEnd-p.End >= tail {
		return 0
	}
	grow := uint64(0)
	if head > room {
		grow = (head - room + skbHeadroom - 1) / skbHeadroom * skbHeadroom
	}
	buf, err := mem.Alloc(int(room + grow + p.Size() + tail + xdpTailroom))
	if err != nil {
		return errno.ENOMEM
	}
	data := buf.Addr() + room + grow
	copy(mem.Bytes(data, int(p.Size())), p.Bytes())
	delta := data - p.Data // modulo 2⁶⁴: may be negative
	p.buf.Free()
	p.buf = buf
	p.HardStart = buf.Addr()
	p.HardEnd = buf.Addr() + uint64(buf.Size())
	for _, a := range []*uint64{&p.Data, &p.DataEnd, &p.End} {
		*a += delta
	}
	p.DataMeta = p.Data
	for _, a := range []*uint64{&p.MACHeader, &p.NetHeader, &p.TransHeader} {
		if *a != 0 {
			*a += delta
		}
	}
	if p.TransHeader == 0 && grow > 0 {
		// The kernel notes an unset transport header as offset 0xffff and adds what
		// the headroom gained without looking; it wraps and counts as set.
		p.TransHeader = p.HardStart + grow - 1
	}
	return 0
}

// SizeError says that a packet cannot be set up as asked.
type SizeError struct {
	What      string // what is wrong
	Have, Max int    // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("packet: %s: %d bytes, limit %d", e.What, e.Have, e.Max)
}

// Unwrap makes the error an EINVAL, as BPF_PROG_TEST_RUN answers.
func (e *SizeError) Unwrap() error { return errno.EINVAL }

// fill zeroes n bytes at addr.
func fill(addr, n uint64) { clear(mem.Bytes(addr, int(n))) }

// move copies n bytes between ranges that may overlap.
func move(dst, src, n uint64) { copy(mem.Bytes(dst, int(n)), mem.Bytes(src, int(n))) }

// be16 reads two bytes in network order.
func be16(addr uint64) uint16 {
	v := mem.Load16(addr)
	return v<<8 | v>>8
}

// Htons turns 16 bits from host to network order, or back.
func Htons(v uint16) uint16 { return v<<8 | v>>8 }
