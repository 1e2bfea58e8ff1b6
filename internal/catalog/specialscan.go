package catalog

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/errno"
)

// specialStruct is a struct whose name makes it a special field.
type specialStruct struct {
	kind        SpecialKind
	size, align uint32
	unique      bool // at most one per value
}

// specialStructs follows btf_get_field_type, btf_field_type_size and btf_field_type_align.
var specialStructs = map[string]specialStruct{
	"bpf_spin_lock":     {SpecialSpinLock, 4, 4, true},
	"bpf_res_spin_lock": {SpecialResSpinLock, 4, 4, true},
	"bpf_timer":         {SpecialTimer, 16, 8, true},
	"bpf_wq":            {SpecialWorkqueue, 16, 8, true},
	"bpf_task_work":     {SpecialTaskWork, 8, 8, true},
	"bpf_list_head":     {SpecialListHead, 16, 8, false},
	"bpf_list_node":     {SpecialListNode, 24, 8, false},
	"bpf_rb_root":       {SpecialRBRoot, 16, 8, false},
	"bpf_rb_node":       {SpecialRBNode, 32, 8, false},
	"bpf_refcount":      {SpecialRefcount, 4, 4, true},
}

var kptrTags = map[string]SpecialKind{
	"kptr_untrusted": SpecialKptrUnref,
	"kptr":           SpecialKptrRef,
	"percpu_kptr":    SpecialKptrPerCPU,
	"uptr":           SpecialUptr,
}

const (
	maxSpecialFields = 11 // BTF_FIELDS_MAX
	maxSpecialDepth  = 32 // MAX_RESOLVE_DEPTH
)

// FindSpecial finds the fields of a map value or allocated object that programs
// reach only through helpers, in the order of their offsets (btf_parse_fields);
// nodes of lists and trees only if asked for. Errors are the kernel's: E2BIG for
// a second lock, timer or counter and for too many fields, EINVAL for a
// malformed one.
func FindSpecial(t btf.Type, nodes bool) ([]SpecialField, errno.Errno) {
	s := specialScan{seen: make(map[SpecialKind]bool), nodes: nodes}
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		if e := s.structure(t, 0, 0); e != 0 {
			return nil, e
		}
	case *btf.Datasec:
		for _, v := range t.Vars {
			vr, ok := v.Type.(*btf.Var)
			if !ok {
				continue
			}
			if e := s.field(vr.Type, vr.Tags, v.Offset, v.Size, 0); e != 0 {
				return nil, e
			}
		}
	}
	slices.SortFunc(s.found, func(a, b SpecialField) int { return cmp.Compare(a.Off, b.Off) })
	heads := s.seen[SpecialListHead] || s.seen[SpecialRBRoot]
	if heads && !s.seen[SpecialSpinLock] && !s.seen[SpecialResSpinLock] {
		return nil, errno.EINVAL
	}
	if s.seen[SpecialListNode] && s.seen[SpecialRBNode] && !s.seen[SpecialRefcount] {
		return nil, errno.EINVAL
	}
	return s.found, 0
}

// specialScan collects special fields.
type specialScan struct {
	found []SpecialField
	seen  map[SpecialKind]bool
	nodes bool // list and tree nodes are special too
	// plain are structs that had nothing special in them where they were met.
	// Types can nest the same struct again and again, so that without a note of
	// them a few hundred types take for ever.
	plain map[plainStruct]bool
}

type plainStruct struct {
	t     *btf.Struct
	depth int
}

// structure scans the members of a struct that begins at off.
func (s *specialScan) structure(t *btf.Struct, off uint32, depth int) errno.Errno {
	for _, m := range t.Members {
		if m.Offset%8 != 0 {
			continue
		}
		if e := s.field(m.Type, m.Tags, off+m.Offset.Bytes(), 0, depth); e != 0 {
			return e
		}
	}
	return 0
}

// field scans one member or variable; size, if not 0, is what the data section says of it.
func (s *specialScan) field(t btf.Type, tags []string, off, size uint32, depth int) errno.Errno {
	n := uint32(1)
	for i := 0; ; i++ {
		a, ok := t.(*btf.Array)
		if !ok {
			break
		}
		if i == maxSpecialDepth {
			return errno.E2BIG
		}
		n *= a.Nelems
		t = a.Type
	}
	if n == 0 {
		return 0
	}
	if st, ok := t.(*btf.Struct); ok {
		sp, special := specialStructs[st.Name]
		if node := sp.kind == SpecialListNode || sp.kind == SpecialRBNode; !special || node && !s.nodes {
			return s.nested(st, off, size, n, depth)
		}
		if sp.unique && (s.seen[sp.kind] || n > 1) {
			return errno.E2BIG
		}
		s.seen[sp.kind] = true
		if size != 0 && size != sp.size*n || off%sp.align != 0 {
			return 0
		}
		if st.Size != sp.size {
			return 0
		}
		f := SpecialField{Kind: sp.kind, Size: sp.size}
		if sp.kind == SpecialListHead || sp.kind == SpecialRBRoot {
			var ok bool
			if f.BTF, f.Node, ok = containsTag(tags); !ok {
				return errno.EINVAL
			}
		}
		return s.add(f, off, n)
	}
	kind, pointee, e := kptr(t)
	if e != 0 || kind == 0 {
		return e
	}
	if size != 0 && size != 8*n || off%8 != 0 {
		return 0
	}
	s.seen[kind] = true
	return s.add(SpecialField{Kind: kind, Size: 8, BTF: pointee}, off, n)
}

// nested scans a struct member, n times over if it is an array's element.
func (s *specialScan) nested(st *btf.Struct, off, size, n uint32, depth int) errno.Errno {
	if size != 0 && size != st.Size*n {
		return 0
	}
	if depth+1 >= maxSpecialDepth {
		return errno.E2BIG
	}
	key := plainStruct{st, depth}
	if s.plain[key] {
		return 0
	}
	before, kinds := len(s.found), len(s.seen)
	if e := s.structure(st, off, depth+1); e != 0 {
		return e
	}
	if len(s.found) == before && len(s.seen) == kinds {
		if s.plain == nil {
			s.plain = make(map[plainStruct]bool)
		}
		s.plain[key] = true
	}
	once := slices.Clone(s.found[before:])
	for i := uint32(1); i < n && len(once) > 0; i++ {
		for _, f := range once {
			f.Off += i * st.Size
			if e := s.add(f, f.Off, 1); e != 0 {
				return e
			}
		}
	}
	return 0
}

// add appends n fields, one after the other from off.
func (s *specialScan) add(f SpecialField, off, n uint32) errno.Errno {
	if uint64(len(s.found))+uint64(n) > maxSpecialFields {
		return errno.E2BIG
	}
	for i := range n {
		f.Off = off + i*f.Size
		s.found = append(s.found, f)
	}
	return 0
}

// kptr recognises a pointer with one of the kptr type tags (btf_find_kptr).
func kptr(t btf.Type) (SpecialKind, string, errno.Errno) {
	if v, ok := t.(*btf.Volatile); ok {
		t = v.Type
	}
	p, ok := t.(*btf.Pointer)
	if !ok {
		return 0, "", 0
	}
	tag, ok := p.Target.(*btf.TypeTag)
	if !ok {
		return 0, "", 0
	}
	if _, twice := tag.Type.(*btf.TypeTag); twice {
		return 0, "", errno.EINVAL
	}
	kind, ok := kptrTags[tag.Value]
	if !ok {
		return 0, "", errno.EINVAL
	}
	st, ok := btf.UnderlyingType(tag.Type).(*btf.Struct)
	if !ok {
		return 0, "", errno.EINVAL
	}
	return kind, st.Name, 0
}

// containsTag parses the declaration tag "contains:TYPE:MEMBER" of a list head or tree root.
func containsTag(tags []string) (typ, node string, ok bool) {
	for _, tag := range tags {
		if rest, found := strings.CutPrefix(tag, "contains:"); found {
			return strings.Cut(rest, ":")
		}
	}
	return "", "", false
}
