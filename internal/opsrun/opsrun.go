// Package opsrun calls the members of kernel structures that programs implement, with structures of the
// kernel's as arguments, as the kernel does at the places that know these structures.
package opsrun

import (
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/kstruct"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/run"
)

// maxArgs is how many arguments a member has at most (MAX_BPF_FUNC_ARGS).
const maxArgs = 12

// Object is a structure in memory that programs can be given.
type Object struct {
	kstruct.Struct
	block *mem.Block
}

// NewObject makes one, all zeroes.
func NewObject(types *btf.Spec, name string) (*Object, error) {
	var t *btf.Struct
	if types == nil || types.TypeByName(name, &t) != nil {
		return nil, fmt.Errorf("the kernel's types have no struct %s: %w", name, errno.ENOENT)
	}
	b, err := mem.Alloc(max(int(t.Size), 8))
	if err != nil {
		return nil, err
	}
	return &Object{kstruct.Struct{Type: t, Bytes: b.Bytes()[:t.Size], Addr: b.Addr()}, b}, nil
}

// Free gives its memory back.
func (o *Object) Free() { o.block.Free() }

// Field is the place of a number in structures of a type.
type Field struct {
	of    *btf.Struct
	place kstruct.Place
}

// Number looks a number up by its path.
func (o *Object) Number(path string) (Field, error) {
	p, ok := kstruct.Find(o.Type, path)
	switch {
	case !ok:
		return Field{}, fmt.Errorf("struct %s has no member %s: %w", o.Type.Name, path, errno.ENOENT)
	case !p.IsNumber():
		return Field{}, fmt.Errorf("struct %s: member %s has %d bits, a number at most 64: %w", o.Type.Name, path, p.Bits, errno.EINVAL)
	}
	return Field{o.Type, p}, nil
}

// Get reads the number.
func (f Field) Get(o *Object) uint64 { f.check(o); return f.place.Get(o.Bytes) }

// Put writes it.
func (f Field) Put(o *Object, v uint64) { f.check(o); f.place.Put(o.Bytes, v) }

func (f Field) check(o *Object) {
	if o.Type != f.of {
		panic("skep: a field of another structure")
	}
}

// Arg is an argument: a number, or with Object a pointer to it; IsNil is the pointer that is NULL.
type Arg struct {
	Num    uint64
	Object *Object
	IsNil  bool
}

// Ops is an implementation of a structure, ready to be called.
type Ops struct {
	Map     *maps.StructOps
	types   *btf.Spec
	members map[string]*member
}

// member is what calls of it need.
type member struct {
	catalog.OpsMember
	params []param
	ret    uint32 // bytes, 0: void
	signed bool   // ret is
}

// param is an argument's kind.
type param struct {
	object   *btf.Struct // what is pointed to; nil: a number
	cast     string      // the name of what object is in truth, "" if it is itself
	size     uint32      // of a number, bytes
	signed   bool
	nullable bool
}

// New reads the members of a map's structure.
func New(types *btf.Spec, m *maps.StructOps) (*Ops, error) {
	o := &Ops{Map: m, types: types, members: map[string]*member{}}
	d := m.Def().Ops
	for i := range d.Struct.Members {
		of := d.Member(types, i)
		if of == nil || !d.Row.Takes(of.Name) {
			continue
		}
		mb, err := describe(d, of)
		if err != nil {
			return nil, fmt.Errorf("member %s of struct %s: %w", of.Name, d.Row.Name, err)
		}
		o.members[of.Name] = mb
	}
	return o, nil
}

func describe(d *catalog.OpsDef, of *catalog.OpsMember) (*member, error) {
	m := &member{OpsMember: *of}
	if len(of.Proto.Params) > maxArgs {
		return nil, errno.EINVAL
	}
	for i, a := range of.Proto.Params {
		p := param{nullable: of.Nullable>>i&1 != 0}
		if ptr, ok := btf.UnderlyingType(a.Type).(*btf.Pointer); ok {
			if p.object, ok = btf.UnderlyingType(ptr.Target).(*btf.Struct); ok {
				p.cast = d.Row.Casts[p.object.Name]
			}
		}
		n, err := btf.Sizeof(a.Type)
		if err != nil || n > 8 {
			return nil, errno.EINVAL
		}
		p.size, p.signed = uint32(n), kstruct.Signed(a.Type)
		m.params = append(m.params, p)
	}
	if _, void := btf.UnderlyingType(of.Proto.Return).(*btf.Void); !void {
		n, err := btf.Sizeof(of.Proto.Return)
		if err != nil || n > 8 {
			return nil, errno.EINVAL
		}
		m.ret, m.signed = uint32(n), kstruct.Signed(of.Proto.Return)
	}
	return m, nil
}

// Has reports whether a program implements the member.
func (o *Ops) Has(name string) bool { return o.Map.Prog(name) != nil }

// Call calls a member on a vCPU that the caller holds. The result is what the member's type makes of R0:
// extended by its sign, or with zeroes.
func (o *Ops) Call(c *run.CPU, name string, args []Arg) (uint64, error) {
	m := o.members[name]
	if m == nil {
		return 0, fmt.Errorf("struct %s has no member %s that programs implement: %w", o.Map.Def().Ops.Row.Name, name, errno.ENOENT)
	}
	prog, ok := o.Map.Take(name).(*run.Program)
	if !ok {
		return 0, fmt.Errorf("member %s: no program implements it: %w", name, errno.ENOENT)
	}
	defer prog.Close()
	if len(args) != len(m.params) {
		return 0, fmt.Errorf("member %s has %d arguments, not %d: %w", name, len(m.params), len(args), errno.EINVAL)
	}
	if m.Owned != 0 {
		return 0, fmt.Errorf("member %s takes references over, which are not served: %w", name, errno.EOPNOTSUPP)
	}
	ctx, err := c.Context()
	if err != nil {
		return 0, err
	}
	for i := range args {
		v, err := m.params[i].word(&args[i])
		if err != nil {
			return 0, fmt.Errorf("member %s, argument %d: %w", name, i, err)
		}
		mem.Store64(ctx+8*uint64(i), v)
	}
	r0, err := c.Run(prog, ctx, nil)
	if err != nil {
		return 0, err
	}
	return extend(r0, m.ret, m.signed), nil
}

// word is what a program finds of an argument.
func (p *param) word(a *Arg) (uint64, error) {
	switch {
	case p.object == nil && a.Object == nil && !a.IsNil:
		// A callee may rely on 32 bits of what is shorter.
		return extend(extend(a.Num, p.size, p.signed), max(p.size, 4), false), nil
	case p.object == nil:
		return 0, fmt.Errorf("it is a number: %w", errno.EINVAL)
	case a.IsNil && !p.nullable:
		return 0, fmt.Errorf("a pointer to struct %s, which cannot be nil: %w", p.object.Name, errno.EINVAL)
	case a.IsNil:
		return 0, nil
	case a.Object == nil:
		return 0, fmt.Errorf("a number for a pointer to struct %s: %w", p.object.Name, errno.EINVAL)
	}
	want := p.object.Name
	if p.cast != "" { // programs take it for that one
		want = p.cast
	}
	if !begins(a.Object.Type, want) {
		return 0, fmt.Errorf("a struct %s for a pointer to struct %s: %w", a.Object.Type.Name, want, errno.EINVAL)
	}
	return a.Object.Addr, nil
}

// begins reports whether a structure is of a name, or begins with one that is.
func begins(t btf.Type, name string) bool {
	s, ok := btf.UnderlyingType(t).(*btf.Struct)
	if !ok {
		return false
	}
	if s.Name == name {
		return true
	}
	return len(s.Members) > 0 && s.Members[0].Offset == 0 && begins(s.Members[0].Type, name)
}

// extend makes 64 bits of size bytes.
func extend(v uint64, size uint32, signed bool) uint64 {
	shift := 64 - 8*min(size, 8)
	if signed {
		return uint64(int64(v<<shift) >> shift)
	}
	return v << shift >> shift
}
