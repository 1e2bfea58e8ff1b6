package code

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/rewrite"
)

// Lookup returns the map that the lookup at pc asks, and how it lies in memory,
// where both are known when the program is compiled.
func Lookup(p *rewrite.Program, o *Options, pc int) (m *catalog.MapDef, l Layout, ok bool) {
	if p.Facts == nil || p.Orig == nil || o.Layout == nil {
		return nil, l, false
	}
	m = p.Facts.Insns[p.Orig[pc]].Map
	if m == nil || m.Ptr == 0 || m.MaxEntries >= 1<<31 || m.ValueSize >= 1<<31-8 { // a template of inner maps has no address
		return nil, l, false
	}
	l, ok = o.Layout(m)
	return m, l, ok && l.CPUStride < 1<<31 && l.ElemSize < 1<<31
}

// Inner returns the template of the map that the lookup at pc asks, where that is the inner
// map of another, an array or a hash table. Of its layout the sizes alone are known; the
// rest is in its header, at R1.
func Inner(p *rewrite.Program, pc int) (m *catalog.MapDef, l Layout, ok bool) {
	if p.Facts == nil || p.Orig == nil {
		return nil, l, false
	}
	m = p.Facts.Insns[p.Orig[pc]].Map
	if m == nil || m.Ptr != 0 || m.ValueSize >= 1<<30 {
		return nil, l, false
	}
	l.ElemSize = (m.ValueSize + 7) &^ 7
	switch m.Type {
	case catalog.MapHash:
		l.ValueOff = ElemKey + (m.KeySize+7)&^7
		l.ElemSize += l.ValueOff
		return m, l, true
	case catalog.MapArray:
		return m, l, true
	}
	return nil, l, false
}

// Offsets in a map's header, where it is asked at run time; a test in maps' user,
// run, holds them to the originals.
const (
	MapMaxEntries = 12
	MapBase       = 24
	MapMask       = 36
	MapBuckets    = 48
	MapSeed       = 56
)

// Target is what a program array holds of a program: what a tail call needs to know.
type Target struct {
	Entry  uint64 // address of its main function
	Number uint64 // by which Go finds the program
	Length uint64 // about how many instructions a run of it takes between polls
}

// Offsets in [Target].
const (
	TargetEntry  = 0
	TargetNumber = 8
	TargetLength = 16
)

// What a draw of a pseudo-random number adds to the state, and multiplies it with.
const (
	RandomStep = 0x9e3779b97f4a7c15
	RandomMul1 = 0xbf58476d1ce4e5b9
	RandomMul2 = 0x94d049bb133111eb
)

// Random draws the next number (SplitMix64, upper half).
func Random(state *uint64) uint32 {
	*state += RandomStep
	z := *state
	z = (z ^ z>>30) * RandomMul1
	z = (z ^ z>>27) * RandomMul2
	return uint32((z ^ z>>31) >> 32)
}

// Layout of a ring buffer's memory, from its header on, and of its records; the same test holds these.
const (
	RingPage     = 4096
	RingLock     = 128
	RingPending  = 136
	RingMask     = 36
	RingConsumer = RingPage
	RingProducer = 2 * RingPage
	RingData     = 3 * RingPage
	RingHead     = 8 // in front of a sample
	RingBusy     = 1 << 31
	RingDiscard  = 1 << 30
	RingMaxSize  = 1<<30 - 1
)

// Offsets in a packet's frame, which is an XDP program's context, and what its helpers
// keep to; the same test holds these.
const (
	PacketData     = 0
	PacketDataEnd  = 8
	PacketDataMeta = 16
	PacketHard     = 24
	PacketEnd      = 32
	PacketXDPFlags = 60
	PacketHasFrags = 1   // of the flags: some bytes are paged
	PacketReserved = 40  // bytes at the start of the headroom
	PacketMin      = 14  // the shortest packet
	PacketMaxMeta  = 252 // longest metadata, a multiple of four; no other bits
)

// MaxSum and MaxCopy are how many bytes are summed up, and copied, in code without a loop.
const (
	MaxSum  = 64
	MaxCopy = 256
)

// MaxHashKey is the longest key, in bytes, whose hash is written out.
const MaxHashKey = 48

// HashInit is what the three words of jhash (include/linux/jhash.h) begin with,
// for a key of n bytes.
func HashInit(n int32, seed uint32) uint32 { return 0xdeadbeef + uint32(n) + seed }

// HashStep is one of the steps of jhash on its three words, which X, Y and Z number.
type HashStep struct{ X, Y, Rotate, Z int8 }

// MixSteps are "x −= y; x ^= y rotated; y += z", FinalSteps "x ^= y; x −= y rotated".
var (
	MixSteps = [...]HashStep{
		{0, 2, 4, 1}, {1, 0, 6, 2}, {2, 1, 8, 0},
		{0, 2, 16, 1}, {1, 0, 19, 2}, {2, 1, 4, 0},
	}
	FinalSteps = [...]HashStep{
		{X: 2, Y: 1, Rotate: 14}, {X: 0, Y: 2, Rotate: 11}, {X: 1, Y: 0, Rotate: 25}, {X: 2, Y: 1, Rotate: 16},
		{X: 0, Y: 2, Rotate: 4}, {X: 1, Y: 0, Rotate: 14}, {X: 2, Y: 1, Rotate: 24},
	}
)
