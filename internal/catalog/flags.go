package catalog

import "iter"

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

// Flags of BPF_PROG_LOAD (uapi).
const (
	LoadStrictAlignment uint32 = 1 << 0
	LoadAnyAlignment    uint32 = 1 << 1
	LoadTestRndHi32     uint32 = 1 << 2
	LoadTestStateFreq   uint32 = 1 << 3
	LoadSleepable       uint32 = 1 << 4
	LoadXDPHasFrags     uint32 = 1 << 5
	LoadXDPDevBoundOnly uint32 = 1 << 6
	LoadTestRegInvars   uint32 = 1 << 7
)

var mapFlagNames = [...]string{
	"BPF_F_NO_PREALLOC", "BPF_F_NO_COMMON_LRU", "BPF_F_NUMA_NODE", "BPF_F_RDONLY", "BPF_F_WRONLY",
	"BPF_F_STACK_BUILD_ID", "BPF_F_ZERO_SEED", "BPF_F_RDONLY_PROG", "BPF_F_WRONLY_PROG", "BPF_F_CLONE",
	"BPF_F_MMAPABLE", "BPF_F_PRESERVE_ELEMS", "BPF_F_INNER_MAP", "BPF_F_LINK", "BPF_F_PATH_FD",
	"BPF_F_VTYPE_BTF_OBJ_FD", "BPF_F_TOKEN_FD", "BPF_F_SEGV_ON_FAULT", "BPF_F_NO_USER_CONV",
}

var mapOpNames = [...]string{
	"lookup", "update", "delete", "next key", "lookup and delete", "batch lookup", "batch lookup and delete",
	"batch update", "batch delete", "freeze", "mmap",
}

// MapFlagNames yields the uapi names of the bits of map_flags.
func MapFlagNames(flags uint32) iter.Seq[string] { return bitNames(flags, mapFlagNames[:]) }

// Names yields the operations in words.
func (o MapOp) Names() iter.Seq[string] { return bitNames(uint32(o), mapOpNames[:]) }

// bitNames yields the names of the bits that are set and have one.
func bitNames(bits uint32, names []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i, name := range names {
			if bits>>i&1 != 0 && !yield(name) {
				return
			}
		}
	}
}
