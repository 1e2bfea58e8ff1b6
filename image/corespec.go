package image

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// maxCoreSpec bounds how deep a path may lead (BPF_CORE_SPEC_MAX_LEN).
const maxCoreSpec = 64

// coreSpec is a path into a type, on the local or the target side:
//
//	"0:1:0:5"  of  struct s { int a; struct { int b[10]; }; }   is   s[0].b[5]
//	 │ │ │ └ element 5          │ │                │
//	 │ │ └ member 0 ────────────┼─┼────────────────┘
//	 │ └ member 1, anonymous ───┼─┘
//	 └ element 0 of a pointer taken as array
type coreSpec struct {
	root      btf.Type
	isTarget  bool
	kind      coreKind
	path      []coreStep // anonymous members left out
	steps     int        // of the path, anonymous members counted
	bits      uint64     // offset of what the path leads to
	enumName  string     // of an enum value
	enumValue uint64
}

// coreStep is one step of a path: a named member, or an array element.
type coreStep struct {
	typ    btf.Type // the struct or union of a member; the element's type of an array
	idx    int
	member *btf.Member // nil for array elements
}

// parseCoreSpec follows a relocation's path through the local type
// (libbpf: bpf_core_parse_spec).
func parseCoreSpec(root btf.Type, rec coreRec) (*coreSpec, error) {
	var idx []int
	for part := range strings.SplitSeq(rec.access, ":") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || len(idx) == maxCoreSpec {
			return nil, fmt.Errorf("%w: path %q", ErrBadBTF, rec.access)
		}
		idx = append(idx, int(n))
	}
	s := &coreSpec{root: root, kind: rec.kind}
	bad := func() error { return fmt.Errorf("%w: path %q leads out of %v", ErrBadBTF, rec.access, root) }
	cur := btf.UnderlyingType(root)
	switch {
	case rec.kind.isEnumval():
		e, ok := cur.(*btf.Enum)
		if !ok || len(idx) != 1 || idx[0] >= len(e.Values) {
			return nil, bad()
		}
		s.enumName, s.enumValue = e.Values[idx[0]].Name, e.Values[idx[0]].Value
		return s, nil
	case !rec.kind.isField():
		if len(idx) != 1 || idx[0] != 0 {
			return nil, bad()
		}
		return s, nil
	}
	if err := s.stepInto(cur, idx[0]); err != nil {
		return nil, err
	}
	for _, i := range idx[1:] {
		if members := membersOf(cur); members != nil {
			if i >= len(members) {
				return nil, bad()
			}
			m := &members[i]
			s.bits += uint64(m.Offset)
			if m.Name != "" {
				s.path = append(s.path, coreStep{cur, i, m})
			}
			cur = btf.UnderlyingType(m.Type)
			continue
		}
		arr, ok := cur.(*btf.Array)
		if !ok || !s.hasElement(arr, i) {
			return nil, bad()
		}
		cur = btf.UnderlyingType(arr.Type)
		if err := s.stepInto(cur, i); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// stepInto adds a step to element i of an array of elem.
func (s *coreSpec) stepInto(elem btf.Type, i int) error {
	size, err := sizeOf(elem)
	if err != nil {
		return err
	}
	s.bits += uint64(i) * size * 8
	s.steps++
	s.path = append(s.path, coreStep{typ: elem, idx: i})
	return nil
}

// hasElement reports whether an array the path has just led to has element i;
// a flexible array, the last member of its struct, has any.
func (s *coreSpec) hasElement(arr *btf.Array, i int) bool {
	if arr.Nelems > 0 {
		return uint64(i) < uint64(arr.Nelems)
	}
	last := s.path[len(s.path)-1]
	return last.member != nil && last.idx == len(membersOf(last.typ))-1
}

// membersOf returns the members of a struct or union, nil for other types.
func membersOf(t btf.Type) []btf.Member {
	switch t := t.(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}

// match follows s's path through a type of the target by the names on it
// (libbpf: bpf_core_spec_match). The second result is false where it leads nowhere.
func (s *coreSpec) match(root btf.Type) (*coreSpec, bool, error) {
	t := &coreSpec{root: root, isTarget: true, kind: s.kind}
	switch {
	case s.kind == coreTypeMatches:
		return t, typesMatch(s.root, root, false, 32), nil
	case s.kind.isEnumval():
		e, ok := btf.UnderlyingType(root).(*btf.Enum)
		if !ok {
			return nil, false, nil
		}
		for _, v := range e.Values {
			if essentialName(v.Name) == essentialName(s.enumName) {
				t.enumValue = v.Value
				return t, true, nil
			}
		}
		return nil, false, nil
	case !s.kind.isField():
		return t, btf.CheckTypeCompatibility(s.root, root) == nil, nil
	}
	cur := btf.UnderlyingType(root)
	for i, step := range s.path {
		if step.member != nil {
			m, err := t.findMember(cur, step.member.Name)
			if err != nil || m == nil || !fieldsCompatible(step.member.Type, m.Type) {
				return nil, false, err
			}
			cur = btf.UnderlyingType(m.Type)
			continue
		}
		if i > 0 {
			arr, ok := cur.(*btf.Array)
			if !ok || !t.hasElement(arr, step.idx) {
				return nil, false, nil
			}
			cur = btf.UnderlyingType(arr.Type)
		}
		if err := t.stepInto(cur, step.idx); err != nil {
			return nil, false, err
		}
	}
	return t, true, nil
}

// findMember steps to the member of that name, which may lie in anonymous
// structs and unions; nil if there is none.
func (s *coreSpec) findMember(t btf.Type, name string) (*btf.Member, error) {
	members := membersOf(t)
	for i := range members {
		m := &members[i]
		if s.steps == maxCoreSpec {
			return nil, fmt.Errorf("%w: the target's types nest too deep", ErrNotSupported)
		}
		s.steps++
		s.bits += uint64(m.Offset)
		if m.Name == name {
			s.path = append(s.path, coreStep{t, i, m})
			return m, nil
		}
		if m.Name == "" {
			if found, err := s.findMember(btf.UnderlyingType(m.Type), name); found != nil || err != nil {
				return found, err
			}
		}
		s.bits -= uint64(m.Offset)
		s.steps--
	}
	return nil, nil
}

// fieldValue calculates a field relocation on this side
// (libbpf: bpf_core_calc_field_relo).
func (s *coreSpec) fieldValue(kind coreKind, order binary.ByteOrder) (coreValue, error) {
	last := s.path[len(s.path)-1]
	if last.member == nil {
		size, err := sizeOf(last.typ)
		if err != nil {
			return coreValue{}, err
		}
		switch kind {
		case coreByteOffset:
			return coreValue{n: s.bits / 8, size: uint32(size), typ: last.typ}, nil
		case coreByteSize:
			return coreValue{n: size}, nil
		}
		return coreValue{}, fmt.Errorf("%w: of an array element", ErrBadReloc)
	}
	field := btf.UnderlyingType(last.member.Type)
	size, err := sizeOf(field)
	if err != nil {
		return coreValue{}, err
	}
	off, width := s.bits/8, uint64(last.member.BitfieldSize)
	isBitfield := width > 0
	if isBitfield {
		if off, size, err = bitfieldUnit(s.bits, width, size); err != nil {
			return coreValue{}, err
		}
	} else {
		width = size * 8
	}
	// The compiler may have chosen another unit to load a bit field by.
	v := coreValue{unchecked: isBitfield}
	switch kind {
	case coreByteOffset:
		v.n = off
		if !isBitfield {
			v.size, v.typ = uint32(size), field
		}
	case coreByteSize:
		v.n = size
	case coreSigned:
		v = coreValue{}
		if isSigned(field) {
			v.n = 1
		}
	case coreLShift:
		if order == binary.ByteOrder(binary.LittleEndian) {
			v.n = 64 - (s.bits + width - off*8)
		} else {
			v.n = (8-size)*8 + s.bits - off*8
		}
	case coreRShift:
		v = coreValue{n: 64 - width}
	}
	return v, nil
}

// bitfieldUnit returns offset and size, in bytes, of the smallest aligned unit
// that holds a bit field, at least as large as its type.
func bitfieldUnit(bits, width, size uint64) (off, unit uint64, err error) {
	for unit = max(size, 1); ; unit *= 2 {
		off = bits / 8 / unit * unit
		if bits+width-off*8 <= unit*8 {
			return off, unit, nil
		}
		if unit >= 8 {
			return 0, 0, fmt.Errorf("%w: bit field does not fit a 64-bit load", ErrNotSupported)
		}
	}
}

func isSigned(t btf.Type) bool {
	switch t := t.(type) {
	case *btf.Int:
		return t.Encoding == btf.Signed
	case *btf.Enum:
		return t.Signed
	}
	return false
}
