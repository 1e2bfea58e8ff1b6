package catalog

import "github.com/cilium/ebpf/btf"

// MapDef is a map as verifier, rewriter and engines know it: pure data, made
// when the map is created (struct bpf_map without the memory).
type MapDef struct {
	Name       string
	Type       MapType
	KeySize    uint32 // bytes
	ValueSize  uint32 // bytes
	MaxEntries uint32
	Flags      uint32
	Extra      uint64 // map_extra: bloom hashes, arena address

	Key, Value btf.Type       // nil without BTF
	BTF        *MapBTF        // where these types came from; nil where nobody asks
	Special    []SpecialField // special fields of Value, by offset
	Inner      *MapDef        // template of map-in-map types
	Ops        *OpsDef        // of struct_ops maps
	Exclusive  *[32]byte      // hash of the only program that may have the map (excl_prog_hash); nil: any

	// ID is the map's id in its Machine. Ptr is the address of its header, the
	// value a program's map register holds; ValueBase is the address of value 0
	// of an array, for direct access, or 0.
	ID        uint32
	Ptr       uint64
	ValueBase uint64
	// Frozen read-only arrays (BPF_F_RDONLY_PROG and frozen) let the verifier
	// read their content as constants; nil otherwise.
	ReadConst func(off uint32, buf []byte) bool

	// Shared asks for memory that other processes can have too. Doubtful is what a map is in
	// whose memory they could then lead native code astray: it asks the map's own code, which looks at each number it finds there.
	Shared, Doubtful bool
	// Sharers is how many processes may have a per-CPU map at once.
	Sharers uint32
}

// PerCPU reports whether every possible CPU has a value of its own.
func (d *MapDef) PerCPU() bool {
	k := MapKindByType(d.Type)
	return k != nil && k.Traits&PerCPU != 0
}

// Stride is the distance from one CPU's value to the next, in bytes: the value's
// size rounded up to 8 (bpf_map_value_size).
func (d *MapDef) Stride() int { return (int(d.ValueSize) + 7) &^ 7 }

// MapBTF names a map's types by their ids in a BTF object, to which it is a reference.
type MapBTF struct {
	ID, Key, Value uint32 // of the object, of the types in it
	Release        func()
}

// Drop gives the reference back. On nil it does nothing.
func (b *MapBTF) Drop() {
	if b != nil {
		b.Release()
	}
}
