package image

import (
	"sort"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
)

// structOpsValue is the variable behind a struct_ops map: its extent in its section.
type structOpsValue struct {
	sec       *section
	m         *Map
	off, size uint64
}

// addStructOps makes a map of each variable in the struct_ops sections
// (libbpf: init_struct_ops_maps). The value type is the object's own view of
// the kernel's struct; whoever registers it translates members by name.
func (o *object) addStructOps(t *mapTable, types *objectTypes) error {
	for _, sec := range o.sections {
		if !isStructOpsSection(sec.Name) {
			continue
		}
		data, err := o.content(sec)
		if err != nil {
			return err
		}
		if types == nil {
			return at(sec.Name, "", ErrBadMap, "struct_ops are defined by BTF, and there is none: compile with -g")
		}
		ds := typeNamed[*btf.Datasec](types.spec, sec.Name)
		if ds == nil {
			return at(sec.Name, "", ErrBadMap, "no BTF data section of that name")
		}
		for _, vsi := range ds.Vars {
			v, ok := vsi.Type.(*btf.Var)
			if !ok {
				return at(sec.Name, "", ErrBadMap, "%v is no variable", vsi.Type)
			}
			typ, ok := btf.UnderlyingType(v.Type).(*btf.Struct)
			if !ok || typ.Name == "" {
				return at(sec.Name, v.Name, ErrBadMap, "%v is no named struct", v.Type)
			}
			off, size := uint64(vsi.Offset), uint64(typ.Size)
			if off+size > uint64(len(data)) {
				return at(sec.Name, v.Name, ErrBadMap, "value ends beyond its section")
			}
			m := &Map{
				Name: v.Name, Kind: KindStructOps, Type: catalog.MapStructOps,
				KeySize: 4, ValueSize: typ.Size, MaxEntries: 1,
				Value: typ, ValueID: idOf(types.spec, typ),
				Data: data[off : off+size], StructOps: &StructOps{Type: typ},
			}
			if strings.HasSuffix(sec.Name, ".link") {
				m.Flags = catalog.FlagLink
			}
			m.Optional = sec.Name[0] == '?'
			t.add(m)
			t.structOps = append(t.structOps, structOpsValue{sec, m, off, size})
		}
	}
	return nil
}

// linkStructOps ties function pointers to programs by the relocations of the
// struct_ops sections (libbpf: bpf_object__collect_st_ops_relos).
func (l *linker) linkStructOps(programs map[*function]*Program) error {
	for _, sec := range l.obj.sections {
		if !isStructOpsSection(sec.Name) {
			continue
		}
		for _, r := range sec.relocs {
			s := l.maps.structOpsAt(sec, r.Off)
			sym := &l.obj.symbols[r.Sym]
			if s == nil {
				return at(sec.Name, sym.label(), ErrBadReloc, "byte %d lies in no variable", r.Off)
			}
			if err := l.linkOp(s, uint32(r.Off-s.off), sym, programs); err != nil {
				return err
			}
		}
	}
	return nil
}

// structOpsAt returns the value that has byte off of a section, or nil. Values
// are in the order of sections and offsets.
func (t *mapTable) structOpsAt(sec *section, off uint64) *structOpsValue {
	i := sort.Search(len(t.structOps), func(i int) bool {
		s := &t.structOps[i]
		return s.sec.idx > sec.idx || s.sec.idx == sec.idx && s.off > off
	}) - 1
	if i < 0 {
		return nil
	}
	if s := &t.structOps[i]; s.sec == sec && off-s.off < s.size {
		return s
	}
	return nil
}

func (l *linker) linkOp(s *structOpsValue, off uint32, sym *symbol, programs map[*function]*Program) error {
	var member *btf.Member
	for i := range s.m.StructOps.Type.Members {
		if m := &s.m.StructOps.Type.Members[i]; m.Offset.Bytes() == off {
			member = m
		}
	}
	if member == nil || !catalog.IsFunc(member.Type) {
		return at(s.sec.Name, s.m.Name, ErrBadReloc, "no function pointer at byte %d", off)
	}
	var prog *Program
	if sym.sec != nil && sym.Value%8 == 0 {
		prog = programs[l.code.at(sym.sec, int(sym.Value/8))]
	}
	if prog == nil {
		return at(s.sec.Name, s.m.Name, ErrBadReloc, "member %s: %q is no program", member.Name, sym.label())
	}
	if prog.Type != catalog.ProgStructOps {
		return at(s.sec.Name, s.m.Name, ErrBadReloc, "member %s: program %s is not of type struct_ops", member.Name, prog.Name)
	}
	to := s.m.StructOps.Name() + ":" + member.Name
	if prog.AttachTo != "" && prog.AttachTo != to {
		return at(s.sec.Name, s.m.Name, ErrBadReloc, "member %s: program %s already implements %s", member.Name, prog.Name, prog.AttachTo)
	}
	prog.AttachTo = to
	s.m.StructOps.Members = append(s.m.StructOps.Members, StructOpsMember{member.Name, off, prog})
	return nil
}
