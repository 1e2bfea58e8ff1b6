package image

import (
	"debug/elf"
	"os"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
)

// addDataMaps makes an array map with one value of each section of global
// variables (libbpf: bpf_object__init_global_data_maps).
func (o *object) addDataMaps(t *mapTable, name string, types *objectTypes) error {
	for _, sec := range o.sections {
		kind, ok := dataKind(sec)
		if !ok || sec.Size == 0 {
			continue
		}
		if kind == KindBSS && sec.Size > maxZeroSize {
			return at(sec.Name, "", ErrTooLarge, "%d bytes", sec.Size)
		}
		data, err := o.content(sec)
		if err != nil {
			return err
		}
		m := newDataMap(kind, sec.Name, name, types)
		m.ValueSize, m.Data = uint32(sec.Size), data
		t.bySection[sec] = t.add(m)
	}
	return nil
}

// dataKind tells which kind of global data a section holds, if any.
func dataKind(s *section) (MapKind, bool) {
	switch {
	case s.Type == elf.SHT_NOBITS && isNamed(s.Name, secBSS):
		return KindBSS, true
	case s.Type != elf.SHT_PROGBITS || s.Flags&elf.SHF_EXECINSTR != 0:
		return 0, false
	case isNamed(s.Name, secData):
		return KindData, true
	case isNamed(s.Name, secRodata):
		return KindRodata, true
	}
	return 0, false
}

// newDataMap makes the map of a data section but for its content
// (libbpf: bpf_object__init_internal_map).
func newDataMap(kind MapKind, section, object string, types *objectTypes) *Map {
	m := &Map{
		Name: section, KernelName: dataMapName(object, section), Kind: kind,
		Type: catalog.MapArray, KeySize: 4, MaxEntries: 1,
	}
	if kind == KindRodata || kind == KindKconfig {
		m.Flags |= catalog.FlagRdonlyProg
		m.Freeze = true
	}
	if types == nil {
		return m
	}
	ds := typeNamed[*btf.Datasec](types.spec, section)
	if ds == nil {
		return m // sections without variables, like .rodata.str1.1
	}
	m.Value, m.ValueID = ds, idOf(types.spec, ds)
	for _, vsi := range ds.Vars {
		// User space may map it when there is a variable it can see: one that is
		// neither static nor hidden.
		if v, ok := vsi.Type.(*btf.Var); ok && v.Linkage != btf.StaticVar {
			m.Flags |= catalog.FlagMmapable
		}
	}
	return m
}

// dataMapName is the name libbpf gives the kernel (internal_map_name): at most
// 15 bytes, of which the section gets what it needs and at least 7, the rest
// goes to the object's name before it. Sections with a name of their own
// (".data.hot") stand alone.
func dataMapName(object, section string) string {
	suffix := min(max(7, len(section)), 15)
	prefix := min(15-suffix, len(object))
	if strings.Contains(section[1:], ".") {
		prefix = 0
	}
	name := []byte(object[:prefix] + section[:min(suffix, len(section))])
	for i, c := range name {
		if !catalog.NameByte(c) {
			name[i] = '_'
		}
	}
	return string(name)
}

// addArena puts the variables of the arena's address space at its start.
func (o *object) addArena(t *mapTable) error {
	sec := o.byName(secArena)
	if sec == nil || sec.Size == 0 || sec.Type != elf.SHT_PROGBITS {
		return nil
	}
	data, err := o.content(sec)
	if err != nil {
		return err
	}
	for i, m := range t.list {
		if m.Type != catalog.MapArena {
			continue
		}
		if uint64(len(data)) > uint64(m.MaxEntries)*uint64(os.Getpagesize()) {
			return at(sec.Name, m.Name, ErrTooLarge, "%d bytes of variables in an arena of %d pages", len(data), m.MaxEntries)
		}
		m.Data = data
		t.bySection[sec] = i
		return nil
	}
	return at(sec.Name, "", ErrBadMap, "variables of an arena, but no map of type arena")
}
