package packet

import (
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
)

// Geometry of an XDP buffer, in bytes, as BPF_PROG_TEST_RUN and most drivers
// have it (include/uapi/linux/bpf.h, net/bpf/test_run.c):
//
//	│← 256 →│← up to 3520 →│← 320 →│
//	│ head  │ linear       │ skb_shared_info
//	└───────┴──────────────┴───────┘ 4096
const (
	XDPHeadroom = 256  // XDP_PACKET_HEADROOM
	XDPFrameLen = 4096 // one page
	xdpTailroom = 320  // SKB_DATA_ALIGN(sizeof(struct skb_shared_info))
	xdpFrameHdr = 40   // sizeof(struct xdp_frame), which redirects keep at the start of the headroom
	maxFrags    = 17   // MAX_SKB_FRAGS
	maxMeta     = 255  // largest metadata length skb_shared_info can note
)

// xdpHasFrags is the bit of Frame.XDPFlags of a packet with paged bytes (XDP_FLAGS_HAS_FRAGS).
const xdpHasFrags = 1

// XDPRoom is what a frame has behind its headroom, as capacity of what is changed in place, and
// XDPLinear how much of it a packet in one piece may have.
const (
	XDPRoom   = XDPFrameLen - XDPHeadroom
	XDPLinear = XDPRoom - xdpTailroom
)

// MetaFits reports whether a packet can begin with n bytes of metadata.
func MetaFits(n int) bool {
	return n >= 0 && n%4 == 0 && n <= min(maxMeta, XDPHeadroom-xdpFrameHdr)
}

// XDPOptions shape an XDP packet.
type XDPOptions struct {
	RxIfindex uint32 // 0: the loopback device, 1
	RxQueue   uint32
	TxIfindex uint32
	// Meta is how many of the first bytes are metadata, in front of the packet.
	Meta int
	// Linear is how many bytes, metadata included, lie in the linear part; 0: as many as fit.
	Linear int
	// FrameSize is the size of the buffer's linear part with its rooms; 0: XDPFrameLen.
	FrameSize int
	// InPlace, if not 0, says that the data are not to be copied: they lie off-heap, with so
	// many bytes of headroom before them, and the rest of their capacity behind them. There is
	// then no paged part.
	InPlace int
}

// XDPBuffer returns room for a packet of n bytes where SetXDP, without metadata,
// puts one: a packet that is received there is not copied. What was in p is gone.
func (p *Packet) XDPBuffer(n int) ([]byte, error) {
	return p.buffer(XDPHeadroom, uint64(n), XDPFrameLen+xdpTailroom)
}

// SetXDP makes p an XDP packet of a copy of data (bpf_prog_test_run_xdp).
func (p *Packet) SetXDP(data []byte, o XDPOptions) error {
	if o.InPlace != 0 {
		return p.setInPlace(data, o)
	}
	frame := o.FrameSize
	if frame == 0 {
		frame = XDPFrameLen
	}
	maxLinear := frame - XDPHeadroom - xdpTailroom + o.Meta
	linear := o.Linear
	if linear == 0 {
		linear = len(data)
	}
	linear = min(linear, maxLinear)
	switch {
	case !MetaFits(o.Meta):
		return &SizeError{"XDP metadata", o.Meta, XDPHeadroom - xdpFrameHdr}
	case o.Linear < 0 || o.Linear > len(data) || linear < o.Meta:
		return &SizeError{"XDP linear part", o.Linear, len(data)}
	case len(data)-o.Meta < ethLen:
		return &SizeError{"XDP packet shorter than its Ethernet header", len(data) - o.Meta, ethLen}
	case len(data)-linear > maxFrags*XDPFrameLen:
		return &SizeError{"XDP packet", len(data), linear + maxFrags*XDPFrameLen}
	}
	size := uint64(len(data) - o.Meta)
	if err := p.reset(KindXDP, XDPHeadroom, size, XDPFrameLen+xdpTailroom); err != nil {
		return err
	}
	p.DataMeta = p.Data - uint64(o.Meta)
	p.DataEnd = p.DataMeta + uint64(linear)
	p.HardEnd = p.HardStart + uint64(frame-xdpTailroom)
	fillFrom(p.DataMeta, data)
	p.RxIfindex = max(o.RxIfindex, 1)
	p.RxQueue = o.RxQueue
	p.TxIfindex = o.TxIfindex
	if p.End > p.DataEnd {
		p.XDPFlags = xdpHasFrags
	}
	return nil
}

// setInPlace makes p an XDP packet of the bytes at data themselves.
//
//	│ headroom │ data │ capacity of data, the last bytes of which a driver keeps │
func (p *Packet) setInPlace(data []byte, o XDPOptions) error {
	if n := len(data) - o.Meta; n < ethLen {
		return &SizeError{"XDP packet shorter than its Ethernet header", n, ethLen}
	}
	if err := p.reset(KindXDP, 0, 0, 0); err != nil {
		return err
	}
	p.DataMeta = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(data))))
	p.HardStart = p.DataMeta - uint64(o.InPlace)
	p.Data, p.DataEnd = p.DataMeta+uint64(o.Meta), p.DataMeta+uint64(len(data))
	p.End = p.DataEnd
	p.HardEnd = p.DataMeta + uint64(cap(data)) - xdpTailroom
	p.RxIfindex, p.RxQueue, p.TxIfindex = max(o.RxIfindex, 1), o.RxQueue, o.TxIfindex
	return nil
}

// AdjustHead moves the start of the packet by off bytes, its metadata with it
// (bpf_xdp_adjust_head).
func (p *Packet) AdjustHead(off int32) errno.Errno {
	meta := p.Data - p.DataMeta
	data := p.Data + uint64(int64(off))
	if data < p.HardStart+xdpFrameHdr+meta || data > p.DataEnd-ethLen {
		return errno.EINVAL
	}
	if meta != 0 {
		move(data-meta, p.DataMeta, meta)
	}
	p.Data = data
	p.DataMeta = data - meta
	return 0
}

// AdjustMeta moves the start of the metadata by off bytes (bpf_xdp_adjust_meta).
func (p *Packet) AdjustMeta(off int32) errno.Errno {
	meta := p.DataMeta + uint64(int64(off))
	if meta < p.HardStart+xdpFrameHdr || meta > p.Data {
		return errno.EINVAL
	}
	if n := p.Data - meta; n%4 != 0 || n > maxMeta {
		return errno.EACCES
	}
	p.DataMeta = meta
	return 0
}

// AdjustTail moves the end of the packet by off bytes; what it gains is zero
// (bpf_xdp_adjust_tail).
func (p *Packet) AdjustTail(off int32) errno.Errno {
	if p.XDPFlags&xdpHasFrags != 0 {
		return p.adjustPagedTail(int64(off))
	}
	end := p.DataEnd + uint64(int64(off))
	if end > p.HardEnd || end < p.Data+ethLen {
		return errno.EINVAL
	}
	if off > 0 {
		fill(p.DataEnd, uint64(off))
	}
	p.DataEnd, p.End = end, end
	return 0
}

// adjustPagedTail is AdjustTail of a packet with paged bytes, which lie in
// pages of XDPFrameLen: growing stays inside the last one, shrinking may free
// pages and in the end bite into the linear part.
func (p *Packet) adjustPagedTail(off int64) errno.Errno {
	if off >= 0 {
		last := (p.End - p.DataEnd - 1) % XDPFrameLen // of the last page's bytes, counted from 0
		if uint64(off) > XDPFrameLen-1-last {
			return errno.EINVAL
		}
		fill(p.End, uint64(off))
		p.End += uint64(off)
		return 0
	}
	if -off > int64(p.Size())-ethLen {
		return errno.EINVAL
	}
	p.End -= uint64(-off)
	if p.End <= p.DataEnd {
		p.DataEnd = p.End
		p.XDPFlags &^= xdpHasFrags
	}
	return 0
}

// XDPRange checks that n bytes at off lie inside the packet, and returns their
// address (bpf_xdp_pointer).
func (p *Packet) XDPRange(off, n uint32) (uint64, errno.Errno) {
	if off > 0xffff || n > 0xffff {
		return 0, errno.EFAULT
	}
	if uint64(off)+uint64(n) > p.Size() {
		return 0, errno.EINVAL
	}
	return p.Data + uint64(off), 0
}
