package image

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/rawbtf"
)

// externTable is the undefined symbols of an object.
type externTable struct {
	list  []*Extern
	bySym map[int]int // ELF symbol → index into list
	data  []byte      // content of the .kconfig map
}

// rawExtern is what is known of an extern while its object is read.
type rawExtern struct {
	sym   int // ELF symbol
	id    int // of the VAR or FUNC in the object's BTF
	align uint32
	size  uint32
	value kconfigType
	err   error // why it could not be looked for
}

// String names the kind as messages do.
func (k ExternKind) String() string {
	switch k {
	case ExternKconfig:
		return "configuration value"
	case ExternFunc:
		return "kernel function"
	case ExternVar:
		return "kernel variable"
	}
	return "kernel symbol"
}

// loadExterns finds the undefined symbols, sorts them as libbpf does (the
// positions show in poisoned calls) and lays out the .kconfig map
// (bpf_object__collect_externs).
func (o *object) loadExterns(types *objectTypes) (*externTable, error) {
	t := &externTable{bySym: map[int]int{}}
	if types == nil {
		return t, nil
	}
	decls := types.raw.externDecls()
	for i := range o.symbols {
		sym := &o.symbols[i]
		// An extern without BTF is no error yet: only code that uses it cannot be loaded.
		decl, ok := decls[sym.Name]
		if !ok || !sym.isExtern() {
			continue
		}
		ext, err := newExtern(i, sym, decl, types)
		if err != nil {
			return nil, err
		}
		t.list = append(t.list, ext)
	}
	slices.SortStableFunc(t.list, func(a, b *Extern) int {
		ak, bk := min(a.Kind, ExternFunc), min(b.Kind, ExternFunc) // all but configuration are one class
		return cmp.Or(cmp.Compare(ak, bk),
			-cmp.Compare(a.raw.align, b.raw.align), cmp.Compare(a.raw.size, b.raw.size), cmp.Compare(a.Name, b.Name))
	})
	var end uint32
	for i, ext := range t.list {
		t.bySym[ext.raw.sym] = i
		if ext.Kind == ExternKconfig {
			ext.Off = (end + ext.raw.align - 1) &^ (ext.raw.align - 1)
			end = ext.Off + ext.raw.size
		}
	}
	if end > 0 {
		t.data = make([]byte, end)
	}
	return t, nil
}

// newExtern describes the extern that ELF symbol i stands for.
func newExtern(i int, sym *symbol, in externDecl, types *objectTypes) (*Extern, error) {
	ext := &Extern{Name: sym.Name, Weak: elf.ST_BIND(sym.Info) == elf.STB_WEAK, raw: rawExtern{sym: i, id: in.id}}
	switch decl := types.typeByID(uint32(in.id)).(type) {
	case *btf.Func:
		ext.Kind, ext.Type = ExternFunc, decl.Type
	case *btf.Var:
		ext.Kind, ext.Type = ExternVar, decl.Type
		if _, void := btf.UnderlyingType(decl.Type).(*btf.Void); void {
			ext.Kind = ExternSym
		}
	default:
		return nil, at(in.sec, sym.Name, ErrBadBTF, "extern is %v", decl)
	}
	switch {
	case in.sec == secKsyms:
		return ext, nil
	case in.sec == secKconfig && ext.Kind != ExternFunc:
		ext.Kind = ExternKconfig
		return ext, ext.setKconfigType()
	}
	return nil, at(in.sec, sym.Name, ErrNotSupported, "defined in another object; link the objects first (bpftool gen object)")
}

// externDecl is the declaration of an extern in BTF.
type externDecl struct {
	id  int
	sec string // the DATASEC that lists it
}

// externDecls finds the extern VARs and FUNCs by name.
func (r *rawBTF) externDecls() map[string]externDecl {
	secs := map[uint32]string{}
	for id := 1; id < r.Count(); id++ {
		if r.Kind(id) == rawbtf.KindDatasec {
			for j := range r.Vlen(id) {
				secs[r.Word(id, rawbtf.SecVar(j))] = r.Name(id)
			}
		}
	}
	decls := map[string]externDecl{}
	for id := 1; id < r.Count(); id++ {
		isExtern := r.Kind(id) == rawbtf.KindVar && r.Word(id, 3) == rawbtf.LinkExtern ||
			r.Kind(id) == rawbtf.KindFunc && r.Word(id, 1)&0xffff == rawbtf.LinkExtern
		if !isExtern {
			continue
		}
		if _, seen := decls[r.Name(id)]; !seen {
			decls[r.Name(id)] = externDecl{id, secs[uint32(id)]}
		}
	}
	return decls
}

// layoutKconfig writes size and offsets of .kconfig into the BTF.
func (t *externTable) layoutKconfig(raw *rawBTF) {
	for id := 1; id < raw.Count(); id++ {
		if raw.Kind(id) != rawbtf.KindDatasec || raw.Name(id) != secKconfig {
			continue
		}
		raw.SetWord(id, 2, uint32(len(t.data)))
		for j := range raw.Vlen(id) {
			v := raw.Word(id, rawbtf.SecVar(j))
			for _, ext := range t.list {
				if uint32(ext.raw.id) == v {
					raw.SetWord(int(v), 3, rawbtf.LinkGlobal)
					raw.SetWord(id, rawbtf.SecVar(j)+1, ext.Off)
				}
			}
		}
		raw.sortDatasec(id)
	}
}

// hideKsyms makes .ksyms acceptable to the kernel, which wants a data section
// of variables: every extern is given out as an int, and functions, which may
// not stand there, are replaced by a dummy variable and become global.
func hideKsyms(raw *rawBTF) {
	integer := raw.findInt()
	for id := 1; id < raw.Count(); id++ {
		if raw.Kind(id) != rawbtf.KindDatasec || raw.Name(id) != secKsyms {
			continue
		}
		dummy := 0
		for j := range raw.Vlen(id) {
			v := int(raw.Word(id, rawbtf.SecVar(j)))
			if !raw.Valid(uint32(v)) {
				continue
			}
			switch raw.Kind(v) {
			case rawbtf.KindFunc:
				if dummy == 0 {
					dummy = raw.AddVar("dummy_ksym", integer)
				}
				raw.nameParams(int(raw.Word(v, 2)), raw.Word(dummy, 0))
				raw.SetWord(v, 1, raw.Word(v, 1)&^0xffff|rawbtf.LinkGlobal)
				raw.SetWord(id, rawbtf.SecVar(j), uint32(dummy))
			case rawbtf.KindVar:
				raw.SetWord(v, 3, rawbtf.LinkGlobal)
				raw.SetWord(v, 2, uint32(integer))
			}
			raw.SetWord(id, rawbtf.SecVar(j)+1, uint32(4*j))
			raw.SetWord(id, rawbtf.SecVar(j)+2, 4)
		}
		raw.SetWord(id, 2, uint32(4*raw.Vlen(id)))
		return
	}
}

// nameParams gives parameters without a name one, as the kernel wants of
// functions that are not extern.
func (r *rawBTF) nameParams(proto int, name uint32) {
	if !r.Valid(uint32(proto)) || r.Kind(proto) != rawbtf.KindFuncProto {
		return
	}
	for k := range r.Vlen(proto) {
		if p := 3 + 2*k; r.Word(proto, p) == 0 && r.Word(proto, p+1) != 0 {
			r.SetWord(proto, p, name)
		}
	}
}

// resolve looks the externs up in the target kernel.
func (t *externTable) resolve(order binary.ByteOrder, target *target) error {
	var kconfig []*Extern
	for _, ext := range t.list {
		switch ext.Kind {
		case ExternKconfig:
			kconfig = append(kconfig, ext)
		case ExternSym:
			ext.Addr, ext.Resolved = target.symbol(ext.Name)
		default:
			if err := ext.resolveTyped(target); err != nil {
				return err
			}
		}
	}
	return t.setKconfig(kconfig, order, target)
}

// resolveTyped finds a function or variable by name in the target's BTF, where
// its type must be compatible by CO-RE's rules (libbpf: bpf_object__resolve_ksym_*).
// The name's flavour ("bpf_foo___v2") is no part of a function's name.
func (ext *Extern) resolveTyped(target *target) error {
	spec, err := target.spec()
	if err != nil {
		ext.raw.err = fmt.Errorf("%w: %v", ErrNoTarget, err)
		return nil // only using it fails
	}
	var found, foundType btf.Type
	if ext.Kind == ExternFunc {
		var f *btf.Func
		if f, err = findType[*btf.Func](spec, essentialName(ext.Name)); f != nil {
			found, foundType = f, f.Type
		}
	} else {
		var v *btf.Var
		if v, err = findType[*btf.Var](spec, ext.Name); v != nil {
			found, foundType = v, v.Type
		}
	}
	if err != nil {
		ext.raw.err = fmt.Errorf("the kernel's types: %w", err)
	}
	if found == nil {
		return nil
	}
	if err := btf.CheckTypeCompatibility(ext.Type, foundType); err != nil {
		if ext.Weak && ext.Kind == ExternFunc {
			ext.raw.err = fmt.Errorf("it has another type there: %w", err)
			return nil
		}
		return at(secKsyms, ext.Name, ErrUnresolved, "%v has another type in the target kernel: %v", ext.Kind, err)
	}
	ext.ID, ext.Resolved = idOf(spec, found), true
	return nil
}
