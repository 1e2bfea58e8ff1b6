package verifier_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

var (
	randomCount = flag.Int("random", 3000, "random programs to compare with the kernel")
	randomSeed  = flag.Uint64("random-seed", 1, "seed of the first random program")
)

// Kinds of values the generator believes its registers to hold. It need not be
// right: it only makes programs that are often, not always, sensible.
const (
	genNone = iota
	genScalar
	genStack
	genCtx
	genValue
	genPkt
	genPktEnd
)

// generator makes one random program.
type generator struct {
	r     *rand.Rand
	xdp   bool
	lines []string
	kind  [10]int
	slots [8]int // of fp-8, fp-16, …
	open  []int  // labels jumped to and not yet placed
	label int
}

func (g *generator) emit(format string, args ...any) {
	g.lines = append(g.lines, fmt.Sprintf(format, args...))
}

func (g *generator) pick(kind int) (int, bool) {
	var have []int
	for i, k := range g.kind {
		if k == kind {
			have = append(have, i)
		}
	}
	if len(have) == 0 {
		return 0, false
	}
	return have[g.r.IntN(len(have))], true
}

var edges = []int64{0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 0xffff, 0x10000,
	0x7fffffff, -1, -2, -8, -128, -0x80000000, -0x7fffffff, 1000, 12, 20}

func (g *generator) imm() int64 {
	if g.r.IntN(3) == 0 {
		return int64(int32(g.r.Uint32()))
	}
	return edges[g.r.IntN(len(edges))]
}

func (g *generator) scalarNum() int {
	if n, ok := g.pick(genScalar); ok {
		return n
	}
	n := g.r.IntN(6)
	g.emit("r%d = %d", n, g.imm())
	g.kind[n] = genScalar
	return n
}

var aluOps = []string{"+=", "-=", "*=", "&=", "|=", "^=", "<<=", ">>=", "s>>=", "/=", "%=", "s/=", "s%="}
var cmpOps = []string{"==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&"}

func (g *generator) alu() {
	d := g.scalarNum()
	w := "r"
	if g.r.IntN(2) == 0 {
		w = "w"
	}
	op := aluOps[g.r.IntN(len(aluOps))]
	switch {
	case g.r.IntN(2) == 0:
		g.emit("%s%d %s %s%d", w, d, op, w, g.scalarNum())
	case strings.Contains(op, "<<") || strings.Contains(op, ">>"):
		n := 64
		if w == "w" {
			n = 32
		}
		g.emit("%s%d %s %d", w, d, op, g.r.IntN(n))
	default:
		v := g.imm()
		if v == 0 && strings.ContainsAny(op, "/%") {
			v = 1
		}
		g.emit("%s%d %s %d", w, d, op, v)
	}
}

func (g *generator) mov() {
	d := g.r.IntN(10)
	if d == 6 {
		d = 7
	}
	switch s := g.r.IntN(10); g.r.IntN(7) {
	case 0:
		g.emit("r%d = %d", d, g.imm())
		g.kind[d] = genScalar
	case 1:
		g.emit("r%d = %d ll", d, g.r.Uint64()>>g.r.IntN(64))
		g.kind[d] = genScalar
	case 2:
		n := g.scalarNum()
		g.emit("r%d = (s%d)r%d", d, []int{8, 16, 32}[g.r.IntN(3)], n)
		g.kind[d] = genScalar
	case 3:
		n := g.scalarNum()
		g.emit("w%d = w%d", d, n)
		g.kind[d] = genScalar
	case 4:
		n := g.scalarNum()
		switch g.r.IntN(3) {
		case 0:
			g.emit("r%d = -r%d", n, n)
		case 1:
			g.emit("r%d = be%d r%d", n, []int{16, 32, 64}[g.r.IntN(3)], n)
		default:
			g.emit("w%d = -w%d", n, n)
		}
	default:
		if g.kind[s] != genNone {
			g.emit("r%d = r%d", d, s)
			g.kind[d] = g.kind[s]
		}
	}
}

func (g *generator) load() {
	sizes := []string{"u8", "u16", "u32", "u64"}
	d := g.r.IntN(6)
	size := sizes[g.r.IntN(4)]
	switch g.r.IntN(4) {
	case 0: // a number nobody knows
		if g.kind[6] == genCtx {
			off := 0
			if g.xdp {
				off = 12
			}
			g.emit("r%d = *(u32 *)(r6 + %d)", d, off)
			g.kind[d] = genScalar
		}
	case 1:
		slot := g.r.IntN(8)
		if g.slots[slot] != genNone {
			if g.slots[slot] != genScalar || g.r.IntN(2) == 0 {
				g.emit("r%d = *(u64 *)(r10 - %d)", d, 8*(slot+1))
				g.kind[d] = g.slots[slot]
			} else {
				n := []int{1, 2, 4}[g.r.IntN(3)]
				g.emit("r%d = *(u%d *)(r10 - %d)", d, 8*n, 8*(slot+1)-n*g.r.IntN(8/n))
				g.kind[d] = genScalar
			}
		}
	case 2:
		if v, ok := g.pick(genValue); ok {
			g.emit("r%d = *(%s *)(r%d + %d)", d, size, v, g.r.IntN(60))
			g.kind[d] = genScalar
		}
	default:
		if p, ok := g.pick(genPkt); ok {
			g.emit("r%d = *(%s *)(r%d + %d)", d, size, p, g.r.IntN(24))
			g.kind[d] = genScalar
		}
	}
}

func (g *generator) store() {
	slot := g.r.IntN(8)
	s := g.r.IntN(10)
	switch g.r.IntN(5) {
	case 0:
		g.emit("*(u64 *)(r10 - %d) = %d", 8*(slot+1), g.imm())
		g.slots[slot] = genScalar
	case 1:
		n := []int{1, 2, 4}[g.r.IntN(3)]
		g.emit("*(u%d *)(r10 - %d) = r%d", 8*n, 8*(slot+1)-n*g.r.IntN(8/n), g.scalarNum())
	case 2:
		if v, ok := g.pick(genValue); ok {
			g.emit("*(u%d *)(r%d + %d) = r%d", []int{8, 16, 32, 64}[g.r.IntN(4)], v, g.r.IntN(60), g.scalarNum())
		}
	case 3:
		if v, ok := g.pick(genValue); ok {
			g.emit("lock *(u64 *)(r%d + %d) += r%d", v, 8*g.r.IntN(8), g.scalarNum())
		}
	default:
		if g.kind[s] != genNone {
			g.emit("*(u64 *)(r10 - %d) = r%d", 8*(slot+1), s)
			g.slots[slot] = g.kind[s]
		}
	}
}

// pointer adds a bounded number to a pointer.
func (g *generator) pointer() {
	for _, k := range []int{genValue, genPkt, genStack} {
		p, ok := g.pick(k)
		if !ok || g.r.IntN(2) == 0 {
			continue
		}
		n := g.scalarNum()
		switch g.r.IntN(5) {
		case 0:
			g.emit("r%d &= %d", n, []int{1, 3, 7, 15, 31, 63}[g.r.IntN(6)])
		case 1:
			l := g.newLabel()
			g.emit("if r%d > %d goto l%d", n, g.r.IntN(64), l)
		case 2:
			l := g.newLabel()
			g.emit("if r%d s< 0 goto l%d", n, l)
			l = g.newLabel()
			g.emit("if r%d s> %d goto l%d", n, g.r.IntN(64), l)
		case 3:
			g.emit("r%d += %d", p, g.r.IntN(80)-40)
			return
		}
		d := g.r.IntN(6)
		if d == n {
			return
		}
		g.emit("r%d = r%d", d, p)
		g.emit("r%d += r%d", d, n)
		g.kind[d] = k
		return
	}
}

func (g *generator) newLabel() int {
	g.label++
	g.open = append(g.open, g.label)
	return g.label
}

func (g *generator) place() {
	if len(g.open) == 0 {
		return
	}
	i := g.r.IntN(len(g.open))
	g.emit("l%d:", g.open[i])
	g.open = append(g.open[:i], g.open[i+1:]...)
}

func (g *generator) branch() {
	if p, ok := g.pick(genPkt); ok && g.r.IntN(2) == 0 {
		if e, ok := g.pick(genPktEnd); ok {
			op := []string{">", ">=", "<", "<="}[g.r.IntN(4)]
			d := g.r.IntN(6)
			if d == e || d == p {
				return
			}
			g.emit("r%d = r%d", d, p)
			g.emit("r%d += %d", d, g.r.IntN(24))
			g.kind[d] = genPkt
			if g.r.IntN(2) == 0 {
				g.emit("if r%d %s r%d goto l%d", d, op, e, g.newLabel())
			} else {
				g.emit("if r%d %s r%d goto l%d", e, op, d, g.newLabel())
			}
			return
		}
	}
	w := "r"
	if g.r.IntN(2) == 0 {
		w = "w"
	}
	op := cmpOps[g.r.IntN(len(cmpOps))]
	a := g.scalarNum()
	if g.r.IntN(2) == 0 {
		b := g.scalarNum()
		g.emit("if %s%d %s %s%d goto l%d", w, a, op, w, b, g.newLabel())
	} else {
		g.emit("if %s%d %s %d goto l%d", w, a, op, g.imm(), g.newLabel())
	}
}

// loop counts a register up to a bound.
func (g *generator) loop() {
	g.label++
	l := g.label
	n := 7 + g.r.IntN(3)
	g.emit("r%d = 0", n)
	g.emit("loop%d:", l)
	g.kind[n] = genScalar
	g.kind[n] = genNone // out of reach of what the loop does
	for range g.r.IntN(4) {
		g.alu()
	}
	g.kind[n] = genScalar
	g.emit("r%d += 1", n)
	g.emit("if r%d < %d goto loop%d", n, 1+g.r.IntN(20), l)
}

func (g *generator) call() {
	switch g.r.IntN(3) {
	case 0:
		g.emit("call bpf_get_prandom_u32")
	case 1:
		g.emit("call bpf_ktime_get_ns")
	default:
		g.emit("*(u32 *)(r10 - 68) = %d", g.r.IntN(8))
		g.emit("r2 = r10")
		g.emit("r2 += -68")
		g.emit("r1 = map_idx[m] ll")
		g.emit("call bpf_map_lookup_elem")
		for i := range 6 {
			g.kind[i] = genNone
		}
		g.emit("if r0 == 0 goto l%d", g.newLabel())
		g.kind[0] = genValue
		d := 7 + g.r.IntN(3)
		g.emit("r%d = r0", d)
		g.kind[d] = genValue
		return
	}
	for i := range 6 {
		g.kind[i] = genNone
	}
	g.kind[0] = genScalar
}

// randomProgram returns the text of the program that a seed stands for.
func randomProgram(seed uint64) (text string, xdp bool) {
	g := &generator{r: rand.New(rand.NewPCG(seed, 0x736b6570))}
	g.xdp = g.r.IntN(2) == 0
	g.emit("r6 = r1")
	g.kind[6], g.kind[1] = genCtx, genCtx
	if g.xdp {
		g.emit("r2 = *(u32 *)(r1 + 0)")
		g.emit("r3 = *(u32 *)(r1 + 4)")
		g.kind[2], g.kind[3] = genPkt, genPktEnd
	}
	if g.r.IntN(3) == 0 {
		g.emit("r4 = r10")
		g.emit("r4 += -%d", 8*(1+g.r.IntN(8)))
		g.kind[4] = genStack
	}
	if g.r.IntN(2) == 0 {
		g.call()
	}
	for range 5 + g.r.IntN(40) {
		switch n := g.r.IntN(100); {
		case n < 30:
			g.alu()
		case n < 45:
			g.mov()
		case n < 60:
			g.load()
		case n < 70:
			g.store()
		case n < 80:
			g.pointer()
		case n < 92:
			g.branch()
		case n < 95:
			g.place()
		case n < 97:
			g.loop()
		default:
			g.call()
		}
	}
	g.emit("goto out")
	for len(g.open) > 0 {
		g.place()
		for range g.r.IntN(4) {
			g.alu()
		}
	}
	g.emit("out:")
	g.emit("r0 = 0")
	g.emit("exit")
	return strings.Join(g.lines, "\n"), g.xdp
}

func randomCase(t testing.TB, seed uint64) *testCase {
	text, xdp := randomProgram(seed)
	c := &testCase{name: fmt.Sprint(seed), license: "GPL", text: text}
	c.maps = []*catalog.MapDef{{Name: "m", Type: catalog.MapHash, KeySize: 4, ValueSize: 64, MaxEntries: 4}}
	insns, err := isa.Assemble("random", text, isa.Symbols{
		Helper: func(name string) (int32, bool) { return int32(catalog.HelperByName(name).ID), true },
		Map:    func(string, string) (int32, bool) { return 0, true },
	})
	if err != nil {
		t.Fatalf("seed %d: %v\n%s", seed, err, text)
	}
	c.prog = verifier.Program{Type: catalog.ProgSocketFilter, Insns: insns, GPL: true,
		MapByIdx: func(int32) *catalog.MapDef { return c.maps[0] }}
	if xdp {
		c.prog.Type = catalog.ProgXDP
	}
	return c
}

// TestRandom compares verdicts on random programs with the live kernel's.
// Accepting what the kernel refuses is unsound, the other way round incomplete; neither may be.
func TestRandom(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	m, err := linux.NewMap(&catalog.MapDef{Name: "m", Type: catalog.MapHash, KeySize: 4, ValueSize: 64, MaxEntries: 4}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	accepted, bad := 0, 0
	for seed := *randomSeed; seed < *randomSeed+uint64(*randomCount) && bad < 10; seed++ {
		c := randomCase(t, seed)
		_, err := verifier.Verify(&c.prog, verifier.Options{CPUs: 2})
		lp, kerr := linux.Load(&linux.Prog{Name: "random", Type: c.prog.Type, Insns: c.prog.Insns, License: "GPL", Maps: []*linux.Map{m}})
		if kerr == nil {
			lp.Close()
			accepted++
		}
		var no, kno errno.Errno
		errors.As(err, &no)
		errors.As(kerr, &kno)
		if no == kno {
			continue
		}
		bad++
		t.Errorf("seed %d: skep says %v, the kernel %v\n%s", seed, err, kerr, c.text)
	}
	t.Logf("%d of %d programs accepted", accepted, *randomCount)
}
