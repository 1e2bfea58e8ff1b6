package verifier_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
)

// A case with settings like
//
//	struct node: key u64, rb bpf_rb_node, ref bpf_refcount
//	struct root: lock bpf_spin_lock, tree bpf_rb_root contains:node:rb, own kptr:node, task kptr:task_struct
//	map m: array 4 struct:root 1
//
// has BTF with these types, which its maps' values and its functions belong to.
// In the code $node stands for the type's id.

var u64 = &btf.Int{Name: "unsigned long", Size: 8}

// opaque are the sizes of the structs that make a field special, in bytes.
var opaque = map[string]uint32{
	"bpf_spin_lock": 4, "bpf_res_spin_lock": 4, "bpf_refcount": 4, "bpf_timer": 16, "bpf_wq": 16,
	"bpf_task_work": 8, "bpf_list_head": 16, "bpf_list_node": 24, "bpf_rb_root": 16, "bpf_rb_node": 32,
}

// caseStructs are the types a case declares, first by name only.
type caseStructs struct {
	byName map[string]*btf.Struct
	opaque map[string]*btf.Struct // once each: the kernel knows them by their id
	order  []string
	text   []string
}

func (s *caseStructs) declare(name, members string) {
	if s.byName == nil {
		s.byName = map[string]*btf.Struct{}
	}
	s.byName[name] = &btf.Struct{Name: name}
	s.order, s.text = append(s.order, name), append(s.text, members)
}

// define lays the structs out: members one after the other, aligned to 4 or 8 bytes.
func (s *caseStructs) define(t testing.TB) {
	for i, name := range s.order {
		st := s.byName[name]
		align := uint32(4)
		for _, m := range strings.Split(s.text[i], ",") {
			w := strings.Fields(m)
			if len(w) < 2 {
				t.Fatalf("bad member %q of struct %s", m, name)
			}
			typ, size := s.memberType(t, w[1])
			a := min(size, 8)
			align = max(align, a)
			st.Size = (st.Size + a - 1) &^ (a - 1)
			st.Members = append(st.Members, btf.Member{Name: w[0], Type: typ, Offset: btf.Bits(st.Size * 8), Tags: w[2:]})
			st.Size += size
		}
		st.Size = (st.Size + align - 1) &^ (align - 1)
	}
}

func (s *caseStructs) memberType(t testing.TB, word string) (btf.Type, uint32) {
	if st := s.opaque[word]; st != nil {
		return st, st.Size
	}
	if size := opaque[word]; size != 0 {
		elem := btf.Type(u32)
		if size >= 8 {
			elem = u64
		}
		n, _ := btf.Sizeof(elem)
		if s.opaque == nil {
			s.opaque = map[string]*btf.Struct{}
		}
		s.opaque[word] = &btf.Struct{Name: word, Size: size, Members: []btf.Member{
			{Name: "__opaque", Type: &btf.Array{Type: elem, Index: u32, Nelems: size / uint32(n)}}}}
		return s.opaque[word], size
	}
	if tag, target, ok := strings.Cut(word, ":"); ok {
		st := s.byName[target]
		if st == nil {
			st = &btf.Struct{Name: target, Size: 4, Members: []btf.Member{{Name: "x", Type: u32}}}
		}
		return &btf.Pointer{Target: &btf.TypeTag{Value: tag, Type: st}}, 8
	}
	switch word {
	case "u64":
		return u64, 8
	case "u32":
		return u32, 4
	}
	t.Fatalf("unknown type %q", word)
	return nil, 0
}

// withTypes gives a case that declares structs BTF with them and its functions.
func (c *testCase) withTypes(t testing.TB) {
	if len(c.structs.order) == 0 {
		return
	}
	c.structs.define(t)
	b, err := btf.NewBuilder(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	add := func(typ btf.Type) {
		if _, err := b.Add(typ); err != nil {
			t.Fatal(err)
		}
	}
	add(u32)
	for _, name := range c.structs.order {
		add(c.structs.byName[name])
	}
	for _, fn := range c.funcs {
		add(fn)
	}
	if c.btf, err = b.Marshal(nil, btf.KernelMarshalOptions()); err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(c.btf))
	if err != nil {
		t.Fatal(err)
	}
	c.prog.BTF = spec
	for _, name := range c.structs.order {
		st := c.structs.byName[name]
		if err := spec.TypeByName(name, &st); err != nil {
			t.Fatal(err)
		}
		id, _ := spec.TypeID(st)
		c.text = strings.ReplaceAll(c.text, "$"+name, fmt.Sprint(id))
		for _, m := range c.maps {
			if v, ok := m.Value.(*btf.Struct); ok && v.Name == name {
				m.Key, m.Value, m.ValueSize = c.structs.key(t, spec), st, st.Size
				m.Special, _ = catalog.FindSpecial(st, false)
			}
		}
	}
	for i, fn := range c.funcs {
		if err := spec.TypeByName(fn.Name, &fn); err != nil {
			t.Fatal(err)
		}
		c.funcs[i] = fn
	}
}

func (*caseStructs) key(t testing.TB, spec *btf.Spec) btf.Type {
	var k *btf.Int
	if err := spec.TypeByName(u32.Name, &k); err != nil {
		t.Fatal(err)
	}
	return k
}

// loadTypes gives the kernel a case's BTF, with what says where its functions are.
func (c *testCase) loadTypes(t testing.TB, p *linux.Prog) {
	obj, err := linux.LoadBTF(c.btf)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { obj.Close() })
	p.BTF = obj
	for _, fn := range c.prog.Funcs {
		id, err := c.prog.BTF.TypeID(fn.Func)
		if err != nil {
			t.Fatal(err)
		}
		p.FuncInfo = binary.LittleEndian.AppendUint32(p.FuncInfo, uint32(fn.Slot))
		p.FuncInfo = binary.LittleEndian.AppendUint32(p.FuncInfo, uint32(id))
	}
}

// mapOptions are a map's key and value among the case's types.
func (c *testCase) mapOptions(p *linux.Prog, def *catalog.MapDef) *linux.MapOptions {
	if c.btf == nil || def.Value == nil {
		return nil
	}
	key, _ := c.prog.BTF.TypeID(def.Key)
	value, err := c.prog.BTF.TypeID(def.Value)
	if err != nil {
		return nil
	}
	return &linux.MapOptions{BTF: p.BTF, KeyID: key, ValueID: value}
}
