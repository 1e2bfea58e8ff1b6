package helpers

import (
	"bytes"
	"errors"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/isa"
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
	return s.oursOn(t, newTestHost(t))
}

func (s *script) oursOn(t *testing.T, h *testHost) outcome {
	t.Helper()
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

// Engine runs a program through verifier, rewriter and engine, and returns the
// value of map 0.
type Engine func(t *testing.T, r *EngineRun) ([]byte, error)

// Engines, by name, are set by the tests that know them.
var Engines map[string]Engine

// onEngine runs the script as the program it is.
func (s *script) onEngine(t *testing.T, e Engine) (o outcome) {
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
	o.scratch, o.err = e(t, r)
	o.err = unwrapErrno(o.err)
	return o
}

// xdpHasFrags is BPF_F_XDP_HAS_FRAGS.
const xdpHasFrags = 1 << 5

// addresses are where the arguments of a script's calls point to.
type addresses struct{ scratch, konst, stack uint64 }

// perform does one step; it is false when the program ends there.
func (s *script) perform(t *testing.T, e *Env, h *testHost, st *step, m addresses) (uint64, bool) {
	switch st.kind {
	case stepSock:
		sk := e.Pkt.Sock
		if sk != 0 {
			sk = Lookup(catalog.FnSkFullsock)(e, sk, 0, 0, 0, 0)
		}
		if sk == 0 {
			return ^uint64(0), true
		}
		return uint64(mem.Load32(sk + uint64(st.off))), true
	case stepLegacy:
		v, ok := e.Pkt.LoadAbs(int32(st.off), st.size.Bytes())
		return uint64(v), ok
	case stepLoad, stepStore:
		f := catalog.ProgKindByType(s.prog).Field(catalog.Access{Off: st.off, Width: 4, Write: st.kind == stepStore})
		if f == nil {
			t.Fatalf("no context field at %d", st.off)
		}
		at := e.Pkt.Addr() + uint64(f.At+st.off-f.Off)
		if st.kind == stepLoad {
			return uint64(mem.Load32(at)), true
		}
		mem.Store32(at, st.value)
		return 0, true
	}
	var r [5]uint64
	for i, a := range st.args {
		r[i] = a.value(e, h, m)
	}
	f := Lookup(st.fn)
	switch st.kind {
	case stepPut:
		mem.Store64(m.scratch+dataOff+uint64(st.off), r[0])
		return 0, true
	case stepKfunc:
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

// value is what a register holds for the argument.
func (a arg) value(e *Env, h *testHost, m addresses) uint64 {
	switch a.kind {
	case argCtx:
		return e.Pkt.Addr()
	case argMem:
		return m.scratch + dataOff + a.v
	case argResult:
		return mem.Load64(m.scratch + 8*a.v)
	case argMap:
		return h.maps[a.v].Def().Ptr
	case argConst:
		return m.konst + a.v
	case argDynptr:
		return m.stack + 16*a.v
	}
	return a.v
}
