package helpers

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/packet"
)

// setUp makes the packet what BPF_PROG_TEST_RUN makes of the script's input.
func (s *script) setUp(p *packet.Packet) error {
	u32 := func(off int) uint32 {
		if off+4 > len(s.ctx) {
			return 0
		}
		return binary.NativeEndian.Uint32(s.ctx[off:])
	}
	u64 := func(off int) uint64 { return uint64(u32(off)) | uint64(u32(off+4))<<32 }
	if s.prog == catalog.ProgXDP {
		o := packet.XDPOptions{}
		if s.ctx != nil {
			o = packet.XDPOptions{RxIfindex: u32(12), RxQueue: u32(16), Meta: int(u32(0)), Linear: int(u32(4))}
		}
		return p.SetXDP(s.pkt, o)
	}
	o := packet.SKBOptions{
		L2:      s.prog == catalog.ProgSchedCls || s.prog == catalog.ProgSchedAct,
		OwnSock: true, ChecksumComplete: s.csum,
		Mark: u32(skMark), Priority: u32(skPriority), IngressIfindex: u32(skIngress),
		Tstamp: u64(skTstamp), WireLen: u32(skWireLen), GSOSegs: u32(skGSOSegs), GSOSize: u32(skGSOSize),
		HWTstamp: u64(skHWTstamp),
	}
	if s.ctx != nil && o.WireLen == 0 {
		o.WireLen = packet.OwnLen
	}
	for i := range o.CB {
		o.CB[i] = u32(skCB + 4*i)
	}
	return p.SetSKB(s.pkt, o)
}

// Offsets in struct __sk_buff.
const (
	skLen, skPktType, skMark, skQueue, skProtocol     = 0, 4, 8, 12, 16
	skVLANPresent, skVLANTCI, skVLANProto, skPriority = 20, 24, 28, 32
	skIngress, skIfindex, skTCIndex, skCB, skHash     = 36, 40, 44, 48, 68
	skTCClassid, skTstamp, skWireLen, skGSOSegs       = 72, 152, 160, 164
	skGSOSize, skHWTstamp, skSize                     = 176, 184, 192
)

// skb returns a struct __sk_buff with some words set.
func skb(words map[int]uint32) []byte {
	b := make([]byte, skSize)
	for off, v := range words {
		binary.NativeEndian.PutUint32(b[off:], v)
	}
	return b
}

// xdpMD returns a struct xdp_md with metadata and linear bytes.
func xdpMD(meta, linear uint32) []byte {
	b := make([]byte, 24)
	binary.NativeEndian.PutUint32(b, meta)
	binary.NativeEndian.PutUint32(b[4:], linear)
	return b
}

// contextOut is the context BPF_PROG_TEST_RUN hands back.
func (s *script) contextOut(p *packet.Packet) []byte {
	out := bytes.Clone(s.ctx)
	put := func(off int, v uint32) { binary.NativeEndian.PutUint32(out[off:], v) }
	if s.prog == catalog.ProgXDP {
		put(0, uint32(p.Data-p.DataMeta))
		put(4, uint32(p.DataEnd-p.DataMeta))
		return out
	}
	put(skMark, p.Mark)
	put(skPriority, p.Priority)
	put(skIngress, p.IngressIfindex)
	put(skIfindex, p.Ifindex)
	binary.NativeEndian.PutUint64(out[skTstamp:], p.Tstamp)
	for i, w := range p.CB {
		put(skCB+4*i, w)
	}
	put(skWireLen, p.WireLen)
	put(skGSOSegs, p.GSOSegs)
	binary.NativeEndian.PutUint64(out[skHWTstamp:], p.HWTstamp)
	return out
}

// needKernel ends the test where bpf(2) cannot be used.
func needKernel(t *testing.T) {
	t.Helper()
	m, err := linux.NewMap(&scratchDef, nil)
	oracle.Need(t, "bpf(2)", err)
	m.Close()
}
