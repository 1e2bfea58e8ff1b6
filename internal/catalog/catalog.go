// Package catalog holds the facts of BPF as rows: helpers, kfuncs, map types,
// program types and their context fields (DESIGN D2).
//
// A fact stands here once. The verifier reads signatures and access rules, the
// rewriter reads where a context field really lives, maps and helpers bind
// their Go functions to the rows by id, and the command line and the reference
// pages print them. Nothing here runs anything. The numbers are those of Linux
// 6.18's include/uapi/linux/bpf.h.
package catalog

// FieldKind is what a load from a context field yields to the verifier.
type FieldKind uint8

// Kinds of context fields.
const (
	FieldScalar FieldKind = iota
	FieldPkt              // PTR_TO_PACKET
	FieldPktMeta
	FieldPktEnd
	FieldSock       // PTR_TO_SOCKET
	FieldSockCommon // PTR_TO_SOCK_COMMON
	FieldTCPSock
	FieldFlowKeys
	FieldBTF // PTR_TO_BTF_ID of Field.BTF
)

// Field is one field of a program type's context, as the program sees it and
// as it really lies in memory.
type Field struct {
	Name string
	Off  int // in the uapi struct, bytes
	Size int // in the uapi struct, bytes; an array field (cb, data of user_regs) is one row

	Kind      FieldKind
	MaybeNull bool // for pointer kinds
	BTF       string

	Read  bool
	Write bool
	// Narrow allows loads (Read) and stores (NarrowWrite) smaller than Size;
	// Wide allows 8-byte access at this offset (two words or a 64-bit field).
	Narrow      bool
	NarrowWrite bool
	Wide        bool

	// At and AtSize say where internal/rewrite finds the value: offset and width
	// in packet.Frame (or another internal context). Conv names what must happen besides a
	// plain load or store.
	At     int
	AtSize int
	Conv   Conv
}

// Conv is how the rewriter turns an access to the uapi field into instructions
// over the internal context.
type Conv uint8

// Conversions.
const (
	ConvPlain  Conv = iota // load or store At with AtSize
	ConvConst0             // reads as zero, no memory behind it
	ConvBool               // reads as 1 where memory is not zero
	ConvBig16              // 16 bits in network order, widened
)

// Range is an inclusive range of return values.
type Range struct{ Min, Max int32 }

// SectionPrefix is an ELF section name by libbpf's rules that selects a program type.
type SectionPrefix struct {
	Prefix    string // "xdp", "xdp.frags", "tc", "cgroup_skb/egress"
	Attach    AttachType
	Exact     bool // no "/name" may follow
	Sleepable bool
	Frags     bool // sets BPF_F_XDP_HAS_FRAGS
}

// MapOp is a set of operations a map type offers to the control side.
type MapOp uint32

// Operations of the control side (bpf(2) commands).
const (
	OpLookup MapOp = 1 << iota
	OpUpdate
	OpDelete
	OpNextKey
	OpLookupDelete
	OpBatchLookup
	OpBatchLookupDelete
	OpBatchUpdate
	OpBatchDelete
	OpFreeze
	OpMmap
)

// MapKind is the row of one map type. Rules that need more than numbers live in
// internal/maps beside the code (alloc_check).
type MapKind struct {
	Type      MapType
	Name      string // as bpftool prints it: "percpu_hash"
	KeySize   SizeRule
	ValueSize SizeRule
	Flags     uint32 // legal map_flags
	Ops       MapOp
	PerCPU    bool
	// Helpers that may be called with such a map; nil means only those that take any map.
	Helpers []HelperID
	Since   string
	Doc     string
}

// SizeRule bounds a key or value size, in bytes. Zero Max means no upper bound but the kernel's general one.
type SizeRule struct {
	Min, Max uint32
	Multiple uint32 // 0 or 1: any
}

// SpecialKind is a field inside a map value or allocated object that programs
// reach only through helpers (enum btf_field_type).
type SpecialKind uint8

// Kinds of special fields.
const (
	SpecialSpinLock SpecialKind = iota + 1
	SpecialResSpinLock
	SpecialTimer
	SpecialWorkqueue
	SpecialTaskWork
	SpecialKptrUnref
	SpecialKptrRef
	SpecialKptrPerCPU
	SpecialUptr
	SpecialListHead
	SpecialListNode
	SpecialRBRoot
	SpecialRBNode
	SpecialRefcount
)

// SpecialField is where one special field lies in a value.
type SpecialField struct {
	Kind SpecialKind
	Off  uint32
	Size uint32
	BTF  string // pointee or node type, where the kind has one
	Node string // "__contains" member, for heads and roots
}

// Map flags of BPF_MAP_CREATE (uapi).
const (
	FlagNoPrealloc    uint32 = 1 << 0
	FlagNoCommonLRU   uint32 = 1 << 1
	FlagNUMANode      uint32 = 1 << 2
	FlagRdonly        uint32 = 1 << 3
	FlagWronly        uint32 = 1 << 4
	FlagStackBuildID  uint32 = 1 << 5
	FlagZeroSeed      uint32 = 1 << 6
	FlagRdonlyProg    uint32 = 1 << 7
	FlagWronlyProg    uint32 = 1 << 8
	FlagClone         uint32 = 1 << 9
	FlagMmapable      uint32 = 1 << 10
	FlagPreserveElems uint32 = 1 << 11
	FlagInnerMap      uint32 = 1 << 12
	FlagLink          uint32 = 1 << 13
	FlagPathFD        uint32 = 1 << 14
	FlagVtypeBTFObjFD uint32 = 1 << 15
	FlagTokenFD       uint32 = 1 << 16
	FlagSegvOnFault   uint32 = 1 << 17
	FlagNoUserConv    uint32 = 1 << 18
)

// Flags of map updates and lookups (uapi).
const (
	UpdateAny     uint64 = 0
	UpdateNoExist uint64 = 1
	UpdateExist   uint64 = 2
	UpdateLock    uint64 = 4
)
