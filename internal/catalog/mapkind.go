package catalog

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
