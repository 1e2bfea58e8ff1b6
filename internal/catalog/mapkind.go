package catalog

import (
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/errno"
)

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
	Type       MapType
	Name       string // as bpftool prints it: "percpu_hash"
	KeySize    SizeRule
	ValueSize  SizeRule
	MaxEntries SizeRule
	Flags      uint32 // legal map_flags
	MustFlags  uint32 // map_flags that must be set
	Ops        MapOp  // what the control side can do
	Traits     MapTrait
	Needs      MapNeeds
	Holds      MapHolds
	Types      MapTypes
	Owners     MapOwners
	// Helpers lists the helpers that may be called with such a map; nil means
	// every helper whose row does not name other types. [ProgKind.HelperTakesMap] asks both.
	Helpers []HelperID
	Since   string
	Doc     string
}

// MapTrait says what a map type is and where it can be used.
type MapTrait uint16

// Traits of map types.
const (
	PerCPU         MapTrait = 1 << iota // one value per CPU
	Inner                               // can be the inner map of a map of maps (has map_meta_equal)
	DirectValue                         // programs may hold value addresses from load time on (map_direct_value_addr)
	ForEach                             // bpf_for_each_map_elem walks it
	SleepableProgs                      // sleepable programs may use it (check_map_prog_compatibility)
	NeedsBTF                            // must be created with key and value types
	Undescribed                         // loaders say nothing of keys and values: the kernel would refuse it
	CheckedLate                         // sizes are looked at after capabilities (no map_alloc_check)
	Shown                               // the file it is pinned as shows its elements (map_seq_show_elem)
	TakesExtra                          // map_extra says something; otherwise it is 0
)

// MapNeeds is the capability that making a map of a type needs (map_create).
type MapNeeds uint8

// Capabilities.
const (
	NeedsNothing MapNeeds = iota // none where the system lets unprivileged users in
	NeedsBPF
	NeedsNet // CAP_NET_ADMIN
)

// MapHolds says what values name by descriptor.
type MapHolds uint8

// What values hold.
const (
	HoldsNothing MapHolds = iota
	HoldsProgs
	HoldsMaps
	HoldsXSKs       // AF_XDP sockets
	HoldsSockets    // sockets, also in values of 8 bytes; lookups give cookies
	HoldsCGroups    // control groups, by their directories
	HoldsProgBehind // a program, in bytes 4 to 7 where the value has them (bpf_devmap_val, bpf_cpumap_val)
)

// MapOwners says what the values of a local storage are kept with; keys of user
// space name it by a descriptor.
type MapOwners uint8

// Owners of values.
const (
	OwnersNone    MapOwners = iota // no local storage
	OwnersSockets                  // sockets
	OwnersTasks                    // tasks, by pidfds
	OwnersInodes                   // inodes, by files
	OwnersCGroups                  // control groups, by their directories
)

// MapTypes says what BTF may tell of a type's keys and values (map_check_btf).
type MapTypes uint8

// Rules for BTF types.
const (
	AnyTypes    MapTypes = iota // sizes have to fit; there has to be a key's type
	NoTypes                     // none
	IndexTypes                  // the key is an int; a global section may have a key of type void
	TrieTypes                   // the key is a struct
	NoKeyTypes                  // the key is void
	CGroupTypes                 // the key is a struct bpf_cgroup_storage_key, or an int of 8 bytes
)

// Described reports whether loaders tell the kernel the types of such a map's keys and values.
func Described(t MapType) bool {
	k := MapKindByType(t)
	return k == nil || k.Types != NoTypes && k.Traits&Undescribed == 0
}

// Allow checks the types of a definition, the sizes of which fit.
func (t MapTypes) Allow(d *MapDef) errno.Errno {
	switch t {
	case NoTypes:
		return errno.ENOTSUPP
	case IndexTypes:
		if d.Key == nil {
			if _, ok := d.Value.(*btf.Datasec); !ok || d.MaxEntries != 1 {
				return errno.EINVAL
			}
			return 0
		}
		if n, ok := btf.UnderlyingType(d.Key).(*btf.Int); !ok || n.Size != 4 {
			return errno.EINVAL
		}
	case TrieTypes:
		if _, ok := d.Key.(*btf.Struct); !ok {
			return errno.EINVAL
		}
	case NoKeyTypes:
		if d.Key != nil {
			return errno.EINVAL
		}
	case CGroupTypes:
		return cgroupKey(d.Key)
	case AnyTypes:
		if d.Key == nil {
			return errno.EINVAL
		}
	}
	return 0
}

// cgroupKey follows cgroup_storage_map_check_btf: a number of a control group, and
// beside it one of an attach type where there are two.
func cgroupKey(t btf.Type) errno.Errno {
	number := func(t btf.Type, size uint32) bool {
		n, ok := btf.UnderlyingType(t).(*btf.Int)
		return ok && n.Size == size
	}
	switch k := t.(type) {
	case *btf.Int:
		if k.Size == 8 {
			return 0
		}
	case *btf.Struct:
		m := k.Members
		if k.Size == 16 && len(m) == 2 && number(m[0].Type, 8) && m[0].Offset == 0 && number(m[1].Type, 4) && m[1].Offset == 64 {
			return 0
		}
	}
	return errno.EINVAL
}

// SizeRule bounds a key size, value size or number of entries. The zero rule
// allows 0 alone; otherwise a Max of 0 means no upper bound but the kernel's general one.
type SizeRule struct {
	Min, Max uint32
	Multiple uint32 // 0 or 1: any
	Pow2     bool   // a power of two
}

// OK reports whether n keeps the rule.
func (r SizeRule) OK(n uint32) bool {
	return n >= r.Min && (r.Max == 0 && r.Min != 0 || n <= r.Max) && (r.Multiple < 2 || n%r.Multiple == 0) &&
		(!r.Pow2 || n&(n-1) == 0)
}
