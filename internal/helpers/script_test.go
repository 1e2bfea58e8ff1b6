package helpers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
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

// step is one thing a script does; its result is a number.
type step struct {
	kind  stepKind
	fn    catalog.HelperID // of stepCall
	kfunc string           // of stepKfunc
	args  []arg
	off   int        // of the rest: in the context, socket, packet or data
	size  isa.Opcode // of stepLegacy
	value uint32     // of stepStore

	// field, of a call that finds a socket, makes the result the 4 bytes at off of
	// it; with then, whether that helper called with it gives anything.
	field bool
	then  catalog.HelperID

	drop string // of a kernel function whose result is taken to this one, to be given up; the result is whether there was any

	mask  uint64 // only these bits are compared; 0: all
	truth bool   // only whether the result is 0 is compared
}

type stepKind uint8

const (
	stepCall   stepKind = iota // a helper
	stepKfunc                  // a kernel function
	stepLoad                   // of 4 bytes of the context
	stepStore                  // of 4 bytes of the context
	stepSock                   // load of 4 bytes of the packet's full socket
	stepLegacy                 // LD_ABS; the program may end there
	stepPut                    // store of the one argument in the data
)

func call(fn catalog.HelperID, args ...arg) step { return step{kind: stepCall, fn: fn, args: args} }
func kcall(name string, args ...arg) step        { return step{kind: stepKfunc, kfunc: name, args: args} }
func load(off int) step                          { return step{kind: stepLoad, off: off} }
func store(off int, v uint32) step               { return step{kind: stepStore, off: off, value: v} }
func sockField(off int) step                     { return step{kind: stepSock, off: off} }
func legacy(size isa.Opcode, off int) step       { return step{kind: stepLegacy, size: size, off: off} }
func put(off int, a arg) step                    { return step{kind: stepPut, off: off, args: []arg{a}} }
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
	for name, e := range Engines {
		s.hold(t, s.name+" ("+name+")", s.onEngine(t, e), want)
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
	switch s.kind {
	case stepCall:
		fmt.Fprintf(&b, "%s(", catalog.HelperByID(s.fn).Name)
	case stepKfunc:
		fmt.Fprintf(&b, "%s(", s.kfunc)
	default:
		return fmt.Sprintf("%s at %d", [...]string{stepLoad: "load", stepStore: "store", stepSock: "socket", stepLegacy: "packet", stepPut: "put"}[s.kind], s.off)
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
