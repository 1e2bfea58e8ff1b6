package packet

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// isVLAN reports whether a protocol in network order is a tag's.
func isVLAN(proto uint32) bool {
	return proto == uint32(Htons(EtherVLAN)) || proto == uint32(Htons(EtherQinQ))
}

// putTag notes a tag beside the packet, as a device does that took it off; the
// protocol is in network order.
func (p *Packet) putTag(proto, tci uint32) {
	p.VLANPresent, p.VLANProto, p.VLANTCI = 1, proto, tci
}

// PushVLAN puts a tag beside the packet; one that stands there already moves
// into it. proto is in network order (skb_vlan_push).
func (p *Packet) PushVLAN(proto, tci uint16) errno.Errno {
	p.macSum(p.postPush)
	if p.VLANPresent != 0 {
		if p.Data != p.MACHeader {
			return errno.EINVAL
		}
		if e := p.insertTag(); e != 0 {
			return e
		}
	}
	p.putTag(uint32(proto), uint32(tci))
	p.macSum(p.postPull)
	p.MACLen = p.macHeaderLen()
	return 0
}

// insertTag moves the tag beside the packet behind its MAC addresses.
//
//	│ dst │ src │ type │…      →   │ dst │ src │ proto │ tci │ type │…
func (p *Packet) insertTag() errno.Errno {
	if !p.MayPull(ethLen) {
		return errno.EINVAL
	}
	if e := p.push(vlanLen); e != 0 {
		return e
	}
	move(p.Data, p.Data+vlanLen, 12)
	p.MACHeader -= vlanLen
	p.NetHeader -= vlanLen
	mem.Store16(p.Data+12, uint16(p.VLANProto))
	mem.Store16(p.Data+14, Htons(uint16(p.VLANTCI)))
	p.Protocol = p.VLANProto
	p.postPush(p.Data+12, vlanLen, 0)
	return 0
}

// PopVLAN takes the outer tag away, and lifts the next one out of the packet
// to stand beside it (skb_vlan_pop).
func (p *Packet) PopVLAN() errno.Errno {
	p.macSum(p.postPush)
	e := p.popVLAN()
	p.macSum(p.postPull)
	p.compute()
	return e
}

func (p *Packet) popVLAN() errno.Errno {
	if p.VLANPresent != 0 {
		p.VLANPresent, p.VLANProto, p.VLANTCI = 0, 0, 0
	} else {
		if !isVLAN(p.Protocol) {
			return 0
		}
		if _, e := p.removeTag(); e != 0 {
			return e
		}
	}
	if !isVLAN(p.Protocol) {
		return 0
	}
	proto := p.Protocol
	tci, e := p.removeTag()
	if e == 0 {
		p.putTag(proto, uint32(tci))
	}
	return e
}

// removeTag is the reverse of insertTag; it returns the tag's TCI (__skb_vlan_pop).
func (p *Packet) removeTag() (uint16, errno.Errno) {
	if p.Data != p.MACHeader {
		return 0, errno.EINVAL
	}
	if e := p.EnsureWritable(ethLen + vlanLen); e != 0 {
		return 0, e
	}
	p.postPull(p.Data+12, vlanLen, 0)
	tci := be16(p.Data + 14)
	p.setProtocol(typeOrLength(be16(p.Data+16), p.Data+18, p.End))
	move(p.Data+vlanLen, p.Data, 12)
	p.Data += vlanLen
	p.MACHeader += vlanLen
	p.compute()
	if int64(p.NetHeader-p.Data) < ethLen {
		p.NetHeader = p.Data + ethLen
	}
	p.MACLen = p.macHeaderLen()
	return tci, 0
}

// AppendTagged appends a frame with a tag, both given in host order, behind its addresses.
func AppendTagged(b, frame []byte, proto, tci uint16) []byte {
	b = append(b, frame[:12]...)
	b = append(b, byte(proto>>8), byte(proto), byte(tci>>8), byte(tci))
	return append(b, frame[12:]...)
}

// Untagged takes the outer tag off a frame, in place, and returns it beside what is left; a proto of 0
// says that there was none. A frame that ends within its tag is none: nil (skb_vlan_untag).
func Untagged(frame []byte) (rest []byte, proto, tci uint16) {
	proto = uint16(frame[12])<<8 | uint16(frame[13])
	if proto != EtherVLAN && proto != EtherQinQ {
		return frame, 0, 0
	}
	if len(frame) < ethLen+vlanLen+2 {
		return nil, 0, 0
	}
	tci = uint16(frame[14])<<8 | uint16(frame[15])
	copy(frame[vlanLen:], frame[:12])
	return frame[vlanLen:], proto, tci
}

// macSum applies f to the link header of a packet on its way in, whose sum
// does not cover it, around an operation that works on the whole frame.
func (p *Packet) macSum(f func(addr, n, off uint64)) {
	if p.AtIngress {
		f(p.MACHeader, uint64(p.MACLen), 0)
	}
}
