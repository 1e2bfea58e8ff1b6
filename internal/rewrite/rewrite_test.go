package rewrite

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

var update = flag.Bool("update", false, "write the golden files anew")

// subject is a program with what a verifier would say of it.
type subject struct {
	prog  verifier.Program
	facts verifier.Result
	opts  Options
}

// parse reads a program and lines of facts:
//
//	type xdp
//	attach xdp_devmap
//	inline
//	blind                 with numbers 0x1000001, 0x1000002 … to hide constants
//	ctx 0 3               slots that access the context (btf, arena: the same)
//	guard                 against speculation; nospec 1, behind 2: barriers there;
//	mask 3 src const 17   the number added at slot 3 (src, dst; negative, const), and its limit
//	dead 7 8              slots no path reaches (always, never: known jumps)
//	map 4 array 4 12 100  at slot 4 a map of that type, key, value size and max_entries
//	func 5 16             a function begins at slot 5, with 16 bytes of stack
func parse(t *testing.T, facts, text string) *subject {
	t.Helper()
	s := &subject{}
	var err error
	if s.prog.Insns, err = isa.Assemble("in", text, isa.Symbols{}); err != nil {
		t.Fatal(err)
	}
	s.facts.Insns = make([]verifier.InsnFacts, len(s.prog.Insns))
	for i := range s.facts.Insns {
		s.facts.Insns[i].Seen = true
	}
	for _, line := range strings.Split(facts, "\n") {
		word := strings.Fields(line)
		if len(word) == 0 {
			continue
		}
		num := func(i int) int {
			n, err := strconv.ParseInt(word[i], 0, 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return int(n)
		}
		each := func(f func(x *verifier.InsnFacts)) {
			for i := range word[1:] {
				f(&s.facts.Insns[num(i+1)])
			}
		}
		switch word[0] {
		case "type":
			s.prog.Type = catalog.ProgKindByName(word[1]).Type
		case "attach":
			for s.prog.Attach.String() != word[1] {
				s.prog.Attach++
			}
		case "inline":
			s.opts.Inline = true
		case "guard":
			s.opts.Guard = true
		case "nospec":
			each(func(x *verifier.InsnFacts) { x.Nospec = true })
		case "behind":
			each(func(x *verifier.InsnFacts) { x.NospecResult = true })
		case "mask":
			m := &s.facts.Insns[num(1)].Mask
			m.Limit = uint32(num(len(word) - 1))
			for _, w := range word[2 : len(word)-1] {
				m.Kind |= map[string]verifier.MaskKind{
					"src": verifier.MaskSrc, "dst": verifier.MaskDst, "negative": verifier.MaskNegative, "const": verifier.MaskConst,
				}[w]
			}
		case "blind":
			n := uint32(1 << 24)
			s.opts.Blind = func() uint32 { n++; return n }
		case "ctx":
			each(func(x *verifier.InsnFacts) { x.Access = verifier.AccessCtx })
		case "btf":
			each(func(x *verifier.InsnFacts) { x.Access = verifier.AccessBTF })
		case "arena":
			each(func(x *verifier.InsnFacts) { x.Access = verifier.AccessArena })
		case "dead":
			each(func(x *verifier.InsnFacts) { x.Seen = false })
		case "always":
			each(func(x *verifier.InsnFacts) { x.AlwaysJumps = true })
		case "never":
			each(func(x *verifier.InsnFacts) { x.NeverJumps = true })
		case "map":
			s.facts.Insns[num(1)].Map = &catalog.MapDef{
				Type: catalog.MapKindByName(word[2]).Type, KeySize: uint32(num(3)), ValueSize: uint32(num(4)),
				MaxEntries: uint32(num(5)), Ptr: 0x7f0000001000, ValueBase: 0x7f0000002000,
			}
		case "func":
			if k := len(s.facts.Subprogs); k > 0 {
				s.facts.Subprogs[k-1].End = num(1)
			}
			s.facts.Subprogs = append(s.facts.Subprogs,
				verifier.Subprog{Start: num(1), End: len(s.prog.Insns), StackDepth: num(2)})
		default:
			t.Fatalf("unknown fact %q", line)
		}
	}
	return s
}

// print shows slots with the original slot of each; * marks the first of an expansion.
func print(p *Program) string {
	var b strings.Builder
	var printer isa.Printer
	fn := 0
	for pc := 0; pc < len(p.Insns); pc++ {
		if fn < len(p.Subprogs) && p.Subprogs[fn].Start == pc {
			fmt.Fprintf(&b, "func %d: stack %d\n", fn, p.Subprogs[fn].StackDepth)
			fn++
		}
		mark := ' '
		if p.First[pc] {
			mark = '*'
		}
		fmt.Fprintf(&b, "%3d %3d%c %s\n", pc, p.Orig[pc], mark, printer.Text(p.Insns, pc))
		if p.Insns[pc].IsLoadImm64() {
			pc++
		}
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			part := map[string]string{}
			for _, f := range ar.Files {
				part[f.Name] = string(f.Data)
			}
			s := parse(t, part["facts"], part["in"])
			p, err := s.opts.Rewrite(&s.prog, &s.facts)
			if err != nil {
				t.Fatal(err)
			}
			check(t, p)
			got := print(p)
			if *update {
				ar.Files = []txtar.File{{Name: "facts", Data: []byte(part["facts"])}, {Name: "in", Data: []byte(part["in"])}, {Name: "out", Data: []byte(got)}}
				if err := os.WriteFile(name, txtar.Format(ar), 0o666); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != part["out"] {
				t.Errorf("got:\n%swant:\n%s", got, part["out"])
			}
		})
	}
}

// check holds a rewritten program to what engines rely on.
func check(t *testing.T, p *Program) {
	t.Helper()
	if len(p.Orig) != len(p.Insns) || len(p.First) != len(p.Insns) {
		t.Fatalf("%d slots, %d origins, %d marks", len(p.Insns), len(p.Orig), len(p.First))
	}
	starts := map[int]bool{}
	for i, s := range p.Subprogs {
		starts[s.Start] = true
		if s.Start >= s.End || i > 0 && p.Subprogs[i-1].End != s.Start {
			t.Errorf("function %d takes slots %d to %d", i, s.Start, s.End)
		}
	}
	for pc := 0; pc < len(p.Insns); pc++ {
		ins := p.Insns[pc]
		at := pc
		if ins.IsLoadImm64() {
			pc++
			if p.First[pc] || p.Orig[pc] != p.Orig[at] {
				t.Errorf("slot %d: second half of a load is marked or of another instruction", pc)
			}
		}
		switch {
		case ins.IsLocalCall() || ins.IsLoadImm64() && ins.Src == isa.PseudoFunc:
			if !starts[at+1+int(ins.Imm)] {
				t.Errorf("slot %d: %v is of no function", at, ins)
			}
		case isJump(ins) && ins != trap:
			to := at + 1 + ins.JumpOffset()
			if to < 0 || to >= len(p.Insns) {
				t.Errorf("slot %d: %v leaves the program", at, ins)
			} else if p.Orig[to] != p.Orig[at] && !p.First[to] {
				t.Errorf("slot %d: %v goes into the middle of an expansion", at, ins)
			}
		}
	}
}

// Random programs of everything that grows or shrinks: jumps still arrive where
// they did, and what was not rewritten still stands.
func TestJumpsArrive(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := randomSubject(r)
		p, err := s.opts.Rewrite(&s.prog, &s.facts)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		check(t, p)
		at := map[int32]int{} // where each original's expansion begins
		for pc := range p.Insns {
			if p.First[pc] {
				at[p.Orig[pc]] = pc
			}
		}
		for pc, ins := range s.prog.Insns {
			if !s.facts.Insns[pc].Seen {
				if _, there := at[int32(pc)]; there {
					t.Fatalf("seed %d: dead slot %d is there", seed, pc)
				}
				continue
			}
			if _, there := at[int32(pc)]; !there || !isJump(ins) || isMayGoto(ins) {
				continue
			}
			got := at[int32(pc)]
			for !isJump(p.Insns[got]) { // what blinding put in front
				got++
			}
			to := got + 1 + p.Insns[got].JumpOffset()
			// What was removed is passed over, so the target may be later.
			want := int32(pc + 1 + ins.JumpOffset())
			for !present(at, want) {
				want++
			}
			if p.Orig[to] != want {
				t.Fatalf("seed %d: slot %d goes to %d, want %d\n%s", seed, pc, p.Orig[to], want, print(p))
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, print(p))
		}
	}
}

func present(at map[int32]int, orig int32) bool { _, ok := at[orig]; return ok }

func randomSubject(r *rand.Rand) *subject {
	n := 5 + r.IntN(60)
	s := &subject{opts: Options{Inline: r.IntN(2) == 0}}
	if r.IntN(4) == 0 {
		s.opts.Blind = r.Uint32
	}
	s.prog.Type = catalog.ProgSchedCls
	array := &catalog.MapDef{Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 4, Ptr: 1 << 40, ValueBase: 1 << 41}
	add := func(f verifier.InsnFacts, ins ...isa.Instruction) {
		f.Seen = true
		for range ins {
			s.facts.Insns = append(s.facts.Insns, f)
		}
		s.prog.Insns = append(s.prog.Insns, ins...)
	}
	for len(s.prog.Insns) < n {
		switch r.IntN(7) {
		case 0:
			add(verifier.InsnFacts{Access: verifier.AccessCtx}, isa.StoreMem(isa.W, isa.R1, isa.R2, 12)) // queue_mapping grows
		case 1:
			add(verifier.InsnFacts{Map: array}, isa.LdMapFD(isa.R1, 3)...)
		case 2:
			add(verifier.InsnFacts{Map: array}, isa.HelperCall(int32(catalog.FnMapLookupElem)))
		case 3:
			add(verifier.InsnFacts{}, isa.LoadAbs(isa.H, 12))
		case 4:
			add(verifier.InsnFacts{}, isa.MayGoto(0))
		default:
			add(verifier.InsnFacts{}, isa.JmpImm(isa.Jeq, isa.R0, 1, 0))
		}
	}
	add(verifier.InsnFacts{}, isa.ExitInsn())
	// Aim the jumps at slots that begin an instruction, and kill what nothing needs.
	var begins []int
	for pc := 0; pc < len(s.prog.Insns); pc++ {
		begins = append(begins, pc)
		if s.prog.Insns[pc].IsLoadImm64() {
			pc++
		}
	}
	target := map[int]bool{}
	for _, pc := range begins {
		if ins := &s.prog.Insns[pc]; isJump(*ins) {
			to := begins[r.IntN(len(begins))]
			ins.Off = int16(to - pc - 1)
			target[to] = true
		}
	}
	for i, pc := range begins[:len(begins)-1] {
		prev := isa.Instruction{}
		if i > 0 {
			prev = s.prog.Insns[begins[i-1]]
		}
		if !target[pc] && pc > 0 && !isJump(prev) && !isJump(s.prog.Insns[pc]) && !s.prog.Insns[pc].IsLoadImm64() && r.IntN(4) == 0 {
			s.facts.Insns[pc].Seen = false
		}
	}
	return s
}

// A conditional jump that insertions put out of reach is an error naming it; a
// plain one becomes a gotol.
func TestJumpRange(t *testing.T) {
	far := func(jump isa.Instruction) (*Program, error) {
		s := &subject{prog: verifier.Program{Type: catalog.ProgSchedCls}}
		jump.Off = 20000
		s.prog.Insns = append(s.prog.Insns, jump)
		for range 20000 {
			s.prog.Insns = append(s.prog.Insns, isa.StoreMem(isa.W, isa.R1, isa.R2, 12))
		}
		s.prog.Insns = append(s.prog.Insns, isa.ExitInsn())
		s.facts.Insns = make([]verifier.InsnFacts, len(s.prog.Insns))
		for i := range s.facts.Insns {
			s.facts.Insns[i] = verifier.InsnFacts{Seen: true, Access: verifier.AccessCtx}
		}
		s.facts.Insns[0].Access, s.facts.Insns[20001].Access = 0, 0
		return Rewrite(&s.prog, &s.facts)
	}
	_, err := far(isa.JmpImm(isa.Jeq, isa.R0, 1, 0))
	if e := (*Error)(nil); !errors.Is(err, ErrRange) || !errors.As(err, &e) || e.Slot != 0 {
		t.Errorf("conditional: %v", err)
	}
	p, err := far(isa.Goto(0))
	if err != nil {
		t.Fatal(err)
	}
	if p.Insns[0] != isa.Gotol(40000) {
		t.Errorf("goto became %v", p.Insns[0])
	}
}

func TestKernelSymbol(t *testing.T) {
	s := parse(t, "", "r0 = 0\nexit")
	s.prog.Insns = append(isa.LdBTFID(isa.R1, 7, 0), s.prog.Insns...)
	s.facts.Insns = append(s.facts.Insns, s.facts.Insns...)
	if _, err := Rewrite(&s.prog, &s.facts); !errors.Is(err, ErrKernelSymbol) || err.Error() != "insn 0: "+ErrKernelSymbol.Error() {
		t.Error(err)
	}
}
