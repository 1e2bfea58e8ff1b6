package image

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"sort"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
)

// mapPlace is where the variable that defines a map stands.
type mapPlace struct {
	sec *section
	off uint64
}

// mapTable is the maps of an object and how relocations find them.
type mapTable struct {
	list      []*Map
	byOffset  map[mapPlace]int // maps defined by a variable
	bySection map[*section]int // maps that hold a data section
	kconfig   int              // index of the .kconfig map
	places    []definedMap     // of .maps
	structOps []structOpsValue
}

// definedMap is a map of .maps with the extent of its variable, which
// relocations of its first elements point into.
type definedMap struct {
	m         *Map
	off, size uint64
	values    uint64 // where member "values" begins, from off; 0: none
}

func (t *mapTable) add(m *Map) int {
	if m.KernelName == "" {
		m.KernelName = m.Name[:min(len(m.Name), catalog.ObjNameLen-1)]
	}
	t.list = append(t.list, m)
	return len(t.list) - 1
}

// loadMaps collects the maps in libbpf's order (bpf_object__init_maps): defined
// ones, data sections, configuration, struct_ops.
func (o *object) loadMaps(name string, types *objectTypes, externs *externTable) (*mapTable, error) {
	t := &mapTable{byOffset: map[mapPlace]int{}, bySection: map[*section]int{}, kconfig: -1}
	steps := []func() error{
		func() error { return o.addLegacyMaps(t) },
		func() error { return o.addBTFMaps(t, types) },
		func() error { return o.addArena(t) },
		func() error { return o.addDataMaps(t, name, types) },
		func() error { return externs.addKconfig(t, name, types) },
		func() error { return o.addStructOps(t, types) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// addBTFMaps reads the map definitions of section .maps: one variable each,
// whose struct type says everything by its members' types.
func (o *object) addBTFMaps(t *mapTable, types *objectTypes) error {
	sec := o.byName(secMaps)
	if sec == nil || sec.Size == 0 {
		return nil
	}
	if types == nil {
		return at(secMaps, "", ErrBadMap, "maps are defined by BTF, and there is none: compile with -g")
	}
	ds := typeNamed[*btf.Datasec](types.spec, secMaps)
	if ds == nil {
		return at(secMaps, "", ErrBadMap, "no BTF data section of that name")
	}
	for _, vsi := range ds.Vars {
		v, ok := vsi.Type.(*btf.Var)
		if !ok || v.Name == "" {
			return at(secMaps, "", ErrBadMap, "definition is %v, no named variable", vsi.Type)
		}
		def, ok := btf.UnderlyingType(v.Type).(*btf.Struct)
		if !ok {
			return at(secMaps, v.Name, ErrBadMap, "definition is %v, no struct", v.Type)
		}
		if end := uint64(vsi.Offset) + uint64(vsi.Size); end > sec.Size || def.Size > vsi.Size {
			return at(secMaps, v.Name, ErrBadMap, "definition ends beyond its section")
		}
		p := mapParser{spec: types.spec, m: &Map{Name: v.Name}}
		if err := p.parse(def); err != nil {
			return &Error{Section: secMaps, Symbol: v.Name, Slot: -1, Err: err}
		}
		t.byOffset[mapPlace{sec, uint64(vsi.Offset)}] = t.add(p.m)
		t.places = append(t.places, definedMap{p.m, uint64(vsi.Offset), uint64(vsi.Size), p.values})
	}
	return nil
}

// mapParser reads one map definition (libbpf: parse_btf_map_def):
//
//	struct {
//		__uint(type, BPF_MAP_TYPE_HASH);     int (*type)[1]         number = length of the array
//		__ulong(map_extra, 3);               enum { … = 3 } map_extra
//		__type(key, struct flow);            struct flow *key       type = what it points to
//		__array(values, struct inner);       struct inner *values[]
//	} flows SEC(".maps");
type mapParser struct {
	spec   *btf.Spec
	m      *Map
	inner  bool   // m is the template of another map
	values uint64 // offset of member "values" in bytes
}

func (p *mapParser) parse(def *btf.Struct) error {
	m := p.m
	for i, mem := range def.Members {
		var err error
		switch mem.Name {
		case "type":
			err = setUint(mem, (*uint32)(&m.Type))
		case "max_entries":
			err = setUint(mem, &m.MaxEntries)
		case "map_flags":
			err = setUint(mem, &m.Flags)
		case "numa_node":
			err = setUint(mem, &m.NUMANode)
		case "key_size":
			err = setSize(mem, &m.KeySize)
		case "value_size":
			err = setSize(mem, &m.ValueSize)
		case "key":
			m.Key, m.KeyID, err = p.typeMember(mem, &m.KeySize)
		case "value":
			m.Value, m.ValueID, err = p.typeMember(mem, &m.ValueSize)
		case "map_extra":
			m.Extra, err = ulongMember(mem)
		case "pinning":
			err = p.setPinning(mem)
		case "values":
			if i != len(def.Members)-1 {
				return fmt.Errorf("%w: member values is not the last", ErrBadMap)
			}
			p.values = uint64(mem.Offset.Bytes())
			err = p.setValues(mem)
		default:
			err = fmt.Errorf("%w: unknown member %q", ErrBadMap, mem.Name)
		}
		if err != nil {
			return err
		}
	}
	if m.Type == catalog.MapUnspec {
		return fmt.Errorf("%w: no type", ErrBadMap)
	}
	if m.Type == catalog.MapRingBuf || m.Type == catalog.MapUserRingBuf {
		m.MaxEntries = ringSize(m.MaxEntries)
	}
	return nil
}

// uintMember decodes __uint: a pointer to an array whose length is the number.
func uintMember(mem btf.Member) (uint32, error) {
	ptr, ok := btf.UnderlyingType(mem.Type).(*btf.Pointer)
	if !ok {
		return 0, fmt.Errorf("%w: member %s is %v, no pointer", ErrBadMap, mem.Name, mem.Type)
	}
	arr, ok := ptr.Target.(*btf.Array)
	if !ok {
		return 0, fmt.Errorf("%w: member %s points to %v, no array", ErrBadMap, mem.Name, ptr.Target)
	}
	return arr.Nelems, nil
}

func setUint(mem btf.Member, to *uint32) (err error) {
	*to, err = uintMember(mem)
	return err
}

// setSize is setUint for a size that another member may have given already.
func setSize(mem btf.Member, to *uint32) error {
	n, err := uintMember(mem)
	if err != nil {
		return err
	}
	return agree(mem, n, to)
}

func agree(mem btf.Member, n uint32, to *uint32) error {
	if *to != 0 && *to != n {
		return fmt.Errorf("%w: member %s gives %d bytes, an earlier one %d", ErrBadMap, mem.Name, n, *to)
	}
	*to = n
	return nil
}

// ulongMember decodes __ulong: an enum with one value; __uint does as well.
func ulongMember(mem btf.Member) (uint64, error) {
	e, ok := btf.UnderlyingType(mem.Type).(*btf.Enum)
	if !ok {
		n, err := uintMember(mem)
		return uint64(n), err
	}
	if len(e.Values) != 1 {
		return 0, fmt.Errorf("%w: member %s has %d values", ErrBadMap, mem.Name, len(e.Values))
	}
	return e.Values[0].Value, nil
}

// typeMember decodes __type: a pointer to the type.
func (p *mapParser) typeMember(mem btf.Member, size *uint32) (btf.Type, btf.TypeID, error) {
	ptr, ok := mem.Type.(*btf.Pointer)
	if !ok {
		return nil, 0, fmt.Errorf("%w: member %s is %v, no pointer", ErrBadMap, mem.Name, mem.Type)
	}
	n, err := btf.Sizeof(ptr.Target)
	if err != nil || n > math.MaxInt32 {
		return nil, 0, fmt.Errorf("%w: member %s: %v has no size", ErrBadMap, mem.Name, ptr.Target)
	}
	if err := agree(mem, uint32(n), size); err != nil {
		return nil, 0, err
	}
	return ptr.Target, idOf(p.spec, ptr.Target), nil
}

func (p *mapParser) setPinning(mem btf.Member) error {
	n, err := uintMember(mem)
	if err != nil {
		return err
	}
	// Other values than libbpf's are between the object and a loader of its own
	// (Cilium's replaces pinned maps); they change nothing about the map.
	if p.inner {
		return fmt.Errorf("%w: pinning %d", ErrBadMap, n)
	}
	p.m.Pinning = Pinning(n)
	return nil
}

// setValues decodes __array(values, …): the template of inner maps, or the
// signature of a program array's programs.
func (p *mapParser) setValues(mem btf.Member) error {
	m := p.m
	if p.inner {
		return fmt.Errorf("%w: maps nest one level deep", ErrNotSupported)
	}
	mapInMap := m.Type == catalog.MapArrayOfMaps || m.Type == catalog.MapHashOfMaps
	if !mapInMap && m.Type != catalog.MapProgArray {
		return fmt.Errorf("%w: member values in a map of type %d", ErrBadMap, m.Type)
	}
	if err := agree(mem, 4, &m.ValueSize); err != nil {
		return err
	}
	arr, ok := mem.Type.(*btf.Array)
	if !ok || arr.Nelems != 0 {
		return fmt.Errorf("%w: member values is %v, no array of length 0", ErrBadMap, mem.Type)
	}
	ptr, ok := btf.UnderlyingType(arr.Type).(*btf.Pointer)
	if !ok {
		return fmt.Errorf("%w: member values has elements %v, no pointers", ErrBadMap, arr.Type)
	}
	switch target := btf.UnderlyingType(ptr.Target).(type) {
	case *btf.FuncProto:
		if !mapInMap {
			return nil
		}
	case *btf.Struct:
		if mapInMap {
			in := mapParser{spec: p.spec, inner: true, m: &Map{Name: m.Name + ".inner"}}
			in.m.KernelName = in.m.Name[:min(len(in.m.Name), catalog.ObjNameLen-1)]
			if err := in.parse(target); err != nil {
				return fmt.Errorf("inner map: %w", err)
			}
			m.Inner = in.m
			return nil
		}
	}
	return fmt.Errorf("%w: member values points to %v", ErrBadMap, ptr.Target)
}

// ringSize rounds a ring buffer up to a power of two of pages, as the kernel
// demands (libbpf: adjust_ringbuf_sz). What cannot be rounded stays, to be refused later.
func ringSize(n uint32) uint32 {
	page := uint32(os.Getpagesize())
	if n == 0 || n > 1<<31 {
		return n
	}
	return max(page, 1<<bits.Len32(n-1))
}

// linkSlots turns the relocations of .maps, which are the elements of "values"
// initialisers, into Slots (libbpf: bpf_object__collect_map_relos).
func (l *linker) linkSlots(programs map[*function]*Program) error {
	sec := l.obj.byName(secMaps)
	if sec == nil {
		return nil
	}
	for _, r := range sec.relocs {
		sym := &l.obj.symbols[r.Sym]
		d := l.maps.definedAt(r.Off)
		if d == nil || d.values == 0 || r.Off < d.off+d.values || (r.Off-d.off-d.values)%8 != 0 {
			return at(secMaps, sym.label(), ErrBadReloc, "byte %d is no element of a map's values", r.Off)
		}
		slot := Slot{Key: uint32((r.Off - d.off - d.values) / 8)}
		if d.m.Type == catalog.MapProgArray {
			f := l.code.entryNamed(sym.Name)
			if f == nil {
				return at(secMaps, d.m.Name, ErrBadReloc, "element %d: %q is no program", slot.Key, sym.label())
			}
			slot.Prog = programs[f]
		} else {
			i, ok := l.maps.byOffset[mapPlace{sym.sec, sym.Value}]
			if !ok || l.maps.list[i] == d.m {
				return at(secMaps, d.m.Name, ErrBadReloc, "element %d: %q is no map", slot.Key, sym.label())
			}
			slot.Map = l.maps.list[i]
		}
		d.m.Slots = append(d.m.Slots, slot)
	}
	return nil
}

// definedAt returns the map whose variable has byte off of .maps, or nil. A
// DATASEC's variables are in the order of their offsets.
func (t *mapTable) definedAt(off uint64) *definedMap {
	i := sort.Search(len(t.places), func(i int) bool { return t.places[i].off > off }) - 1
	if i < 0 || off-t.places[i].off >= t.places[i].size {
		return nil
	}
	return &t.places[i]
}
