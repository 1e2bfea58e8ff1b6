package opsrun

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/kstruct"
)

// Arguments are what a caller in C passes in a register: numbers cut to their type and extended to 32 bits at least, pointers
// to structures of the right kind, NULL where the kernel's function says it may be.
func TestArguments(t *testing.T) {
	num := func(size uint32, enc btf.IntEncoding) btf.Type { return &btf.Int{Name: "n", Size: size, Encoding: enc} }
	sock := &btf.Struct{Name: "sock", Size: 8}
	inet := &btf.Struct{Name: "inet_sock", Size: 16, Members: []btf.Member{{Name: "sk", Type: sock}}}
	tcp := &btf.Struct{Name: "tcp_sock", Size: 24, Members: []btf.Member{{Name: "inet", Type: inet}}}
	other := &btf.Struct{Name: "other", Size: 24, Members: []btf.Member{{Name: "at", Type: sock, Offset: 64}}}
	d := &catalog.OpsDef{Row: &catalog.StructOps{Name: "ops", Casts: map[string]string{"sock": "inet_sock"}}}
	of := &catalog.OpsMember{Name: "f", OpsArgs: catalog.OpsArgs{Nullable: 1 << 1}, Proto: &btf.FuncProto{
		Return: &btf.Typedef{Name: "s16", Type: num(2, btf.Signed)},
		Params: []btf.FuncParam{
			{Type: &btf.Pointer{Target: sock}}, {Type: &btf.Pointer{Target: &btf.Const{Type: tcp}}},
			{Type: num(1, btf.Signed)}, {Type: num(2, btf.Unsigned)}, {Type: num(4, btf.Signed)}, {Type: num(8, btf.Signed)},
			{Type: &btf.Pointer{Target: &btf.Void{}}},
		},
	}}
	m, err := describe(d, of)
	if err != nil {
		t.Fatal(err)
	}
	object := func(s *btf.Struct) *Object { return &Object{Struct: kstruct.Struct{Type: s, Addr: 0x1000}} }
	for _, c := range []struct {
		arg  int
		in   Arg
		want uint64
		ok   bool
	}{
		{0, Arg{Object: object(tcp)}, 0x1000, true},
		{0, Arg{Object: object(inet)}, 0x1000, true},
		{0, Arg{Object: object(sock)}, 0, false}, // programs take it for an inet_sock
		{0, Arg{Object: object(other)}, 0, false},
		{0, Arg{IsNil: true}, 0, false},
		{0, Arg{Num: 1}, 0, false},
		{1, Arg{Object: object(tcp)}, 0x1000, true},
		{1, Arg{Object: object(inet)}, 0, false},
		{1, Arg{IsNil: true}, 0, true},
		{2, Arg{Num: ^uint64(0)}, 0xffffffff, true},
		{2, Arg{Num: 0x17f}, 0x7f, true},
		{3, Arg{Num: ^uint64(0)}, 0xffff, true},
		{4, Arg{Num: ^uint64(0)}, 0xffffffff, true},
		{5, Arg{Num: ^uint64(0)}, ^uint64(0), true},
		{5, Arg{IsNil: true}, 0, false},
		{2, Arg{Object: object(sock)}, 0, false},
		{6, Arg{Num: 0x1234}, 0x1234, true},
	} {
		got, err := m.params[c.arg].word(&c.in)
		if got != c.want || (err == nil) != c.ok || err != nil && !errors.Is(err, errno.EINVAL) {
			t.Errorf("argument %d of %+v: %#x, %v; want %#x, %v", c.arg, c.in, got, err, c.want, c.ok)
		}
	}
	if got := extend(0x1ffff, m.ret, m.signed); got != ^uint64(0) {
		t.Errorf("the result of R0 = 0x1ffff is %#x, want -1", got)
	}
	if got := extend(5, 0, false); got != 0 {
		t.Errorf("the result of a member without one is %d", got)
	}
	of.Proto.Params = make([]btf.FuncParam, maxArgs+1)
	if _, err := describe(d, of); err == nil {
		t.Error("13 arguments were taken")
	}
}

func TestNumbersOfObjects(t *testing.T) {
	u32 := &btf.Int{Name: "u32", Size: 4}
	s := &btf.Struct{Name: "s", Size: 20, Members: []btf.Member{
		{Name: "a", Type: u32}, {Name: "b", Type: &btf.Array{Type: u32, Index: u32, Nelems: 4}, Offset: 32},
	}}
	b, err := btf.NewBuilder([]btf.Type{s}, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := b.Spec()
	if err != nil {
		t.Fatal(err)
	}
	o, err := NewObject(spec, "s")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Free()
	f, err := o.Number("a")
	if err != nil {
		t.Fatal(err)
	}
	if f.Put(o, 7); f.Get(o) != 7 || o.Bytes[0]+o.Bytes[3] != 7 {
		t.Errorf("a is %d in %x", f.Get(o), o.Bytes)
	}
	for path, want := range map[string]errno.Errno{"b": errno.EINVAL, "c": errno.ENOENT, "": errno.ENOENT} {
		if _, err := o.Number(path); !errors.Is(err, want) {
			t.Errorf("%q: %v; want %v", path, err, want)
		}
	}
	for _, spec := range []*btf.Spec{spec, nil} {
		if _, err := NewObject(spec, "t"); !errors.Is(err, errno.ENOENT) {
			t.Errorf("a struct that is not there: %v", err)
		}
	}
}
