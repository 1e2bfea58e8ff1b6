package image

import (
	"cmp"
	"debug/elf"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
)

// Sizes of the structs that define maps in section "maps", in bytes. All
// members are 32 bits wide, the first five the same:
//
//	struct bpf_map_def   type │ key_size │ value_size │ max_entries │ map_flags
//	struct bpf_elf_map   type │ size_key │ size_value │ max_elem    │ flags │ id │ pinning │ inner_id │ inner_idx
const (
	mapDefMin  = 16 // without map_flags
	mapDefSize = 20
	elfMapOld  = 28 // up to pinning
	elfMapSize = 36
)

// elfMap is what only iproute2's struct bpf_elf_map says.
type elfMap struct {
	m        *Map
	innerID  uint32 // id of the map that is the template of this one's inner maps
	innerIdx uint32 // where this map lies in the outer map with innerID == m.ID; ^0: nowhere
}

// addLegacyMaps reads map definitions from before BTF: libbpf's old struct
// bpf_map_def and iproute2's struct bpf_elf_map, told apart by their size.
func (o *object) addLegacyMaps(t *mapTable) error {
	var elfMaps []elfMap
	for _, sec := range o.sections {
		if sec.Name != secLegacy && !strings.HasPrefix(sec.Name, secLegacy+"/") || sec.Type != elf.SHT_PROGBITS {
			continue
		}
		data, err := o.content(sec)
		if err != nil {
			return err
		}
		syms := o.definitions(sec)
		for i, sym := range syms {
			end := uint64(len(data))
			if i+1 < len(syms) {
				end = syms[i+1].Value
			}
			if sym.Value > end {
				return at(sec.Name, sym.Name, ErrBadMap, "definition ends beyond its section")
			}
			def := data[sym.Value:end]
			if sym.Size > 0 && sym.Size < uint64(len(def)) {
				def = def[:sym.Size]
			}
			m, em, err := o.legacyMap(sec, sym.Name, def)
			if err != nil {
				return err
			}
			t.byOffset[mapPlace{sec, sym.Value}] = t.add(m)
			elfMaps = append(elfMaps, em)
		}
	}
	return joinInnerMaps(elfMaps)
}

// definitions returns the variables of a section by offset.
func (o *object) definitions(sec *section) []*symbol {
	var syms []*symbol
	for i := range o.symbols {
		s := &o.symbols[i]
		typ := elf.ST_TYPE(s.Info)
		if s.sec == sec && s.Name != "" && (typ == elf.STT_OBJECT || typ == elf.STT_NOTYPE) {
			syms = append(syms, s)
		}
	}
	slices.SortStableFunc(syms, func(a, b *symbol) int { return cmp.Compare(a.Value, b.Value) })
	return slices.CompactFunc(syms, func(a, b *symbol) bool { return a.Value == b.Value })
}

func (o *object) legacyMap(sec *section, name string, def []byte) (*Map, elfMap, error) {
	if len(def) < mapDefMin {
		return nil, elfMap{}, at(sec.Name, name, ErrBadMap, "definition of %d bytes", len(def))
	}
	var words [elfMapSize / 4]uint32
	for i := range words {
		if 4*i+4 <= len(def) {
			words[i] = o.order.Uint32(def[4*i:])
		}
	}
	m := &Map{
		Name: name, Type: catalog.MapType(words[0]),
		KeySize: words[1], ValueSize: words[2], MaxEntries: words[3], Flags: words[4],
	}
	if m.Type == catalog.MapUnspec {
		return nil, elfMap{}, at(sec.Name, name, ErrBadMap, "no type")
	}
	em := elfMap{m: m, innerIdx: ^uint32(0)}
	if len(def) == elfMapSize || len(def) == elfMapOld {
		m.ID = words[5]
		if len(def) == elfMapSize {
			em.innerID, em.innerIdx = words[7], words[8]
		}
		switch words[6] {
		case 0:
		case 1:
			m.Pinning = PinObject
		case 2:
			m.Pinning = PinGlobal
		default: // a directory that /etc/iproute2/bpf_pinning names
			return nil, elfMap{}, at(sec.Name, name, ErrNotSupported, "pinning %d", words[6])
		}
		return m, em, nil
	}
	for _, b := range def[min(mapDefSize, len(def)):] {
		if b != 0 {
			return nil, elfMap{}, at(sec.Name, name, ErrNotSupported, "definition of %d bytes with members beyond map_flags", len(def))
		}
	}
	return m, em, nil
}

// joinInnerMaps gives outer maps their template and their first elements, as
// iproute2's loader does: the template is the map whose id is the outer map's
// inner_id, and every such map with an inner_idx becomes an element.
func joinInnerMaps(maps []elfMap) error {
	for _, outer := range maps {
		if outer.innerID == 0 {
			continue
		}
		for _, inner := range maps {
			if inner.m.ID != outer.innerID || inner.m == outer.m {
				continue
			}
			if outer.m.Inner == nil {
				tmpl := *inner.m
				tmpl.Name = outer.m.Name + ".inner"
				outer.m.Inner = &tmpl
			}
			if inner.innerIdx != ^uint32(0) {
				outer.m.Slots = append(outer.m.Slots, Slot{Key: inner.innerIdx, Map: inner.m})
			}
		}
		if outer.m.Inner == nil {
			return at(secLegacy, outer.m.Name, ErrBadMap, "no map with id %d for inner_id", outer.innerID)
		}
	}
	return nil
}

// typeLegacyMaps gives legacy maps the types that BPF_ANNOTATE_KV_PAIR left in
// BTF: struct ____btf_map_NAME { key; value; }.
func typeLegacyMaps(maps []*Map, types *objectTypes) {
	if types == nil {
		return
	}
	for _, m := range maps {
		if m.Key != nil || m.Kind != KindDefined {
			continue
		}
		kv := typeNamed[*btf.Struct](types.spec, "____btf_map_"+m.Name)
		if kv == nil || len(kv.Members) != 2 {
			continue
		}
		key, value := kv.Members[0].Type, kv.Members[1].Type
		if sizeIs(key, m.KeySize) && sizeIs(value, m.ValueSize) {
			m.Key, m.KeyID = key, idOf(types.spec, key)
			m.Value, m.ValueID = value, idOf(types.spec, value)
		}
	}
}

func sizeIs(t btf.Type, want uint32) bool {
	n, err := btf.Sizeof(t)
	return err == nil && uint64(n) == uint64(want)
}

// tailCallSlot reads iproute2's section names for tail-called programs,
// "id/index": the program goes into the program array with that id.
func (t *mapTable) tailCallSlot(section string) (*Map, uint32, bool) {
	id, idx, ok := strings.Cut(section, "/")
	if !ok {
		return nil, 0, false
	}
	n, ok1 := parseU32(id)
	k, ok2 := parseU32(idx)
	if !ok1 || !ok2 || n == 0 {
		return nil, 0, false
	}
	for _, m := range t.list {
		if m.ID == n && m.Type == catalog.MapProgArray {
			return m, k, true
		}
	}
	return nil, 0, false
}
