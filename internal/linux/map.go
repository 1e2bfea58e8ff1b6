package linux

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
)

// Map is a map in the kernel. Keys and values are in the uapi's layout; a value
// of a per-CPU map is one 8-byte-rounded value per possible CPU.
type Map struct {
	fd  int
	def catalog.MapDef
}

// MapOptions are the load attributes of MAP_CREATE that a MapDef does not have.
type MapOptions struct {
	Inner    *Map // template of map-in-map types; nil: one is made from Def.Inner
	NUMANode uint32
	IfIndex  uint32
	// BTF describes key and value, as the types of these ids; nil: BTF is made of
	// Def.Key and Def.Value.
	BTF            *BTF
	KeyID, ValueID btf.TypeID
	// VmlinuxValueID is the type of a struct_ops map's value in the kernel's BTF; BTF is the object's then.
	VmlinuxValueID btf.TypeID
}

type mapCreateAttr struct {
	mapType            uint32
	keySize            uint32
	valueSize          uint32
	maxEntries         uint32
	mapFlags           uint32
	innerMapFD         uint32
	numaNode           uint32
	mapName            [16]byte
	mapIfindex         uint32
	btfFD              uint32
	btfKeyTypeID       uint32
	btfValueTypeID     uint32
	vmlinuxValueTypeID uint32
	mapExtra           uint64
	valueTypeBTFObjFD  int32
	mapTokenFD         int32
}

// NewMap creates a map with exactly the sizes and flags of def, refused or not
// as the kernel sees fit. Key and value types go along as BTF where the map type takes it.
func NewMap(def *catalog.MapDef, opts *MapOptions) (*Map, error) {
	if opts == nil {
		opts = &MapOptions{}
	}
	attr := mapCreateAttr{
		mapType: uint32(def.Type), keySize: def.KeySize, valueSize: def.ValueSize, maxEntries: def.MaxEntries,
		mapFlags: def.Flags, numaNode: opts.NUMANode, mapName: objName(def.Name), mapIfindex: opts.IfIndex,
		mapExtra: def.Extra,
	}
	inner := opts.Inner
	if inner == nil && def.Inner != nil {
		var err error
		if inner, err = NewMap(def.Inner, nil); err != nil {
			return nil, fmt.Errorf("inner map: %w", err)
		}
		defer inner.Close()
	}
	if inner != nil {
		attr.innerMapFD = uint32(inner.fd)
	}
	switch {
	case opts.VmlinuxValueID != 0:
		attr.btfFD, attr.vmlinuxValueTypeID = uint32(opts.BTF.fd), uint32(opts.VmlinuxValueID)
	case def.Value == nil || !catalog.Described(def.Type):
	case opts.BTF != nil:
		attr.btfFD, attr.btfKeyTypeID, attr.btfValueTypeID = uint32(opts.BTF.fd), uint32(opts.KeyID), uint32(opts.ValueID)
	default:
		h, keyID, valueID, err := btf.MarshalMapKV(def.Key, def.Value)
		if err != nil {
			return nil, fmt.Errorf("map %s: BTF: %w", def.Name, err)
		}
		defer h.Close()
		attr.btfFD, attr.btfKeyTypeID, attr.btfValueTypeID = uint32(h.FD()), uint32(keyID), uint32(valueID)
	}
	fd, err := bpf(cmdMapCreate, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return nil, err
	}
	return &Map{fd: fd, def: *def}, nil
}

// FD returns the descriptor, which stays the map's own.
func (m *Map) FD() int { return m.fd }

// Def returns what the map was created from.
func (m *Map) Def() *catalog.MapDef { return &m.def }

// Close drops the map.
func (m *Map) Close() error { return closeFD(m.fd) }

// PossibleCPUs returns how many values a lookup in a per-CPU map gives.
func PossibleCPUs() (int, error) { return ebpf.PossibleCPU() }

// ValueLen returns how many bytes one lookup transfers: for per-CPU types one
// 8-byte-rounded value per possible CPU (bpf_map_value_size), and 4 bytes for types that hold descriptors.
func (m *Map) ValueLen() (int, error) {
	if m.def.PerCPU() {
		n, err := PossibleCPUs()
		return n * m.def.Stride(), err
	}
	switch m.def.Type {
	case catalog.MapArrayOfMaps, catalog.MapHashOfMaps, catalog.MapPerfEventArray, catalog.MapProgArray,
		catalog.MapCGroupArray:
		return 4, nil
	}
	return int(m.def.ValueSize), nil
}

type mapElemAttr struct {
	mapFD uint32
	_     uint32
	key   unsafe.Pointer
	value unsafe.Pointer // or next key
	flags uint64
}

func (m *Map) elem(cmd command, key, value []byte, flags uint64) error {
	attr := mapElemAttr{
		mapFD: uint32(m.fd), key: unsafe.Pointer(unsafe.SliceData(key)),
		value: unsafe.Pointer(unsafe.SliceData(value)), flags: flags,
	}
	_, err := bpf(cmd, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(m)
	return err
}

// Lookup copies the value of key into value, which has the length [Map.ValueLen] gives.
func (m *Map) Lookup(key, value []byte, flags uint64) error {
	return m.elem(cmdMapLookup, key, value, flags)
}

// LookupAndDelete is Lookup and Delete in one step; queues and stacks pop with a nil key.
func (m *Map) LookupAndDelete(key, value []byte, flags uint64) error {
	return m.elem(cmdMapLookupDelete, key, value, flags)
}

// Update stores value under key; queues, stacks and bloom filters push with a nil key.
func (m *Map) Update(key, value []byte, flags uint64) error {
	return m.elem(cmdMapUpdate, key, value, flags)
}

// Delete removes key.
func (m *Map) Delete(key []byte) error { return m.elem(cmdMapDelete, key, nil, 0) }

// NextKey writes the key after key into next; a nil key gives the first.
func (m *Map) NextKey(key, next []byte) error { return m.elem(cmdMapNextKey, key, next, 0) }

// Freeze makes the map read-only for user space.
func (m *Map) Freeze() error { return m.elem(cmdMapFreeze, nil, nil, 0) }

// Batch is the argument of the batch commands. Keys and Values hold Count
// elements each; In and Out are cursors the size of a key (4 bytes for hash
// tables), In nil to begin.
type Batch struct {
	In, Out      []byte
	Keys, Values []byte
	Count        uint32 // in: room or elements; out: done
	ElemFlags    uint64
	Flags        uint64
}

type mapBatchAttr struct {
	in, out      unsafe.Pointer
	keys, values unsafe.Pointer
	count        uint32
	mapFD        uint32
	elemFlags    uint64
	flags        uint64
}

func (m *Map) batch(cmd command, b *Batch) error {
	attr := mapBatchAttr{
		in: unsafe.Pointer(unsafe.SliceData(b.In)), out: unsafe.Pointer(unsafe.SliceData(b.Out)),
		keys: unsafe.Pointer(unsafe.SliceData(b.Keys)), values: unsafe.Pointer(unsafe.SliceData(b.Values)),
		count: b.Count, mapFD: uint32(m.fd), elemFlags: b.ElemFlags, flags: b.Flags,
	}
	_, err := bpf(cmd, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	b.Count = attr.count
	runtime.KeepAlive(m)
	return err
}

// BatchLookup reads up to Count elements and moves the cursor; ENOENT marks the
// end, with Count elements still given.
func (m *Map) BatchLookup(b *Batch) error { return m.batch(cmdMapLookupBatch, b) }

// BatchLookupAndDelete is BatchLookup that also removes what it gives.
func (m *Map) BatchLookupAndDelete(b *Batch) error { return m.batch(cmdMapLookupDeleteBatch, b) }

// BatchUpdate stores Count elements; on an error Count says how many were stored.
func (m *Map) BatchUpdate(b *Batch) error { return m.batch(cmdMapUpdateBatch, b) }

// BatchDelete removes Count keys; on an error Count says how many were removed.
func (m *Map) BatchDelete(b *Batch) error { return m.batch(cmdMapDeleteBatch, b) }
