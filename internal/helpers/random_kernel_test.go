package helpers

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/packet"
)

// one picks an element.
func one[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// randomSummedStep is a randomSKBStep for a packet with BPF_F_TEST_SKB_CHECKSUM_COMPLETE.
// Linux 6.18 sums such a packet from its network header on after the run without
// asking whether it still reaches there, and stops with a BUG if it does not; so
// nothing here cuts it.
func randomSummedStep(r *rand.Rand) step {
	for {
		s := randomSKBStep(r)
		switch s.fn {
		case catalog.FnSKBChangeHead, catalog.FnSKBChangeTail, catalog.FnSKBChangeProto, catalog.FnSKBAdjustRoom:
		default:
			return s
		}
	}
}

// randomSKBStep is a call that reshapes, reads or marks a socket buffer.
func randomSKBStep(r *rand.Rand) step {
	off := uint64(one(r, 0, 2, 12, 14, 15, 24, 34, 50, 60, 93, 100, 200))
	size := uint64(one(r, 1, 2, 4, 6, 14, 20, 40))
	switch r.IntN(16) {
	case 0:
		return call(catalog.FnSKBVlanPush, ctx, be(one[uint16](r, packet.EtherVLAN, packet.EtherQinQ)), imm(uint64(r.IntN(0x10000))))
	case 1:
		return call(catalog.FnSKBVlanPop, ctx)
	case 2:
		return call(catalog.FnSKBChangeHead, ctx, imm(uint64(one(r, 0, 4, 14, 40, 120))), imm(0))
	case 3:
		return call(catalog.FnSKBChangeTail, ctx, imm(uint64(one(r, 14, 34, 60, 94, 120, 300, 900))), imm(0))
	case 4:
		return call(catalog.FnSKBChangeProto, ctx, be(one[uint16](r, packet.EtherIPv4, packet.EtherIPv6)), imm(0))
	case 5, 6:
		flags := one[uint64](r, 0, 0, adjFixedGSO, adjEncapIPv4, adjEncapIPv6|adjEncapUDP, adjEncapIPv4|adjEncapGRE, adjDecapIPv4, adjDecapIPv6, adjNoCsumReset, adjEncapIPv4|adjEncapEth|14<<56)
		return call(catalog.FnSKBAdjustRoom, ctx, neg(one[int64](r, 8, 20, 28, 40, -8, -20, -40)), imm(uint64(r.IntN(2))), imm(flags))
	case 7, 8:
		return call(catalog.FnSKBStoreBytes, ctx, imm(off), data(r.IntN(64)), imm(size), imm(uint64(r.IntN(4))))
	case 9:
		return call(catalog.FnSKBLoadBytes, ctx, imm(off), data(256+r.IntN(64)), imm(size))
	case 10:
		return call(catalog.FnSKBLoadBytesRelative, ctx, imm(off), data(256), imm(size), imm(uint64(r.IntN(2))))
	case 11:
		return call(catalog.FnL3CsumReplace, ctx, imm(off&^1), imm(0), imm(uint64(r.Uint32())), imm(0))
	case 12:
		return call(catalog.FnL4CsumReplace, ctx, imm(off&^1), imm(uint64(r.Uint32())), imm(uint64(r.Uint32())), imm(one[uint64](r, 2, 4, 0x14, 0x24, 0x34)))
	case 13:
		return call(catalog.FnSKBPullData, ctx, imm(off))
	case 14:
		return call(catalog.FnSKBEcnSetCe, ctx)
	}
	return one(r, load(skLen), load(skProtocol), load(skVLANTCI), load(skVLANProto), load(skVLANPresent), load(skGSOSize), call(catalog.FnCsumUpdate, ctx, imm(1)))
}

// randomXDPStep is a call that moves or reads an XDP packet.
func randomXDPStep(r *rand.Rand) step {
	switch r.IntN(6) {
	case 0:
		return call(catalog.FnXDPAdjustHead, ctx, neg(one[int64](r, -40, -14, -4, 4, 14, 20, 60)))
	case 1:
		return call(catalog.FnXDPAdjustTail, ctx, neg(one[int64](r, -60, -14, -1, 1, 20, 300, 3000)))
	case 2:
		return call(catalog.FnXDPAdjustMeta, ctx, neg(one[int64](r, -32, -8, -4, 4, 8)))
	case 3:
		return call(catalog.FnXDPLoadBytes, ctx, imm(uint64(r.IntN(120))), data(256), imm(uint64(1+r.IntN(40))))
	case 4:
		return call(catalog.FnXDPStoreBytes, ctx, imm(uint64(r.IntN(120))), data(0), imm(uint64(1+r.IntN(40))))
	}
	return call(catalog.FnXDPGetBuffLen, ctx)
}

// Any sequence of calls leaves what the kernel leaves. The sequences are the
// same in every run.
func TestRandomSequences(t *testing.T) {
	n := 300
	if testing.Short() {
		n = 40
	}
	packets := [][]byte{tcp4, udp4, udp6, tcp6, arp, vlan4, qinq4, llc}
	var scripts []script
	for i := range n {
		r := rand.New(rand.NewPCG(2026, uint64(i)))
		s := script{name: fmt.Sprint(i), prog: tc, pkt: one(r, packets...), data: payload(512)}
		make := randomSKBStep
		switch r.IntN(4) {
		case 0:
			s.prog, make = xdp, randomXDPStep
		case 1:
			s.csum, make = true, randomSummedStep
		case 2:
			s.ctx = skb(map[int]uint32{skGSOSize: 500, skGSOSegs: 3})
		}
		for range 2 + r.IntN(7) {
			s.steps = append(s.steps, make(r))
		}
		scripts = append(scripts, s)
	}
	runScripts(t, scripts)
}
