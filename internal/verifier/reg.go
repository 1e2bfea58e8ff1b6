package verifier

import (
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
)

// regType is what a register or spilled slot holds: one of the kinds below in
// the low byte, and catalog's type flags above it (enum bpf_reg_type).
type regType uint32

// Kinds of values.
const (
	notInit regType = iota
	scalarValue
	ptrToCtx
	constPtrToMap
	ptrToMapValue
	ptrToMapKey
	ptrToStack
	ptrToPacketMeta
	ptrToPacket
	ptrToPacketEnd
	ptrToFlowKeys
	ptrToSocket
	ptrToSockCommon
	ptrToTCPSock
	ptrToTPBuffer
	ptrToXDPSock
	ptrToBTF
	ptrToMem
	ptrToArena
	ptrToBuf
	ptrToFunc
	constPtrToDynptr
)

// Flags of values.
const (
	mayBeNull  = regType(catalog.MaybeNull)
	rdonly     = regType(catalog.Rdonly)
	ringBufMem = regType(catalog.RingBufMem)
	userMem    = regType(catalog.UserMem)
	perCPUMem  = regType(catalog.PerCPUMem)
	untrusted  = regType(catalog.Untrusted)
	allocMem   = regType(catalog.AllocMem)
	trusted    = regType(catalog.Trusted)
	rcu        = regType(catalog.RCU)
	nonOwnRef  = regType(catalog.NonOwnRef)
	dynSKB     = regType(catalog.DynSKB)
	dynXDP     = regType(catalog.DynXDP)
	dynLocal   = regType(catalog.DynLocal)
	dynRingBuf = regType(catalog.DynRingBuf)

	dynFlags = dynSKB | dynXDP | dynLocal | dynRingBuf
	// trustedFlags are the flags with which a BTF pointer may go to a function that wants a trusted one.
	trustedFlags = allocMem | trusted | nonOwnRef
	// unsafeFlags are all others (bpf_type_has_unsafe_modifiers).
	unsafeFlags = ^(trustedFlags | 0xff)
)

func (t regType) base() regType        { return t & 0xff }
func (t regType) flags() regType       { return t &^ 0xff }
func (t regType) has(f regType) bool   { return t&f != 0 }
func (t regType) mayBeNull() bool      { return t&mayBeNull != 0 }
func (t regType) isPkt() bool          { return t == ptrToPacket || t == ptrToPacketMeta }
func (t regType) isPktAny() bool       { return t.isPkt() || t == ptrToPacketEnd }
func (t regType) isAllocObj() bool     { return t.base() == ptrToBTF && t&allocMem != 0 }
func (t regType) isNonOwningRef() bool { return t.isAllocObj() && t&nonOwnRef != 0 }
func (t regType) isSock() bool {
	return t == ptrToSocket || t == ptrToSockCommon || t == ptrToTCPSock || t == ptrToXDPSock
}

var regTypeNames = [...]string{
	notInit:          "?",
	scalarValue:      "scalar",
	ptrToCtx:         "ctx",
	constPtrToMap:    "map_ptr",
	ptrToMapValue:    "map_value",
	ptrToMapKey:      "map_key",
	ptrToStack:       "fp",
	ptrToPacketMeta:  "pkt_meta",
	ptrToPacket:      "pkt",
	ptrToPacketEnd:   "pkt_end",
	ptrToFlowKeys:    "flow_keys",
	ptrToSocket:      "sock",
	ptrToSockCommon:  "sock_common",
	ptrToTCPSock:     "tcp_sock",
	ptrToTPBuffer:    "tp_buffer",
	ptrToXDPSock:     "xdp_sock",
	ptrToBTF:         "ptr_",
	ptrToMem:         "mem",
	ptrToArena:       "arena",
	ptrToBuf:         "buf",
	ptrToFunc:        "func",
	constPtrToDynptr: "dynptr_ptr",
}

var regTypePrefixes = [...]struct {
	flag regType
	name string
}{
	{rdonly, "rdonly_"}, {ringBufMem, "ringbuf_"}, {userMem, "user_"}, {perCPUMem, "percpu_"},
	{rcu, "rcu_"}, {untrusted, "untrusted_"}, {trusted, "trusted_"},
}

// String prints t in the words of the kernel's log.
func (t regType) String() string {
	var b strings.Builder
	for _, p := range regTypePrefixes {
		if t&p.flag != 0 {
			b.WriteString(p.name)
		}
	}
	b.WriteString(regTypeNames[t.base()])
	if t.mayBeNull() {
		if t.base() == ptrToBTF {
			b.WriteString("or_null_")
		} else {
			b.WriteString("_or_null")
		}
	}
	return b.String()
}

// dynKind is the memory behind a dynptr (enum bpf_dynptr_type).
type dynKind uint8

const (
	dynInvalid dynKind = iota
	dynKindLocal
	dynKindRingBuf
	dynKindSKB
	dynKindXDP
	dynKindSKBMeta
)

var dynNames = [...]string{"<invalid>", "local", "ringbuf", "skb", "xdp", "skb_meta"}

func (k dynKind) String() string   { return dynNames[k] }
func (k dynKind) refcounted() bool { return k == dynKindRingBuf }

// flag is the type flag of memory sliced from such a dynptr.
func (k dynKind) flag() regType {
	switch k {
	case dynKindLocal:
		return dynLocal
	case dynKindRingBuf:
		return dynRingBuf
	case dynKindSKB, dynKindSKBMeta:
		return dynSKB
	case dynKindXDP:
		return dynXDP
	}
	return 0
}

// iterState is where an open-coded iterator on the stack is in its life.
type iterState uint8

const (
	iterInvalid iterState = iota
	iterActive
	iterDrained
)

var iterStateNames = [...]string{"<invalid>", "active", "drained"}

func (s iterState) String() string { return iterStateNames[s] }

// btfType is a BTF type as registers refer to it. There is one per type, so
// pointers compare (env.intern).
type btfType struct {
	spec   *btf.Spec
	typ    btf.Type // without modifiers
	id     btf.TypeID
	kernel bool // of the kernel's BTF, not the program's
	name   string
}

// Marks of a scalar's id: the register equals the id's other registers plus
// reg.off, in 64 bits, or in 32 bits zero-extended.
const (
	addConst64 uint32 = 1 << 31
	addConst32 uint32 = 1 << 30
	addConst          = addConst64 | addConst32
)

// Packet ranges below zero: what is known of a pointer compared with the end
// of the packet and found at it or beyond it.
const (
	atPktEnd     = -1
	beyondPktEnd = -2
)

// reg is the abstract value of a register or of a spilled stack slot (struct bpf_reg_state).
type reg struct {
	typ regType
	// off is the fixed part of a pointer's offset, or of a scalar with addConst the difference.
	off int32

	// What follows up to scalar belongs to some types only.
	rng      int32  // packet pointers: bytes proven readable from the pointer without its off
	size     uint32 // ptrToMem: size in bytes
	mapUID   uint32 // map pointers and values: distinguishes inner maps
	dynptr   uint32 // ptrToMem: id of the dynptr it was sliced from
	subprog  int32  // ptrToFunc
	depth    uint32 // iterator slots: times next was called
	dyn      dynKind
	dynFirst bool // the first of a dynptr's two slots
	iter     iterState
	frame    uint8 // ptrToStack: the frame it points into
	precise  bool  // scalars: the value decided something, pruning must respect it

	m   *catalog.MapDef
	btf *btfType

	// id links registers: scalars known to be equal, pointers from one source
	// (a null check or packet range of one holds for all).
	id  uint32
	ref uint32 // the reference this pointer lives by; 0: none

	scalar
}

func (r *reg) mayBeNull() bool { return r.typ.mayBeNull() }

// isNull reports whether r is the constant zero.
func (r *reg) isNull() bool { return r.typ == scalarValue && r.bits.is(0) }

// constVal returns r's value if it is a known number.
func (r *reg) constVal(sub bool) (uint64, bool) {
	if r.typ != scalarValue {
		return 0, false
	}
	return r.known(sub)
}

// setUnknown makes r a number of which nothing is known.
func (r *reg) setUnknown() {
	*r = reg{typ: scalarValue, scalar: unknownScalar}
}

func (r *reg) setNotInit() {
	*r = reg{typ: notInit, scalar: unknownScalar}
}

// setPtr makes r a pointer of type t to the start of its object.
func (r *reg) setPtr(t regType) {
	*r = reg{typ: t, scalar: zeroScalar}
}

var zeroScalar = constScalar(0)

// setConst makes r the number v.
func (r *reg) setConst(v uint64) {
	*r = reg{typ: scalarValue, scalar: constScalar(v)}
}

func (r *reg) clearID() { r.id, r.off = 0, 0 }

// isPktPtr reports whether r is an untouched pointer of type t to the start of its region.
func (r *reg) isStartOf(t regType) bool {
	return r.typ == t && r.id == 0 && r.off == 0 && r.bits.is(0)
}

// sockNames are the kernel structs behind the socket types, for functions that take either.
func (r *reg) kernelStruct() string {
	switch r.typ.base() {
	case ptrToSocket:
		return "sock"
	case ptrToSockCommon:
		return "sock_common"
	case ptrToTCPSock:
		return "tcp_sock"
	case constPtrToMap:
		return "bpf_map"
	}
	return ""
}

func (r *reg) isTrusted() bool {
	if r.ref != 0 {
		return true
	}
	if r.kernelStruct() != "" && r.typ&unsafeFlags == 0 {
		return true
	}
	return r.typ&trustedFlags != 0 && r.typ&unsafeFlags == 0
}

// notNull reports whether r cannot be NULL whatever its variable offset is.
func (r *reg) notNull() bool {
	if r.mayBeNull() || r.smin <= -maxVarOff || r.smax >= maxVarOff {
		return false
	}
	switch r.typ.base() {
	case ptrToSocket, ptrToTCPSock, ptrToXDPSock, ptrToBuf, ptrToMapValue, ptrToMapKey,
		ptrToSockCommon, constPtrToMap:
		return true
	case ptrToMem:
		return !r.typ.has(untrusted)
	case ptrToBTF:
		return r.isTrusted()
	}
	return false
}

// specials returns the special fields of what r points into.
func (r *reg) specials(e *env) []catalog.SpecialField {
	switch {
	case r.typ == ptrToMapValue:
		return r.m.Special
	case r.typ.isAllocObj():
		return e.structSpecials(r.btf)
	}
	return nil
}

func findSpecial(fs []catalog.SpecialField, kind catalog.SpecialKind) *catalog.SpecialField {
	for i := range fs {
		if fs[i].Kind == kind {
			return &fs[i]
		}
	}
	return nil
}

// hasLock reports whether what r points into has a lock, so that its id must be kept.
func (r *reg) hasLock(e *env) bool {
	fs := r.specials(e)
	return findSpecial(fs, catalog.SpecialSpinLock) != nil || findSpecial(fs, catalog.SpecialResSpinLock) != nil
}

// Limits of the kernel's verifier (include/linux/bpf_verifier.h, verifier.c).
const (
	maxVarOff    = 1 << 29 // of pointer offsets
	maxVarSize   = 1 << 29 // of memory sizes
	maxPacketOff = 0xffff
	maxInsns     = 1000000 // visited
	maxJmpSeq    = 8192    // pending branches
	maxStates    = 64      // per instruction, for the unprivileged
	maxSubprogs  = 256
	maxErrno     = 4095
)
