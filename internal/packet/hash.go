package packet

import (
	"math/bits"
	"slices"

	"github.com/skep-bpf/skep/internal/mem"
)

// ClearHash forgets the flow hash (skb_clear_hash).
func (p *Packet) ClearHash() { p.Hash, p.HashL4, p.HashSW = 0, false, false }

// SetHash sets the flow hash to what a program says (__skb_set_sw_hash).
func (p *Packet) SetHash(hash uint32, l4 bool) { p.Hash, p.HashL4, p.HashSW = hash, l4, true }

// GetHash returns the packet's flow hash, computing it if there is none
// (skb_get_hash). The kernel's is a siphash under a random key; this one is
// Jenkins' lookup3 over the same fields under a fixed key, so that runs repeat:
// only that equal flows have equal, non-zero hashes is common to both.
func (p *Packet) GetHash() uint32 {
	if !p.HashL4 && !p.HashSW {
		hash, l4 := p.flowHash()
		p.SetHash(hash, l4)
	}
	return p.Hash
}

// SymmetricHash is a flow hash that is the same for both directions of a flow; it is not
// noted (__skb_get_hash_symmetric).
func (p *Packet) SymmetricHash() uint32 {
	k, _ := p.flow()
	swap := slices.Compare(k.src[:], k.dst[:])
	if a, b := uint16(k.ports), uint16(k.ports>>16); swap > 0 || swap == 0 && a > b {
		k.src, k.dst = k.dst, k.src
		k.ports = bits.RotateLeft32(k.ports, 16)
	}
	return k.hash()
}

// flowKey is what tells flows apart: addresses, ports and protocol.
type flowKey struct {
	src, dst [4]uint32
	ports    uint32
	proto    uint32
}

// flowHash hashes the packet's flow; l4 says that ports took part.
func (p *Packet) flowHash() (hash uint32, l4 bool) {
	k, l4 := p.flow()
	return k.hash(), l4
}

// flow reads what tells the packet's flow from others.
func (p *Packet) flow() (k flowKey, l4 bool) {
	next := uint64(0)
	switch {
	case p.IsProtocol(EtherIPv4) && p.NetHeader+ipLen <= p.End:
		k.src[0], k.dst[0] = mem.Load32(p.NetHeader+12), mem.Load32(p.NetHeader+16)
		k.proto = uint32(mem.Load8(p.NetHeader + 9))
		if be16(p.NetHeader+6)&0x1fff == 0 { // later fragments carry no ports
			next = p.NetHeader + uint64(mem.Load8(p.NetHeader)&0xf)*4
		}
	case p.IsProtocol(EtherIPv6) && p.NetHeader+ip6Len <= p.End:
		for i := range k.src {
			k.src[i] = mem.Load32(p.NetHeader + 8 + uint64(4*i))
			k.dst[i] = mem.Load32(p.NetHeader + 24 + uint64(4*i))
		}
		k.proto = uint32(mem.Load8(p.NetHeader + 6))
		next = p.NetHeader + ip6Len
	default:
		k.proto = p.Protocol
	}
	const tcp, udp, sctp = 6, 17, 132
	if (k.proto == tcp || k.proto == udp || k.proto == sctp) && next != 0 && next+4 <= p.End {
		k.ports = mem.Load32(next)
		l4 = true
	}
	return k, l4
}

// hash is Bob Jenkins' lookup3 ("hashword") of the key's words; never 0.
func (k *flowKey) hash() uint32 {
	words := [10]uint32{k.src[0], k.src[1], k.src[2], k.src[3], k.dst[0], k.dst[1], k.dst[2], k.dst[3], k.ports, k.proto}
	a := uint32(0xdeadbeef) + uint32(len(words))<<2
	b, c := a, a
	w := words[:]
	for ; len(w) > 3; w = w[3:] {
		a, b, c = a+w[0], b+w[1], c+w[2]
		a, b, c = mix(a, b, c)
	}
	a += w[0]
	if h := final(a, b, c); h != 0 {
		return h
	}
	return 1
}

// mix and final are lookup3's.
func mix(a, b, c uint32) (uint32, uint32, uint32) {
	rot := bits.RotateLeft32
	a = a - c ^ rot(c, 4)
	c += b
	b = b - a ^ rot(a, 6)
	a += c
	c = c - b ^ rot(b, 8)
	b += a
	a = a - c ^ rot(c, 16)
	c += b
	b = b - a ^ rot(a, 19)
	a += c
	c = c - b ^ rot(b, 4)
	b += a
	return a, b, c
}

func final(a, b, c uint32) uint32 {
	rot := bits.RotateLeft32
	c = (c ^ b) - rot(b, 14)
	a = (a ^ c) - rot(c, 11)
	b = (b ^ a) - rot(a, 25)
	c = (c ^ b) - rot(b, 16)
	a = (a ^ c) - rot(c, 4)
	b = (b ^ a) - rot(a, 14)
	return (c ^ b) - rot(b, 24)
}
