package helpers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/isa"
)

// A script is a list of helper calls on one packet, run three times: by the live
// kernel as a program made of it, by calling the helpers one by one, and by
// skep's own engine as that program. All must leave the same results, memory,
// packet and context.
//
// Results and the memory that calls read and write lie in one array map value:
//
//	0            8·steps       dataOff                  scratchLen
//	│ result 0 … │             │ data the script starts with │
const (
	dataOff    = 1024
	scratchLen = 4096 + dataOff
)

// arg is one argument of a call.
type arg struct {
	kind argKind
	v    uint64
}

type argKind uint8

const (
	argImm    argKind = iota
	argCtx            // the context
	argMem            // address of data at v
	argResult         // result of step v
	argMap            // map v of the script
	argConst          // address of the script's constants at v
	argDynptr         // address of dynptr v, on the stack
)

var ctx = arg{kind: argCtx}

func imm(v uint64) arg    { return arg{argImm, v} }
func neg(v int64) arg     { return arg{argImm, uint64(v)} }
func data(off int) arg    { return arg{argMem, uint64(off)} }
func res(step int) arg    { return arg{argResult, uint64(step)} }
func konst(off int) arg   { return arg{argConst, uint64(off)} }
func dyn(i int) arg       { return arg{argDynptr, uint64(i)} }
func mapArg(i int) arg    { return arg{argMap, uint64(i)} }
func be(v uint16) arg     { return imm(uint64(packet.Htons(v))) }
func str(s string) []byte { return append([]byte(s), 0) }

// step is one call, or one load of a context field.
type step struct {
	fn   catalog.HelperID
	args []arg
	// load, if fn is 0, is the context field read: 4 bytes at off.
	off int
	// sock: read off of the packet's full socket instead.
	sock bool
	// kfunc is called instead of fn.
	kfunc string
	// abs is the size of a legacy load at off; 0: no such load.
	abs isa.Opcode
	// field, of a step whose helper finds a socket, is the 4 bytes at off of it;
	// then, if not 0, is called with the socket instead.
	field bool
	then  catalog.HelperID
	// put stores the one argument into the data at off.
	put bool
	// set stores v into the context field at off.
	set bool
	v   uint32
	// mask keeps only some bits of the result; 0: all.
	mask uint64
	// truth compares only whether the result is 0.
	truth bool
}

func call(fn catalog.HelperID, args ...arg) step { return step{fn: fn, args: args} }
func kcall(name string, args ...arg) step        { return step{kfunc: name, args: args} }
func legacy(size isa.Opcode, off int) step       { return step{abs: size | 1, off: off} }
func load(off int) step                          { return step{off: off} }
func store(off int, v uint32) step               { return step{off: off, v: v, set: true} }
func sockField(off int) step                     { return step{off: off, sock: true} }
func low32(s step) step                          { s.mask = 0xffffffff; return s }
func truth(s step) step                          { s.truth = true; return s }

// script is one case.
type script struct {
	name  string
	prog  catalog.ProgType
	pkt   []byte
	ctx   []byte // uapi context handed in; nil: none
	csum  bool   // BPF_F_TEST_SKB_CHECKSUM_COMPLETE
	frags bool   // the program takes XDP packets with paged bytes
	data  []byte // at dataOff
	konst []byte // constants
	steps []step
	maps  []catalog.MapDef
	fill  func(t *testing.T, i int, update func(key, value []byte)) // fills map i
	// refused: the kernel does not load the program, and ours gives EINVAL at its last step.
	refused bool
	// noPacket: the packet afterwards is not compared.
	noPacket bool
	net      packet.Net // of ours; nil: a loopback device
}

// outcome is what a script leaves.
type outcome struct {
	err     error // of the run as a whole
	scratch []byte
	data    []byte
	ctx     []byte
}

// runScripts compares all scripts.
func runScripts(t *testing.T, scripts []script) {
	t.Helper()
	needKernel(t)
	seen := map[string]bool{}
	for _, s := range scripts {
		if seen[s.name] {
			t.Errorf("two scripts are named %q", s.name)
		}
		seen[s.name] = true
		t.Run(s.name, s.compare)
	}
}

// compare runs the script both ways.
func (s *script) compare(t *testing.T) {
	got := s.ours(t) // first, since it knows what not to ask the kernel
	want := s.kernel(t)
	if s.refused {
		if r := s.result(got, len(s.steps)-1); want.err == nil || r != errno.EINVAL.Ret() {
			t.Errorf("%s: %d, kernel %v; want EINVAL and a refusal", s.name, int64(r), want.err)
		}
		return
	}
	s.hold(t, s.name, got, want)
	if Engine != nil {
		s.hold(t, s.name+" (engine)", s.onEngine(t), want)
	}
}

// hold compares an outcome with the kernel's.
func (s *script) hold(t *testing.T, name string, got, want outcome) {
	if (got.err == nil) != (want.err == nil) || got.err != nil && !errors.Is(want.err, got.err) {
		t.Fatalf("%s: %v, kernel %v", name, got.err, want.err)
	}
	if want.err != nil {
		return
	}
	for i := range s.steps {
		g, w := s.result(got, i), s.result(want, i)
		if g != w {
			t.Errorf("%s: step %d %s: %d (%#x), kernel %d (%#x)", name, i, s.steps[i], int64(g), g, int64(w), w)
		}
	}
	if g, w := got.scratch[dataOff:], want.scratch[dataOff:]; !bytes.Equal(g, w) {
		i := firstDiff(g, w)
		t.Errorf("%s: memory differs from %d: % x, kernel % x", name, i, g[i:min(i+32, len(g))], w[i:min(i+32, len(w))])
	}
	if !s.noPacket && !bytes.Equal(got.data, want.data) {
		t.Errorf("%s: packet differs from byte %d:\n  ours   %x\n  kernel %x", name, firstDiff(got.data, want.data), got.data, want.data)
	}
	if s.ctx != nil && !bytes.Equal(got.ctx, want.ctx) {
		i := firstDiff(got.ctx, want.ctx)
		t.Errorf("%s: context differs at %d: % x, kernel % x", name, i, got.ctx[i:min(i+8, len(got.ctx))], want.ctx[i:min(i+8, len(want.ctx))])
	}
}

func firstDiff(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// result returns result i of an outcome, as the step wants it compared.
func (s *script) result(o outcome, i int) uint64 {
	v := binary.NativeEndian.Uint64(o.scratch[8*i:])
	if s.steps[i].mask != 0 {
		v &= s.steps[i].mask
	}
	if s.steps[i].truth {
		return b2u(v != 0)
	}
	return v
}

func (s step) String() string {
	var b strings.Builder
	switch {
	case s.put:
		return fmt.Sprintf("put %d", s.off)
	case s.kfunc != "":
		fmt.Fprintf(&b, "%s(", s.kfunc)
	case s.fn == 0:
		return fmt.Sprintf("load %d", s.off)
	default:
		fmt.Fprintf(&b, "%s(", catalog.HelperByID(s.fn).Name)
	}
	for i, a := range s.args {
		if i > 0 {
			b.WriteString(", ")
		}
		switch a.kind {
		case argImm:
			fmt.Fprintf(&b, "%#x", a.v)
		case argCtx:
			b.WriteString("ctx")
		case argMem:
			fmt.Fprintf(&b, "data+%d", a.v)
		case argResult:
			fmt.Fprintf(&b, "r%d", a.v)
		case argMap:
			fmt.Fprintf(&b, "map%d", a.v)
		case argConst:
			fmt.Fprintf(&b, "const+%d", a.v)
		case argDynptr:
			fmt.Fprintf(&b, "dynptr%d", a.v)
		}
	}
	return b.String() + ")"
}

// initial is the value the scratch map starts with.
func (s *script) initial() []byte {
	b := make([]byte, scratchLen)
	copy(b[dataOff:], s.data)
	return b
}

// program makes the script a program. Map 0 is the scratch map, 1 that of the
// constants, the script's follow.
func (s *script) program(t *testing.T) []isa.Instruction {
	parts := []isa.Part{isa.Mov64Reg(isa.R6, isa.R1)}
	addr := func(dst isa.Register, off int) isa.Part { return isa.LdMapIdxValue(dst, 0, int32(off)) }
	for i, st := range s.steps {
		slot := addr(isa.R1, 8*i)
		switch {
		case st.set:
			parts = append(parts, isa.Mov64Imm(isa.R7, int32(st.v)), isa.StoreMem(isa.W, isa.R6, isa.R7, int16(st.off)), isa.Mov64Imm(isa.R7, 0))
		case st.sock:
			const sk = 168 // __sk_buff.sk
			parts = append(parts,
				isa.LoadMem(isa.DW, isa.R1, isa.R6, sk),
				isa.Mov64Imm(isa.R7, -1),
				isa.JmpImm(isa.Jeq, isa.R1, 0, 3),
				isa.HelperCall(int32(catalog.FnSkFullsock)),
				isa.JmpImm(isa.Jeq, isa.R0, 0, 1),
				isa.LoadMem(isa.W, isa.R7, isa.R0, int16(st.off)))
		case st.abs != 0:
			parts = append(parts, isa.LoadAbs(st.abs&^1, int32(st.off)), isa.Mov64Reg(isa.R7, isa.R0))
		case st.fn == 0 && st.kfunc == "" && !st.put:
			parts = append(parts, isa.LoadMem(isa.W, isa.R7, isa.R6, int16(st.off)))
		default:
			for j, a := range st.args {
				reg := isa.R1 + isa.Register(j)
				switch a.kind {
				case argImm:
					if int64(a.v) == int64(int32(a.v)) {
						parts = append(parts, isa.Mov64Imm(reg, int32(a.v)))
					} else {
						parts = append(parts, isa.LdImm64(reg, a.v))
					}
				case argCtx:
					parts = append(parts, isa.Mov64Reg(reg, isa.R6))
				case argMem:
					parts = append(parts, addr(reg, dataOff+int(a.v)))
				case argResult:
					parts = append(parts, addr(reg, 8*int(a.v)), isa.LoadMem(isa.DW, reg, reg, 0))
				case argMap:
					parts = append(parts, isa.LdMapIdx(reg, int32(a.v)+2))
				case argConst:
					parts = append(parts, isa.LdMapIdxValue(reg, 1, int32(a.v)))
				case argDynptr:
					parts = append(parts, isa.Mov64Reg(reg, isa.RFP), isa.ALU64Imm(isa.Add, reg, -16*int32(a.v+1)))
				}
			}
			if st.put {
				parts = append(parts, addr(isa.R2, dataOff+st.off), isa.StoreMem(isa.DW, isa.R2, isa.R1, 0), isa.Mov64Imm(isa.R0, 0))
			} else if st.kfunc != "" {
				parts = append(parts, isa.KfuncCall(kfuncID(t, st.kfunc), 0))
			} else {
				parts = append(parts, isa.HelperCall(int32(st.fn)))
			}
			if st.field {
				parts = append(parts, isa.Mov64Reg(isa.R8, isa.R0), isa.Mov64Imm(isa.R7, -1))
				var look []isa.Instruction
				if st.then != 0 {
					look = isa.Program(isa.Mov64Reg(isa.R1, isa.R8), isa.HelperCall(int32(st.then)),
						isa.Mov64Imm(isa.R7, 0), isa.JmpImm(isa.Jeq, isa.R0, 0, 1), isa.Mov64Imm(isa.R7, 1))
				} else {
					look = isa.Program(isa.LoadMem(isa.W, isa.R7, isa.R8, int16(st.off)))
				}
				parts = append(parts, isa.JmpImm(isa.Jeq, isa.R8, 0, int16(len(look)+2)), isa.Instructions(look),
					isa.Mov64Reg(isa.R1, isa.R8), isa.HelperCall(int32(catalog.FnSkRelease)))
			} else if st.truth {
				parts = append(parts,
					isa.Mov64Imm(isa.R7, 0), isa.JmpImm(isa.Jeq, isa.R0, 0, 1), isa.Mov64Imm(isa.R7, 1))
			} else {
				parts = append(parts, isa.Mov64Reg(isa.R7, isa.R0))
			}
		}
		parts = append(parts, slot, isa.StoreMem(isa.DW, isa.R1, isa.R7, 0))
	}
	return isa.Program(append(parts, isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())...)
}

// constants is the value of the map that holds constant strings.
func (s *script) constants() []byte {
	b := make([]byte, constLen)
	copy(b, s.konst)
	return b
}

// kernelTypes are the running kernel's types, for the ids of kfuncs.
var kernelTypes = sync.OnceValues(btf.LoadKernelSpec)

// kfuncID returns the id of a kernel function.
func kfuncID(t *testing.T, name string) int32 {
	t.Helper()
	spec, err := kernelTypes()
	oracle.Need(t, "the kernel's BTF", err)
	var fn *btf.Func
	if err := spec.TypeByName(name, &fn); err != nil {
		t.Fatalf("kfunc %s: %v", name, err)
	}
	id, err := spec.TypeID(fn)
	if err != nil {
		t.Fatal(err)
	}
	return int32(id)
}

const constLen = 512

var (
	scratchDef = catalog.MapDef{Name: "scratch", Type: catalog.MapArray, KeySize: 4, ValueSize: scratchLen, MaxEntries: 1}
	constDef   = catalog.MapDef{Name: "const", Type: catalog.MapArray, KeySize: 4, ValueSize: constLen, MaxEntries: 1, Flags: catalog.FlagRdonlyProg}
)

// kernel runs the script on the live kernel.
func (s *script) kernel(t *testing.T) outcome {
	t.Helper()
	var all []*linux.Map
	for _, def := range append([]catalog.MapDef{scratchDef, constDef}, s.maps...) {
		m, err := linux.NewMap(&def, nil)
		if err != nil {
			t.Fatalf("kernel map %s: %v", def.Name, err)
		}
		defer m.Close()
		all = append(all, m)
	}
	key := make([]byte, 4)
	if err := all[0].Update(key, s.initial(), 0); err != nil {
		t.Fatal(err)
	}
	if err := all[1].Update(key, s.constants(), 0); err != nil {
		t.Fatal(err)
	}
	if err := all[1].Freeze(); err != nil {
		t.Fatal(err)
	}
	for i, m := range all[2:] {
		if s.fill != nil {
			s.fill(t, i, func(k, v []byte) {
				if err := m.Update(k, v, 0); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	flags := uint32(0)
	if s.frags {
		flags |= xdpHasFrags
	}
	p, err := linux.Load(&linux.Prog{Name: "script", Type: s.prog, Insns: s.program(t), License: "GPL", Maps: all, Flags: flags})
	if err != nil {
		if s.refused {
			return outcome{err: err}
		}
		t.Fatalf("%s: kernel: %v", s.name, err)
	}
	defer p.Close()
	run := linux.Run{Data: s.pkt, Ctx: bytes.Clone(s.ctx), NoDataOut: s.noPacket}
	if s.csum {
		run.Flags = 1 << 2 // BPF_F_TEST_SKB_CHECKSUM_COMPLETE
	}
	out, err := p.TestRun(&run)
	o := outcome{err: err, scratch: make([]byte, scratchLen)}
	if err == nil {
		o.data, o.ctx = out.Data, out.Ctx
	}
	if err := all[0].Lookup(key, o.scratch, 0); err != nil {
		t.Fatal(err)
	}
	return o
}

// ours runs the script by calling its helpers.
func (s *script) ours(t *testing.T) outcome {
	t.Helper()
	h := newTestHost(t)
	if s.net != nil {
		h.net = s.net
	}
	e := &Env{Host: h, Prog: &Prog{Type: s.prog}, Pkt: h.newPacket(t)}
	scratch, err := mem.Alloc(scratchLen)
	if err != nil {
		t.Fatal(err)
	}
	defer scratch.Free()
	copy(scratch.Bytes(), s.initial())
	e.Readable = func(addr, n uint64) bool { return addr >= scratch.Addr() && addr+n <= scratch.Addr()+scratchLen }
	konst := newScratch(t, constLen)
	copy(konst.Bytes(), s.constants())
	m := addresses{scratch: scratch.Addr(), konst: konst.Addr(), stack: newScratch(t, isa.StackSize).Addr()}
	for i, def := range s.maps {
		m := h.newMap(t, def)
		if s.fill != nil {
			s.fill(t, i, func(k, v []byte) {
				if err := m.Update(k, v, 0); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
	if err := s.setUp(e.Pkt); err != nil {
		return outcome{err: unwrapErrno(err)}
	}
	for i := range s.steps {
		v, ok := s.perform(t, e, h, &s.steps[i], m)
		if !ok {
			break
		}
		mem.Store64(scratch.Addr()+8*uint64(i), v)
	}
	o := outcome{scratch: bytes.Clone(scratch.Bytes())}
	if s.csum && e.Pkt.NetHeader > e.Pkt.End {
		t.Fatalf("%s: the packet ends before its network header, and Linux 6.18 stops with a BUG when it sums that", s.name)
	}
	if s.csum && !e.Pkt.CsumValid() {
		o.err = errno.EBADMSG
		return o
	}
	e.Pkt.Finish()
	o.data = append(bytes.Clone(e.Pkt.Meta()), e.Pkt.Bytes()...)
	if s.ctx != nil {
		o.ctx = s.contextOut(e.Pkt)
	}
	return o
}

func unwrapErrno(err error) error {
	var e errno.Errno
	if err != nil && errors.As(err, &e) {
		return e
	}
	return err
}

// EngineRun is a script as an engine gets it.
type EngineRun struct {
	Type   catalog.ProgType
	Insns  []isa.Instruction
	Flags  uint32
	Maps   []catalog.MapDef
	Fill   func(i int, update func(key, value []byte)) // fills map i
	Freeze int                                         // the map to freeze
	Net    packet.Net
	SetUp  func(*packet.Packet) error
	After  func(*packet.Packet) error // looks at the packet after the run
}

// Engine, set by the tests that know one, runs a program through verifier,
// rewriter and engine, and returns the value of map 0.
var Engine func(t *testing.T, r *EngineRun) ([]byte, error)

// onEngine runs the script as the program it is.
func (s *script) onEngine(t *testing.T) (o outcome) {
	t.Helper()
	key := make([]byte, 4)
	r := &EngineRun{
		Type: s.prog, Insns: s.program(t), Maps: append([]catalog.MapDef{scratchDef, constDef}, s.maps...), Freeze: 1,
		Fill: func(i int, update func(key, value []byte)) {
			switch {
			case i == 0:
				update(key, s.initial())
			case i == 1:
				update(key, s.constants())
			case s.fill != nil:
				s.fill(t, i-2, update)
			}
		},
		Net: s.net, SetUp: s.setUp,
		After: func(p *packet.Packet) error {
			if s.csum && !p.CsumValid() {
				return errno.EBADMSG
			}
			p.Finish()
			o.data = append(bytes.Clone(p.Meta()), p.Bytes()...)
			if s.ctx != nil {
				o.ctx = s.contextOut(p)
			}
			return nil
		},
	}
	if s.frags {
		r.Flags = xdpHasFrags
	}
	if r.Net == nil {
		r.Net = packet.NewStaticNet()
	}
	o.scratch, o.err = Engine(t, r)
	o.err = unwrapErrno(o.err)
	return o
}

// xdpHasFrags is BPF_F_XDP_HAS_FRAGS.
const xdpHasFrags = 1 << 5

// addresses are where the arguments of a script's calls point to.
type addresses struct{ scratch, konst, stack uint64 }

// perform does one step; it is false when the program ends there.
func (s *script) perform(t *testing.T, e *Env, h *testHost, st *step, m addresses) (uint64, bool) {
	switch {
	case st.sock:
		sk := e.Pkt.Sock
		if sk == 0 {
			return ^uint64(0), true
		}
		sk = Lookup(catalog.FnSkFullsock)(e, sk, 0, 0, 0, 0)
		if sk == 0 {
			return ^uint64(0), true
		}
		return uint64(mem.Load32(sk + uint64(st.off))), true
	case st.abs != 0:
		v, ok := e.Pkt.LoadAbs(int32(st.off), (st.abs &^ 1).Bytes())
		return uint64(v), ok
	case st.fn == 0 && st.kfunc == "" && !st.put:
		f := catalog.ProgKindByType(s.prog).Field(catalog.Access{Off: st.off, Width: 4, Write: st.set})
		if f == nil {
			t.Fatalf("no context field at %d", st.off)
		}
		at := e.Pkt.Addr() + uint64(f.At+st.off-f.Off)
		if st.set {
			mem.Store32(at, st.v)
			return 0, true
		}
		return uint64(mem.Load32(at)), true
	}
	var r [5]uint64
	for j, a := range st.args {
		switch a.kind {
		case argImm:
			r[j] = a.v
		case argCtx:
			r[j] = e.Pkt.Addr()
		case argMem:
			r[j] = m.scratch + dataOff + a.v
		case argResult:
			r[j] = mem.Load64(m.scratch + 8*a.v)
		case argMap:
			r[j] = h.maps[a.v].Def().Ptr
		case argConst:
			r[j] = m.konst + a.v
		case argDynptr:
			r[j] = m.stack + 16*a.v
		}
	}
	if st.put {
		mem.Store64(m.scratch+dataOff+uint64(st.off), r[0])
		return 0, true
	}
	f := Lookup(st.fn)
	if st.kfunc != "" {
		f = KfuncTable[st.kfunc]
	}
	v := f(e, r[0], r[1], r[2], r[3], r[4])
	switch {
	case st.field && v == 0:
		return ^uint64(0), true
	case st.field && st.then != 0:
		return b2u(Lookup(st.then)(e, v, 0, 0, 0, 0) != 0), true
	case st.field:
		return uint64(mem.Load32(v + uint64(st.off))), true
	case st.truth:
		return b2u(v != 0), true
	}
	return v, true
}

// setUp makes the packet what BPF_PROG_TEST_RUN makes of the script's input.
func (s *script) setUp(p *packet.Packet) error {
	u32 := func(off int) uint32 {
		if off+4 > len(s.ctx) {
			return 0
		}
		return binary.NativeEndian.Uint32(s.ctx[off:])
	}
	u64 := func(off int) uint64 { return uint64(u32(off)) | uint64(u32(off+4))<<32 }
	if s.prog == catalog.ProgXDP {
		o := packet.XDPOptions{}
		if s.ctx != nil {
			o = packet.XDPOptions{RxIfindex: u32(12), RxQueue: u32(16), Meta: int(u32(0)), Linear: int(u32(4))}
		}
		return p.SetXDP(s.pkt, o)
	}
	o := packet.SKBOptions{
		L2:      s.prog == catalog.ProgSchedCls || s.prog == catalog.ProgSchedAct,
		OwnSock: true, ChecksumComplete: s.csum,
		Mark: u32(skMark), Priority: u32(skPriority), IngressIfindex: u32(skIngress),
		Tstamp: u64(skTstamp), WireLen: u32(skWireLen), GSOSegs: u32(skGSOSegs), GSOSize: u32(skGSOSize),
		HWTstamp: u64(skHWTstamp),
	}
	if s.ctx != nil && o.WireLen == 0 {
		o.WireLen = packet.OwnLen
	}
	for i := range o.CB {
		o.CB[i] = u32(skCB + 4*i)
	}
	return p.SetSKB(s.pkt, o)
}

// Offsets in struct __sk_buff.
const (
	skLen, skPktType, skMark, skQueue, skProtocol     = 0, 4, 8, 12, 16
	skVLANPresent, skVLANTCI, skVLANProto, skPriority = 20, 24, 28, 32
	skIngress, skIfindex, skTCIndex, skCB, skHash     = 36, 40, 44, 48, 68
	skTCClassid, skTstamp, skWireLen, skGSOSegs       = 72, 152, 160, 164
	skGSOSize, skHWTstamp, skSize                     = 176, 184, 192
)

// skb returns a struct __sk_buff with some words set.
func skb(words map[int]uint32) []byte {
	b := make([]byte, skSize)
	for off, v := range words {
		binary.NativeEndian.PutUint32(b[off:], v)
	}
	return b
}

// xdpMD returns a struct xdp_md with metadata and linear bytes.
func xdpMD(meta, linear uint32) []byte {
	b := make([]byte, 24)
	binary.NativeEndian.PutUint32(b, meta)
	binary.NativeEndian.PutUint32(b[4:], linear)
	return b
}

// contextOut is the context BPF_PROG_TEST_RUN hands back.
func (s *script) contextOut(p *packet.Packet) []byte {
	out := bytes.Clone(s.ctx)
	put := func(off int, v uint32) { binary.NativeEndian.PutUint32(out[off:], v) }
	if s.prog == catalog.ProgXDP {
		put(0, uint32(p.Data-p.DataMeta))
		put(4, uint32(p.DataEnd-p.DataMeta))
		return out
	}
	put(skMark, p.Mark)
	put(skPriority, p.Priority)
	put(skIngress, p.IngressIfindex)
	put(skIfindex, p.Ifindex)
	binary.NativeEndian.PutUint64(out[skTstamp:], p.Tstamp)
	for i, w := range p.CB {
		put(skCB+4*i, w)
	}
	put(skWireLen, p.WireLen)
	put(skGSOSegs, p.GSOSegs)
	binary.NativeEndian.PutUint64(out[skHWTstamp:], p.HWTstamp)
	return out
}

// needKernel ends the test where bpf(2) cannot be used.
func needKernel(t *testing.T) {
	t.Helper()
	m, err := linux.NewMap(&scratchDef, nil)
	oracle.Need(t, "bpf(2)", err)
	m.Close()
}
