package skep

import (
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/loadprog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/opsrun"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/verifier"
)

// structure gives a struct_ops map of the image the kernel's type.
func (l *loader) structure(im *image.Map, def *catalog.MapDef) error {
	if im.StructOps == nil {
		return fmt.Errorf("struct_ops are made of the variables in .struct_ops sections: %w", ErrNotSupported)
	}
	name := im.StructOps.Name()
	ops := catalog.OpsNamed(l.m.kernelBTF(), name)
	if ops == nil {
		return fmt.Errorf("the machine's kernel types have no struct %s that programs can implement: %w", name, ErrNotSupported)
	}
	def.Ops, def.ValueSize, def.Key, def.Value = ops, ops.Value.Size, nil, nil
	return nil
}

// implements reports whether struct_ops maps of the image point to the program, and whether one of them was made.
func (l *loader) implements(ip *image.Program) (used, made bool) {
	for i, im := range l.img.Maps {
		if im.StructOps == nil {
			continue
		}
		for _, op := range im.StructOps.Members {
			if op.Prog == ip {
				used = true
				made = made || l.maps[i] != nil
			}
		}
	}
	return used, made
}

// member says which member of a kernel structure a program is loaded for.
func (l *loader) member(vp *verifier.Program, about *run.About) {
	if vp.Type != catalog.ProgStructOps {
		return
	}
	name, member, _ := strings.Cut(vp.AttachTo, ":")
	ops := catalog.OpsNamed(vp.KernelBTF, name)
	if ops == nil {
		return // the verifier says so
	}
	for i := range ops.Struct.Members {
		if ops.Struct.Members[i].Name == member {
			vp.Attach, about.AttachBTFType = AttachType(i), uint32(ops.StructID)
		}
	}
}

// implement sets the value of a struct_ops map that links register; others are registered by being set. It stays
// unset where a program is not there that the caller did not want, or that was refused.
func (l *loader) implement(im *image.Map) error {
	mp := l.coll.Maps[im.Name]
	if mp == nil || l.opts.Maps[im.Name] != nil {
		return nil
	}
	for _, op := range im.StructOps.Members {
		if l.coll.Programs[op.Prog.Name] == nil {
			return nil
		}
	}
	value, err := loadprog.OpsValue(im, mp.m.Def().Ops, func(p *image.Program) (uint64, error) {
		return uint64(l.coll.Programs[p.Name].ID()), nil
	})
	if err != nil {
		return err
	}
	if im.Flags&catalog.FlagLink == 0 {
		mp.initial = value
		return nil
	}
	mp.unset = setOps(mp.m, value) // which is for them to know who register it, as with libbpf
	return nil
}

func setOps(m maps.Map, value []byte) error {
	err := m.Update(make([]byte, 4), value, catalog.UpdateAny)
	if err != nil {
		return fmt.Errorf("registering the members that programs implement: %w", err)
	}
	return nil
}

// Ops is an implementation of a kernel structure of functions: a struct_ops map, whose programs are the
// structure's members. It is safe for concurrent use.
type Ops struct {
	m    *Map
	raw  *maps.StructOps
	ops  *opsrun.Ops
	once sync.Once
	err  error
}

// Ops returns the implementation that a struct_ops map is. It is valid as long as the map is open.
func (m *Map) Ops() (*Ops, error) {
	raw, ok := maps.Unwrap(m.m).(*maps.StructOps)
	if !ok {
		return nil, fmt.Errorf("map %s is of type %s, not struct_ops", m.Name(), m.Type())
	}
	return &Ops{m: m, raw: raw}, nil
}

// Structure is the name of the kernel's structure: tcp_congestion_ops.
func (s *Ops) Structure() string { return s.raw.Def().Ops.Row.Name }

// Name is what the implementation is registered as, where structures of its kind have a name; "" before it is set.
func (s *Ops) Name() string { return s.raw.Name() }

// Members are the names of the members that programs implement, in the structure's order.
func (s *Ops) Members() []string { return s.raw.Members() }

// Arguments is how many arguments a member has; 0: the structure has none of that name.
func (s *Ops) Arguments(member string) int {
	for _, f := range s.raw.Def().Ops.Struct.Members {
		if proto := catalog.FuncOf(f.Type); proto != nil && f.Name == member {
			return len(proto.Params)
		}
	}
	return 0
}

// OpsLink keeps an implementation registered.
type OpsLink struct {
	mu  sync.Mutex
	m   *Map            // registered by itself, until it is nil
	raw *maps.StructOps // registered by the link, until it is nil
}

// Attach registers the implementation with the machine, as the kernel does: one of a map in .struct_ops.link as long as
// the link is not closed, at most one at a time of a name (EEXIST); one of a map in .struct_ops once and for all, which is then taken away by
// closing the link. Which members there have to be depends on the structure (EINVAL).
func (s *Ops) Attach() (*OpsLink, error) {
	if err := s.m.open(); err != nil {
		return nil, err
	}
	if s.raw.Def().Flags&catalog.FlagLink == 0 {
		if s.m.initial == nil {
			return nil, s.unset()
		}
		if err := setOps(s.m.m, s.m.initial); err != nil {
			return nil, s.wrap(err)
		}
		return &OpsLink{m: s.m.Clone()}, nil
	}
	if !s.raw.Ready() {
		return nil, s.unset()
	}
	if e := s.raw.Register(nil); e != 0 {
		return nil, s.wrap(e)
	}
	s.raw.Acquire()
	return &OpsLink{raw: s.raw}, nil
}

// unset says why the value is not set.
func (s *Ops) unset() error {
	if s.m.unset != nil {
		return s.wrap(s.m.unset)
	}
	return s.wrap(fmt.Errorf("not all its programs were loaded: %w", errno.EINVAL))
}

func (s *Ops) wrap(err error) error {
	return fmt.Errorf("struct_ops %s: %w", s.m.Name(), err)
}

// Update registers another implementation of the same structure and name in place of the link's (BPF_LINK_UPDATE).
func (l *OpsLink) Update(s *Ops) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.m != nil:
		return s.wrap(fmt.Errorf("one of section .struct_ops cannot be replaced: %w", errno.EINVAL))
	case l.raw == nil:
		return s.wrap(ErrClosed)
	case !s.raw.Ready():
		return s.unset()
	}
	if e := s.raw.Register(l.raw); e != 0 {
		return s.wrap(e)
	}
	s.raw.Acquire()
	l.raw.Close()
	l.raw = s.raw
	return nil
}

// Close ends the registration.
func (l *OpsLink) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.raw != nil {
		l.raw.Unregister()
		l.raw.Close()
		l.raw = nil
	}
	if l.m != nil {
		err := l.m.m.Delete(make([]byte, 4))
		l.m.Close()
		l.m = nil
		return err
	}
	return nil
}

// KernelStruct is a structure of the kernel in memory that programs can be given, laid out as the machine's kernel types
// say, all zeroes at first. Programs and its owner must not write to it at once.
type KernelStruct struct {
	o     *opsrun.Object
	m     *run.Machine
	bound bool
}

// Registered are the names of the implementations of a structure that are registered, in order.
func (m *Machine) Registered(structure string) (names []string) {
	for _, o := range m.m.Ops.Registered(structure) {
		names = append(names, o.Name())
	}
	return names
}

// NewKernelStruct makes a structure by its name: tcp_sock.
func (m *Machine) NewKernelStruct(name string) (*KernelStruct, error) {
	o, err := opsrun.NewObject(m.kernelBTF(), name)
	if err != nil {
		return nil, fmt.Errorf("skep: new struct %s: %w", name, err)
	}
	return &KernelStruct{o: o, m: m.m}, nil
}

// Close frees the structure. No program may be using it.
func (s *KernelStruct) Close() error {
	if s.o != nil {
		s.unbind()
		s.o.Free()
		s.o = nil
	}
	return nil
}

// Bind makes a tcp_sock that of a socket, which is open as long: what helpers do with the structure they do with the socket.
// bpf_setsockopt and bpf_getsockopt set and read its options, of which the structure's members show
// what the kernel's show; bpf_sk_storage_get finds its storages; acknowledgments of bpf_tcp_send_ack are told to sent, unless it is
// nil. A nil socket: the structure is nobody's again.
func (s *KernelStruct) Bind(sk *Socket, sent func(rcvNxt uint32)) error {
	if s.o == nil {
		return fmt.Errorf("skep: bind: %w", ErrClosed)
	}
	if name := s.o.Type.Name; name != "tcp_sock" {
		return fmt.Errorf("skep: bind: a struct %s is no tcp_sock", name)
	}
	s.unbind()
	if sk != nil {
		if sk.TCPInfo() == nil {
			return fmt.Errorf("skep: bind: the socket is not of TCP: %w", errno.EINVAL)
		}
		s.m.SetKernelSock(s.o.Addr, opsrun.NewSock(s.o, sk, sent))
		s.bound = true
	}
	return nil
}

func (s *KernelStruct) unbind() {
	if s.bound {
		s.m.SetKernelSock(s.o.Addr, nil)
		s.bound = false
	}
}

// Bytes returns the memory of a member by its path, "inet_conn.icsk_ca_priv", as programs see it; nil: there is none,
// or it is a bit field. The whole structure is "".
func (s *KernelStruct) Bytes(path string) []byte {
	if path == "" {
		return s.o.Bytes
	}
	return s.o.Field(path)
}

// KernelField is a number in structures of one kind: it is looked up once, and then read and set fast.
type KernelField struct{ at opsrun.Field }

// Field looks up a number of at most 64 bits by its path, bit fields too.
func (s *KernelStruct) Field(path string) (KernelField, error) {
	f, err := s.o.Number(path)
	return KernelField{f}, err
}

// Get reads the number from a structure, sign-extended where its type has a sign; Put writes its low bits.
func (f KernelField) Get(s *KernelStruct) uint64 { return f.at.Get(s.o) }

// Put is described with Get.
func (f KernelField) Put(s *KernelStruct, v uint64) { f.at.Put(s.o, v) }

// Get reads a number by its path.
func (s *KernelStruct) Get(path string) (uint64, error) {
	f, err := s.Field(path)
	if err != nil {
		return 0, err
	}
	return f.Get(s), nil
}

// Set writes a number, cut to what the member holds.
func (s *KernelStruct) Set(path string, v uint64) error {
	f, err := s.Field(path)
	if err == nil {
		f.Put(s, v)
	}
	return err
}

// Point sets a member that is a pointer to another structure, nil: NULL. The other must live as long as it is pointed to.
func (s *KernelStruct) Point(path string, to *KernelStruct) error {
	var addr uint64
	if to != nil {
		addr = to.o.Addr
	}
	return s.Set(path, addr)
}

// Call calls a member on any CPU that is idle. Arguments are numbers, a *[KernelStruct] where the member's type has a
// pointer to a structure (a tcp_sock for a sock too), and nil where the kernel may pass NULL. What is returned is the
// member's result, extended to 64 bits by its type; 0 of one without. A member that no program implements is an error.
//
// The value of a map in .struct_ops is set by [Ops.Attach]: before, nothing can be called.
func (s *Ops) Call(member string, args ...any) (uint64, error) {
	if err := s.m.open(); err != nil {
		return 0, err
	}
	cpu := s.m.mach.m.Acquire()
	defer cpu.Release()
	return s.call(cpu, member, args)
}

// CallOn is [Ops.Call] on a CPU that the caller holds.
func (s *Ops) CallOn(cpu *CPU, member string, args ...any) (uint64, error) {
	if err := s.m.open(); err != nil {
		return 0, err
	}
	return s.call(cpu.c, member, args)
}

func (s *Ops) call(cpu *run.CPU, member string, args []any) (uint64, error) {
	s.once.Do(func() { s.ops, s.err = opsrun.New(s.m.mach.kernelBTF(), s.raw) })
	if s.err != nil {
		return 0, s.wrap(s.err)
	}
	var room [12]opsrun.Arg
	all := room[:0]
	for i, a := range args {
		arg, ok := opsArg(a)
		if !ok {
			return 0, s.wrap(fmt.Errorf("member %s, argument %d is a %T: members take numbers, *KernelStruct and nil", member, i, a))
		}
		all = append(all, arg)
	}
	ret, err := s.ops.Call(cpu, member, all)
	if err != nil {
		return 0, s.wrap(err)
	}
	return ret, nil
}

func opsArg(a any) (opsrun.Arg, bool) {
	switch a := a.(type) {
	case nil:
		return opsrun.Arg{IsNil: true}, true
	case *KernelStruct:
		if a == nil {
			return opsrun.Arg{IsNil: true}, true
		}
		return opsrun.Arg{Object: a.o}, a.o != nil
	case uint32:
		return opsrun.Arg{Num: uint64(a)}, true
	case uint64:
		return opsrun.Arg{Num: a}, true
	case int:
		return opsrun.Arg{Num: uint64(a)}, true
	case bool:
		var arg opsrun.Arg
		if a {
			arg.Num = 1
		}
		return arg, true
	}
	switch v := reflect.ValueOf(a); {
	case v.CanInt():
		return opsrun.Arg{Num: uint64(v.Int())}, true
	case v.CanUint():
		return opsrun.Arg{Num: v.Uint()}, true
	}
	return opsrun.Arg{}, false
}
