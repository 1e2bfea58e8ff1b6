package rewrite_test

import (
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/interp"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// world serves runs: one array and one packet of which only the first bytes
// are directly readable.
type world struct {
	array  *catalog.MapDef
	packet []byte
	calls  int
}

func (w *world) Helper(id int32, r1, r2, _, _, _ uint64) uint64 {
	w.calls++
	if key := mem.Load32(r2); r1 == w.array.Ptr && key < w.array.MaxEntries {
		return w.array.ValueBase + uint64(key)*16
	}
	return 0
}

func (w *world) LoadPacket(off int32, size int) (v uint32, ok bool) {
	w.calls++
	if off < 0 || int(off)+size > len(w.packet) {
		return 0, false
	}
	for _, b := range w.packet[off:][:size] {
		v = v<<8 | uint32(b)
	}
	return v, true
}

func (w *world) Kfunc(isa.Instruction, uint64, uint64, uint64, uint64, uint64) uint64 { return 0 }
func (w *world) TailCall() *interp.Program                                            { return nil }
func (w *world) Running(*interp.Program)                                              {}

// run rewrites and runs a program of facts all alike.
func (w *world) run(t *testing.T, typ catalog.ProgType, o rewrite.Options, m *catalog.MapDef, r1 uint64, parts ...isa.Part) uint64 {
	t.Helper()
	p := &verifier.Program{Type: typ, Insns: isa.Program(parts...)}
	facts := &verifier.Result{
		Insns:    make([]verifier.InsnFacts, len(p.Insns)),
		Subprogs: []verifier.Subprog{{End: len(p.Insns), StackDepth: 16}},
	}
	for i := range facts.Insns {
		facts.Insns[i] = verifier.InsnFacts{Seen: true, Map: m}
	}
	out, err := o.Rewrite(p, facts)
	if err != nil {
		t.Fatal(err)
	}
	ready, err := interp.Prepare(out)
	if err != nil {
		t.Fatal(err)
	}
	vm, err := interp.New(w)
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	got, err := vm.Run(ready, r1, interp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func block(t *testing.T, size int) *mem.Block {
	t.Helper()
	b, err := mem.Alloc(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Free)
	return b
}

// An inlined lookup gives what the helper gives, and does not call it.
func TestInlinedLookup(t *testing.T) {
	values := block(t, 5*16)
	w := &world{array: &catalog.MapDef{
		Type: catalog.MapArray, KeySize: 4, ValueSize: 12, MaxEntries: 5, Ptr: 1 << 40, ValueBase: values.Addr(),
	}}
	for _, key := range []int32{0, 1, 4, 5, 1 << 30, -1} {
		var got [2]uint64
		for i, o := range []rewrite.Options{{}, {Inline: true}} {
			w.calls = 0
			got[i] = w.run(t, catalog.ProgXDP, o, w.array, 0,
				isa.StoreImm(isa.W, isa.RFP, -4, key),
				isa.LdMapFD(isa.R1, 3),
				isa.Mov64Reg(isa.R2, isa.RFP),
				isa.ALU64Imm(isa.Add, isa.R2, -4),
				isa.HelperCall(int32(catalog.FnMapLookupElem)),
				isa.ExitInsn())
			if want := 1 - i; w.calls != want {
				t.Errorf("inline %v: %d calls, want %d", o.Inline, w.calls, want)
			}
		}
		if got[0] != got[1] {
			t.Errorf("key %d: %#x by the helper, %#x inlined", key, got[0], got[1])
		}
	}
}

// An inlined legacy load gives what the engine's gives: read in the linear part
// without it, elsewhere by it, and the end of the run with 0 beyond the packet.
func TestInlinedLegacyLoad(t *testing.T) {
	const linear, whole = 20, 32
	packet := block(t, whole)
	for i := range packet.Bytes() {
		packet.Bytes()[i] = byte(0xf0 + i)
	}
	frame := block(t, 512)
	mem.Store64(frame.Addr()+catalog.FrameData, packet.Addr())
	mem.Store64(frame.Addr()+catalog.FrameDataEnd, packet.Addr()+linear)
	w := &world{packet: packet.Bytes()[:whole]}
	try := func(off int32, size isa.Opcode, load isa.Instruction, src isa.Register) {
		t.Helper()
		var got [2]uint64
		for i, o := range []rewrite.Options{{}, {Inline: true}} {
			w.calls = 0
			got[i] = w.run(t, catalog.ProgSocketFilter, o, nil, frame.Addr(),
				isa.Mov64Reg(isa.R6, isa.R1),
				isa.LdImm64(src, 0xdead00000000|uint64(uint32(off-load.Imm))),
				load,
				isa.ALU64Imm(isa.Add, isa.R0, 1), // seen only if the load did not end the run
				isa.ExitInsn())
			end := int(off) + size.Bytes()
			if fast := i == 1 && off >= 0 && end <= linear; fast == (w.calls != 0) {
				t.Errorf("%v at %d, inline %v: %d calls", load, off, o.Inline, w.calls)
			}
		}
		if got[0] != got[1] {
			t.Errorf("%v at %d: %#x by the engine, %#x inlined", load, off, got[0], got[1])
		}
	}
	for _, size := range []isa.Opcode{isa.B, isa.H, isa.W} {
		for _, off := range []int32{0, 1, 16, 17, 18, 19, 20, 28, 31, 32, -1, -4, -4096, 1<<31 - 1} {
			try(off, size, isa.LoadAbs(size, off), isa.R7)
			for src := isa.R0; src < isa.R6; src++ {
				try(off, size, isa.LoadInd(size, src, 3), src)
			}
		}
	}
}

// may_goto ends a loop that would never end, after as many rounds as the kernel's.
func TestMayGotoBudget(t *testing.T) {
	w := &world{}
	got := w.run(t, catalog.ProgXDP, rewrite.Options{}, nil, 0,
		isa.Mov64Imm(isa.R0, 0),
		isa.MayGoto(2),
		isa.ALU64Imm(isa.Add, isa.R0, 1),
		isa.Goto(-3),
		isa.ExitInsn())
	if got != 8<<20 {
		t.Errorf("%d rounds, want %d", got, 8<<20)
	}
}
