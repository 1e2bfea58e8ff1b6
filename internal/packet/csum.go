package packet

import (
	"math/bits"

	"github.com/skep-bpf/skep/internal/mem"
)

// Checksum state of an skb (include/linux/skbuff.h, CHECKSUM_*).
const (
	CsumNone        = 0 // nobody checked
	CsumUnnecessary = 1 // checked and right
	CsumComplete    = 2 // Csum is the sum of everything from the network header on
	CsumPartial     = 3 // to be filled in on output
)

// maxCsumLevel is how many checksums beyond the first CsumUnnecessary can vouch for.
const maxCsumLevel = 3

// CsumPartial32 adds the 16-bit words of n bytes at addr to sum, in one's
// complement and machine byte order, as 32 bits (csum_partial). End-around
// carry makes the result independent of how the bytes are grouped.
func CsumPartial32(addr, n uint64, sum uint32) uint32 {
	acc, carry := uint64(sum), uint64(0)
	for ; n >= 8; n, addr = n-8, addr+8 {
		acc, carry = bits.Add64(acc, mem.Load64(addr), carry)
	}
	if n > 0 {
		var tail uint64
		for i := range n {
			tail |= uint64(mem.Load8(addr+i)) << (8 * i)
		}
		acc, carry = bits.Add64(acc, tail, carry)
	}
	acc, carry = bits.Add64(acc, 0, carry)
	acc += carry
	return CsumAdd(uint32(acc), uint32(acc>>32))
}

// CsumAdd adds in one's complement.
func CsumAdd(a, b uint32) uint32 {
	s, c := bits.Add32(a, b, 0)
	return s + c
}

// CsumSub subtracts in one's complement.
func CsumSub(a, b uint32) uint32 { return CsumAdd(a, ^b) }

// CsumFold folds a sum to 16 bits and complements it: what a header carries.
func CsumFold(sum uint32) uint16 { return ^CsumFold16(sum) }

// CsumFold16 folds a sum to 16 bits without complementing (csum_from32to16).
func CsumFold16(sum uint32) uint16 {
	sum = sum>>16 + sum&0xffff
	return uint16(sum + sum>>16)
}

// csumAdd16 adds 16 bits in one's complement (csum16_add).
func csumAdd16(a, b uint16) uint16 {
	s := uint32(a) + uint32(b)
	return uint16(s + s>>16)
}

// csumShift turns a sum of bytes at an odd offset into one at an even offset (csum_shift).
func csumShift(sum uint32, off uint64) uint32 {
	if off&1 != 0 {
		return bits.RotateLeft32(sum, -8)
	}
	return sum
}

// CsumReplace2 updates the checksum field at addr for a 16-bit change (csum_replace2).
func CsumReplace2(addr uint64, from, to uint16) {
	mem.Store16(addr, ^csumAdd16(csumAdd16(^mem.Load16(addr), ^from), to))
}

// CsumReplace4 updates the checksum field at addr for a 32-bit change (csum_replace4).
func CsumReplace4(addr uint64, from, to uint32) {
	mem.Store16(addr, CsumFold(CsumAdd(CsumSub(^uint32(mem.Load16(addr)), from), to)))
}

// CsumReplaceDiff updates the checksum field at addr by a difference (csum_replace_by_diff).
func CsumReplaceDiff(addr uint64, diff uint32) {
	mem.Store16(addr, CsumFold(CsumAdd(diff, ^uint32(mem.Load16(addr)))))
}

// L4CsumReplace4 updates a transport checksum at addr for a 32-bit change;
// pseudo says that the change is in the pseudo header (inet_proto_csum_replace4).
func (p *Packet) L4CsumReplace4(addr uint64, from, to uint32, pseudo bool) {
	if p.IPSummed != CsumPartial {
		CsumReplace4(addr, from, to)
		if p.IPSummed == CsumComplete && pseudo {
			p.Csum = ^CsumAdd(CsumSub(^p.Csum, from), to)
		}
	} else if pseudo {
		sum := CsumAdd(CsumSub(uint32(mem.Load16(addr)), from), to)
		mem.Store16(addr, ^CsumFold(sum))
	}
}

// L4CsumReplaceDiff is L4CsumReplace4 for a difference of sums; ipv6 says that
// the pseudo header is IPv6's, whose change no other checksum of the packet
// cancels out (inet_proto_csum_replace_by_diff).
func (p *Packet) L4CsumReplaceDiff(addr uint64, diff uint32, pseudo, ipv6 bool) {
	if p.IPSummed != CsumPartial {
		CsumReplaceDiff(addr, diff)
		if p.IPSummed == CsumComplete && pseudo && !ipv6 {
			p.Csum = ^CsumSub(diff, p.Csum)
		}
	} else if pseudo {
		mem.Store16(addr, ^CsumFold(CsumAdd(diff, uint32(mem.Load16(addr)))))
	}
}

// postPull and postPush keep Csum right when n bytes at addr, off bytes into
// the packet, leave or join what it covers (skb_postpull_rcsum, skb_postpush_rcsum).
func (p *Packet) postPull(addr, n, off uint64) {
	if p.IPSummed == CsumComplete {
		p.Csum = CsumSub(p.Csum, csumShift(CsumPartial32(addr, n, 0), off))
	}
}

func (p *Packet) postPush(addr, n, off uint64) {
	if p.IPSummed == CsumComplete {
		p.Csum = CsumAdd(p.Csum, csumShift(CsumPartial32(addr, n, 0), off))
	}
}

// CsumComplete32 sets Csum over the packet from its network header on, as a
// device that sums everything does.
func (p *Packet) CsumComplete32() {
	p.IPSummed = CsumComplete
	p.Csum = CsumPartial32(p.NetHeader, p.End-p.NetHeader, 0)
}

// CsumValid reports whether Csum is still the sum of everything from the
// network header on (the check BPF_F_TEST_SKB_CHECKSUM_COMPLETE makes after a
// run). Of a packet cut before its network header it is not.
func (p *Packet) CsumValid() bool {
	return p.NetHeader <= p.End && CsumFold(p.Csum) == CsumFold(CsumPartial32(p.NetHeader, p.End-p.NetHeader, 0))
}

// CsumLevelUp vouches for one checksum more (__skb_incr_checksum_unnecessary).
func (p *Packet) CsumLevelUp() {
	switch p.IPSummed {
	case CsumUnnecessary:
		p.CsumLevel = min(p.CsumLevel+1, maxCsumLevel)
	case CsumNone:
		p.IPSummed, p.CsumLevel = CsumUnnecessary, 0
	}
}

// CsumLevelDown vouches for one checksum less (__skb_decr_checksum_unnecessary).
func (p *Packet) CsumLevelDown() {
	if p.IPSummed != CsumUnnecessary {
		return
	}
	if p.CsumLevel == 0 {
		p.IPSummed = CsumNone
	} else {
		p.CsumLevel--
	}
}

// CsumReset vouches for none (__skb_reset_checksum_unnecessary).
func (p *Packet) CsumReset() {
	if p.IPSummed == CsumUnnecessary {
		p.IPSummed, p.CsumLevel = CsumNone, 0
	}
}
