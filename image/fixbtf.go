package image

import (
	"bytes"
	"debug/elf"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// objectTypes is the BTF of an object under construction.
type objectTypes struct {
	raw  *rawBTF
	spec *btf.Spec
	ext  *extInfo // nil without .BTF.ext
}

// loadTypes reads .BTF and .BTF.ext and completes the types from the ELF file.
// It returns nil for an object without BTF.
func (o *object) loadTypes() (*objectTypes, error) {
	sec := o.byName(secBTF)
	if sec == nil || sec.Type != elf.SHT_PROGBITS {
		return nil, nil
	}
	blob, err := o.content(sec)
	if err != nil {
		return nil, err
	}
	raw, err := parseRawBTF(blob, o.order)
	if err != nil {
		return nil, &Error{Section: secBTF, Slot: -1, Err: err}
	}
	if err := o.fixTypes(raw); err != nil {
		return nil, err
	}
	t := &objectTypes{raw: raw}
	if t.spec, err = specOf(raw); err != nil {
		return nil, err
	}
	if sec := o.byName(secBTFExt); sec != nil && sec.Type == elf.SHT_PROGBITS {
		blob, err := o.content(sec)
		if err != nil {
			return nil, err
		}
		if t.ext, err = parseExtInfo(blob, raw); err != nil {
			return nil, &Error{Section: secBTFExt, Slot: -1, Err: err}
		}
	}
	return t, nil
}

// typeByID returns a type, or nil where there is none of that id.
func (t *objectTypes) typeByID(id uint32) btf.Type {
	typ, err := t.spec.TypeByID(btf.TypeID(id))
	if err != nil {
		return nil
	}
	return typ
}

// str returns a string of the object's string table.
func (t *objectTypes) str(off uint32) string { return t.raw.str(off) }

func specOf(raw *rawBTF) (*btf.Spec, error) {
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw.bytes()))
	if err != nil {
		return nil, at(secBTF, "", ErrBadBTF, "%v", err)
	}
	return spec, nil
}

// fixTypes writes what the compiler left open into raw: sizes of data sections,
// offsets of their variables, and static linkage of hidden symbols
// (libbpf: btf_fixup_datasec, mark_btf_static).
func (o *object) fixTypes(raw *rawBTF) error {
	globals := map[string]*symbol{} // variables by name, as find_elf_var_sym finds them
	hidden := map[string]bool{}     // hidden functions
	for i := range o.symbols {
		s := &o.symbols[i]
		if elf.ST_BIND(s.Info) == elf.STB_LOCAL || s.sec == nil {
			continue
		}
		switch elf.ST_TYPE(s.Info) {
		case elf.STT_OBJECT:
			if globals[s.Name] == nil {
				globals[s.Name] = s
			}
		case elf.STT_FUNC:
			hidden[s.Name] = hidden[s.Name] || s.isHidden()
		}
	}
	for id := 1; id < raw.count(); id++ {
		switch raw.kind(id) {
		case kindFunc:
			if hidden[raw.name(id)] {
				raw.setWord(id, 1, raw.word(id, 1)&^0xffff|linkStatic)
			}
		case kindDatasec:
			if err := o.fixDatasec(raw, id, globals); err != nil {
				return err
			}
		}
	}
	return nil
}

// fixDatasec completes one DATASEC. Those of externs have no section behind
// them; [object.collectExterns] lays them out.
func (o *object) fixDatasec(raw *rawBTF, id int, globals map[string]*symbol) error {
	name := raw.name(id)
	if name == secKconfig || name == secKsyms {
		return nil
	}
	fixOffsets := raw.word(id, 2) == 0
	if fixOffsets {
		sec := o.byName(name)
		if sec == nil || sec.Size == 0 || sec.Size > maxZeroSize {
			return at(secBTF, name, ErrBadBTF, "data section has no content in the file")
		}
		raw.setWord(id, 2, uint32(sec.Size))
	}
	for j := range raw.vlen(id) {
		v := raw.word(id, secVar(j))
		if !raw.valid(v) || raw.kind(int(v)) != kindVar {
			return at(secBTF, name, ErrBadBTF, "member %d is not a variable", j)
		}
		if raw.word(int(v), 3) != linkGlobal {
			continue
		}
		sym := globals[raw.name(int(v))]
		if sym == nil {
			return at(secBTF, name, ErrBadBTF, "variable %q has no symbol", raw.name(int(v)))
		}
		if fixOffsets {
			raw.setWord(id, secVar(j)+1, uint32(sym.Value))
		}
		if sym.isHidden() {
			raw.setWord(int(v), 3, linkStatic)
		}
	}
	raw.sortDatasec(id)
	return nil
}

// sortDatasec puts a DATASEC's variables in the order of their offsets, which
// the kernel demands.
func (r *rawBTF) sortDatasec(id int) {
	type entry [3]uint32
	vars := make([]entry, r.vlen(id))
	for j := range vars {
		for k := range vars[j] {
			vars[j][k] = r.word(id, secVar(j)+k)
		}
	}
	slices.SortStableFunc(vars, func(a, b entry) int { return int(int64(a[1]) - int64(b[1])) })
	for j := range vars {
		for k := range vars[j] {
			r.setWord(id, secVar(j)+k, vars[j][k])
		}
	}
}

// findInt returns the id of a 32-bit integer type, or 0.
func (r *rawBTF) findInt() int {
	for id := 1; id < r.count(); id++ {
		if r.kind(id) == kindInt && r.word(id, 3)&0xff == 32 {
			return id
		}
	}
	return 0
}

// typeNamed returns the first type of the wanted Go type and exactly that name, or nil.
func typeNamed[T btf.Type](spec *btf.Spec, name string) T {
	var none T
	if spec == nil {
		return none
	}
	types, err := spec.AnyTypesByName(name)
	if err != nil {
		return none
	}
	for _, t := range types {
		if t, ok := t.(T); ok && t.TypeName() == name {
			return t
		}
	}
	return none
}

// idOf returns a type's id in spec; the type came from there.
func idOf(spec *btf.Spec, t btf.Type) btf.TypeID {
	id, err := spec.TypeID(t)
	if err != nil {
		panic(fmt.Sprintf("BUG: type %v without id: %v", t, err))
	}
	return id
}
