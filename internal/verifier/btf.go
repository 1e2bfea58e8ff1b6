package verifier

import (
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// intern returns the one btfType of a type of spec.
func (e *env) intern(spec *btf.Spec, t btf.Type) *btfType {
	t = btf.UnderlyingType(t)
	if b := e.btfTypes[t]; b != nil {
		return b
	}
	b := &btfType{spec: spec, typ: t, kernel: spec != e.p.BTF, name: t.TypeName()}
	if id, err := spec.TypeID(t); err == nil {
		b.id = id
	}
	if e.btfTypes == nil {
		e.btfTypes = make(map[btf.Type]*btfType)
	}
	e.btfTypes[t] = b
	return b
}

// kernelType finds a struct of the kernel's BTF by name, or nil.
func (e *env) kernelStruct(name string) *btfType {
	if b, ok := e.kernTypes[name]; ok {
		return b
	}
	var b *btfType
	if e.p.KernelBTF != nil {
		var s *btf.Struct
		if err := e.p.KernelBTF.TypeByName(name, &s); err == nil {
			b = e.intern(e.p.KernelBTF, s)
		}
	}
	if e.kernTypes == nil {
		e.kernTypes = make(map[string]*btfType)
	}
	e.kernTypes[name] = b
	return b
}

// members returns the members of a struct or union.
func members(t btf.Type) ([]btf.Member, uint32, bool) {
	switch t := t.(type) {
	case *btf.Struct:
		return t.Members, t.Size, true
	case *btf.Union:
		return t.Members, t.Size, true
	}
	return nil, 0, false
}

// structMatches reports whether a pointer at off into have points to a want:
// to have itself, or, unless strict, to a first member of that type, however
// deep (btf_struct_ids_match).
func (e *env) structMatches(have *btfType, off int32, want *btfType, strict bool) bool {
	if off == 0 && sameType(have, want) {
		return true
	}
	if strict {
		return false
	}
	t := have
	for depth := 0; depth < 16; depth++ {
		ms, _, ok := members(t.typ)
		if !ok {
			return false
		}
		var next btf.Type
		for _, m := range ms {
			size, err := btf.Sizeof(m.Type)
			if err != nil || int64(off) < int64(m.Offset.Bytes()) || int64(off) >= int64(m.Offset.Bytes())+int64(size) {
				continue
			}
			mt := btf.UnderlyingType(m.Type)
			at := off - int32(m.Offset.Bytes())
			if arr, ok := mt.(*btf.Array); ok {
				mt = btf.UnderlyingType(arr.Type)
				if n, err := btf.Sizeof(mt); err == nil && n > 0 {
					at %= int32(n)
				}
			}
			if _, isUnion := t.typ.(*btf.Union); isUnion {
				if at == 0 && sameType(e.intern(have.spec, mt), want) {
					return true
				}
				continue
			}
			next, off = mt, at
			break
		}
		if next == nil {
			return false
		}
		t = e.intern(have.spec, next)
		if off == 0 && sameType(t, want) {
			return true
		}
	}
	return false
}

func sameType(a, b *btfType) bool {
	if a == b || a.typ == b.typ {
		return true
	}
	// The kernel's types may be read anew as the base of a module's.
	return a.kernel && b.kernel && a.id != 0 && a.id == b.id && a.name == b.name
}

// access of a struct: what lies at an offset.
type structField struct {
	typ   btf.Type // without modifiers; nil: part of a number, or plain
	plain bool     // a pointer to what is no struct: may be read, may fault
	flags regType
	name  string // member
}

// walkStruct finds what a load of size bytes at off in t yields: a pointer to
// a struct, or a number (btf_struct_walk).
func (e *env) walkStruct(t btf.Type, off, size int, name string) (structField, *Error) {
	var flags regType
	for depth := 0; depth < 32; depth++ {
		ms, total, ok := members(t)
		if !ok {
			return structField{}, e.refuse(errno.EINVAL, "Type '%s' is not a struct", name)
		}
		if _, union := t.(*btf.Union); union && len(ms) != 1 {
			flags |= untrusted // nobody knows which member holds
		}
		if off+size > int(total) {
			elem, at := beyond(ms, off)
			if elem == nil {
				return structField{}, e.refuse(errno.EACCES, "access beyond struct %s at off %d size %d", t.TypeName(), off, size)
			}
			if _, _, ok := members(elem); !ok {
				return structField{}, nil
			}
			t, off = elem, at
			continue
		}
		m := memberAt(ms, off, size)
		if m == nil {
			return structField{}, e.refuse(errno.EINVAL, "struct %s doesn't have field at offset %d", t.TypeName(), off)
		}
		if m.BitfieldSize > 0 {
			return structField{}, nil
		}
		// An array is like as many members one after the other.
		mo := int(m.Offset.Bytes())
		whole, err := btf.Sizeof(m.Type)
		if err != nil {
			return structField{}, e.refuse(errno.EFAULT, "field %s doesn't have size", m.Name)
		}
		end := mo + whole
		mt, _ := stripTags(m.Type)
		for {
			arr, ok := mt.(*btf.Array)
			if !ok {
				break
			}
			mt, _ = stripTags(arr.Type)
		}
		if n, err := btf.Sizeof(mt); err == nil && n > 0 {
			mo += (off - mo) / n * n
		}
		switch mt := mt.(type) {
		case *btf.Struct, *btf.Union:
			t, off = mt, off-mo
			continue
		case *btf.Pointer:
			if off != mo || size != regSize {
				return structField{}, e.refuse(errno.EACCES, "cannot access ptr member %s with moff %d in struct %s with off %d size %d", m.Name, mo, t.TypeName(), off, size)
			}
			target, tags := stripTags(mt.Target)
			if _, _, ok := members(target); ok {
				return structField{typ: target, flags: flags | tags, name: m.Name}, nil
			}
			return structField{plain: true, flags: flags, name: m.Name}, nil
		}
		if off+size > end {
			return structField{}, e.refuse(errno.EACCES, "access beyond the end of member %s (mend:%d) in struct %s with off %d size %d", m.Name, end, t.TypeName(), off, size)
		}
		return structField{name: m.Name}, nil
	}
	return structField{}, e.refuse(errno.EINVAL, "Type '%s' is not a struct", name)
}

// beyond returns the type of the elements of a flexible array that ends a
// struct, and where off lies in one; nil: it has none.
func beyond(ms []btf.Member, off int) (btf.Type, int) {
	if len(ms) == 0 {
		return nil, 0
	}
	last := ms[len(ms)-1]
	start := int(last.Offset.Bytes())
	arr, ok := btf.UnderlyingType(last.Type).(*btf.Array)
	if !ok || arr.Nelems != 0 || off < start {
		return nil, 0
	}
	elem := btf.UnderlyingType(arr.Type)
	if _, ok := elem.(*btf.Int); ok {
		return elem, 0
	}
	_, n, ok := members(elem)
	if !ok || n == 0 {
		return nil, 0
	}
	return elem, (off - start) % int(n)
}

// memberAt finds the member that a load reads, or nil.
func memberAt(ms []btf.Member, off, size int) *btf.Member {
	for i := range ms {
		m := &ms[i]
		mo := int(m.Offset.Bytes())
		if off+size <= mo {
			break
		}
		if m.BitfieldSize > 0 {
			if end := (int(m.Offset) + int(m.BitfieldSize) + 7) / 8; off <= mo && end <= off+size {
				return m
			}
			continue
		}
		if off < mo {
			break
		}
		if n, err := btf.Sizeof(m.Type); err != nil || off < mo+n {
			return m
		}
	}
	return nil
}

// stripTags removes modifiers and collects what type tags say of a pointer's target.
func stripTags(t btf.Type) (btf.Type, regType) {
	var flags regType
	for {
		switch x := t.(type) {
		case *btf.TypeTag:
			switch x.Value {
			case "user":
				flags |= userMem
			case "percpu":
				flags |= perCPUMem
			case "rcu":
				flags |= rcu
			}
			t = x.Type
		case *btf.Typedef:
			t = x.Type
		case *btf.Const:
			t = x.Type
		case *btf.Volatile:
			t = x.Type
		case *btf.Restrict:
			t = x.Type
		default:
			return t, flags
		}
	}
}

// structSpecials returns the special fields of a program's own struct.
func (e *env) structSpecials(t *btfType) []catalog.SpecialField {
	if t == nil || t.kernel {
		return nil
	}
	if s, ok := e.special[t]; ok {
		return s
	}
	if e.special == nil {
		e.special = make(map[*btfType][]catalog.SpecialField)
	}
	all, _ := catalog.FindSpecial(t.typ, true)
	var s []catalog.SpecialField
	for _, f := range all {
		switch f.Kind {
		case catalog.SpecialTimer, catalog.SpecialWorkqueue, catalog.SpecialTaskWork, catalog.SpecialUptr:
			// of map values only
		default:
			s = append(s, f)
		}
	}
	e.special[t] = s
	return s
}

// btfResult gives R0 a pointer to what a helper's row, or its argument, names.
func (e *env) btfResult(r0 *reg, h *helperRow, meta *callMeta, flags regType) *Error {
	switch {
	case meta.id == catalog.FnKptrXchg:
		kptrResult(r0, flags, meta)
		return nil
	case meta.perCPUObject:
		r0.setPtr(ptrToBTF | allocMem | rcu)
		r0.btf = meta.retBTF
		return nil
	}
	if h.Ret.Base() == catalog.RetBTFID {
		t := e.kernelStruct(h.RetBTF)
		if t == nil {
			return e.unsupported("struct %s without kernel BTF", h.RetBTF)
		}
		r0.setPtr(ptrToBTF | flags)
		r0.btf = t
		return nil
	}
	t := meta.retBTF
	if t == nil {
		return e.unsupported("%s without kernel BTF", meta.id)
	}
	if _, _, ok := members(t.typ); ok {
		r0.setPtr(ptrToBTF | flags&^rdonly)
		r0.btf = t
		return nil
	}
	size, err := btf.Sizeof(t.typ)
	if err != nil {
		return e.refuse(errno.EINVAL, "unable to resolve the size of type '%s': %v", t.name, err)
	}
	r0.setPtr(ptrToMem | flags)
	r0.size = uint32(size)
	return nil
}

func hasSuffix(name, suffix string) bool { return strings.HasSuffix(name, suffix) }

// kindName is the kernel's name of a type's kind.
func kindName(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Int:
		return "INT"
	case *btf.Pointer:
		return "PTR"
	case *btf.Array:
		return "ARRAY"
	case *btf.Struct:
		return "STRUCT"
	case *btf.Union:
		return "UNION"
	case *btf.Enum:
		if t.Size > 4 {
			return "ENUM64"
		}
		return "ENUM"
	case *btf.Fwd:
		return "FWD"
	case *btf.FuncProto:
		return "FUNC_PROTO"
	case *btf.Float:
		return "FLOAT"
	}
	return "UNKNOWN"
}
