package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/rawbtf"
)

// maxTypes bounds the types of one object. The compiler emits only the types a
// program touches, a few thousand at most; readers of BTF recurse along chains
// of types, so the count also bounds their stack.
const maxTypes = 1 << 17

// rawBTF is an object's BTF while a loader completes what the compiler could
// not know: sizes, offsets, visibility.
type rawBTF struct{ *rawbtf.BTF }

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
	parsed, err := rawbtf.Parse(blob, o.order, maxTypes)
	if err != nil {
		return nil, &Error{Section: secBTF, Slot: -1, Err: err}
	}
	raw := &rawBTF{parsed}
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
func (t *objectTypes) str(off uint32) string { return t.raw.Str(off) }

func specOf(raw *rawBTF) (*btf.Spec, error) {
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw.Bytes()))
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
	for id := 1; id < raw.Count(); id++ {
		switch raw.Kind(id) {
		case rawbtf.KindFunc:
			if hidden[raw.Name(id)] {
				raw.SetWord(id, 1, raw.Word(id, 1)&^0xffff|rawbtf.LinkStatic)
			}
		case rawbtf.KindDatasec:
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
	name := raw.Name(id)
	if name == secKconfig || name == secKsyms {
		return nil
	}
	fixOffsets := raw.Word(id, 2) == 0
	if fixOffsets {
		sec := o.byName(name)
		if sec == nil || sec.Size == 0 || sec.Size > maxZeroSize {
			return at(secBTF, name, ErrBadBTF, "data section has no content in the file")
		}
		raw.SetWord(id, 2, uint32(sec.Size))
	}
	for j := range raw.Vlen(id) {
		v := raw.Word(id, rawbtf.SecVar(j))
		if !raw.Valid(v) || raw.Kind(int(v)) != rawbtf.KindVar {
			return at(secBTF, name, ErrBadBTF, "member %d is not a variable", j)
		}
		if raw.Word(int(v), 3) != rawbtf.LinkGlobal {
			continue
		}
		sym := globals[raw.Name(int(v))]
		if sym == nil {
			return at(secBTF, name, ErrBadBTF, "variable %q has no symbol", raw.Name(int(v)))
		}
		if fixOffsets {
			raw.SetWord(id, rawbtf.SecVar(j)+1, uint32(sym.Value))
		}
		if sym.isHidden() {
			raw.SetWord(int(v), 3, rawbtf.LinkStatic)
		}
	}
	raw.sortDatasec(id)
	return nil
}

// sortDatasec puts a DATASEC's variables in the order of their offsets, which
// the kernel demands.
func (r *rawBTF) sortDatasec(id int) {
	type entry [3]uint32
	vars := make([]entry, r.Vlen(id))
	for j := range vars {
		for k := range vars[j] {
			vars[j][k] = r.Word(id, rawbtf.SecVar(j)+k)
		}
	}
	slices.SortStableFunc(vars, func(a, b entry) int { return int(int64(a[1]) - int64(b[1])) })
	for j := range vars {
		for k := range vars[j] {
			r.SetWord(id, rawbtf.SecVar(j)+k, vars[j][k])
		}
	}
}

// findInt returns the id of a 32-bit integer type, or 0.
func (r *rawBTF) findInt() int {
	for id := 1; id < r.Count(); id++ {
		if r.Kind(id) == rawbtf.KindInt && r.Word(id, 3)&0xff == 32 {
			return id
		}
	}
	return 0
}

// typeNamed returns the first type of the wanted Go type and exactly that name, or nil.
func typeNamed[T btf.Type](spec *btf.Spec, name string) T {
	t, _ := findType[T](spec, name)
	return t
}

// findType is typeNamed, with an error where types cannot be read.
func findType[T btf.Type](spec *btf.Spec, name string) (T, error) {
	var none T
	if spec == nil {
		return none, nil
	}
	types, err := spec.AnyTypesByName(name)
	if errors.Is(err, btf.ErrNotFound) {
		return none, nil
	}
	for _, t := range types {
		if t, ok := t.(T); ok && t.TypeName() == name {
			return t, nil
		}
	}
	return none, err
}

// idOf returns a type's id in spec; the type came from there.
func idOf(spec *btf.Spec, t btf.Type) btf.TypeID {
	id, err := spec.TypeID(t)
	if err != nil {
		panic(fmt.Sprintf("BUG: type %v without id: %v", t, err))
	}
	return id
}
