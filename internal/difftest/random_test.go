package difftest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

var (
	programs  = flag.Int("programs", 200, "random programs to run on every engine")
	firstSeed = flag.Uint64("seed", 1, "seed of the first random program")
	only      = flag.String("engines", "", "run random programs on the engines of these names only, separated by commas")
)

// kernelBug is how the kernel's verifier confesses. Linux 6.18 does so where a
// bpf_loop of 0 rounds is all that names a callback: it takes the callback for
// dead code, removes it, and then misses it.
const kernelBug = "verifier bug: No program to jit"

// TestRandomPrograms draws programs and compares all engines: verdicts, R0,
// and every byte of memory the program leaves.
func TestRandomPrograms(t *testing.T) {
	t.Run("kernel", func(t *testing.T) { oracle.Need(t, "bpf(2)", kernel{}.Available()) })
	engines := chosen(t)
	var accepted, refused, stricter, bugs int
	for seed := *firstSeed; seed < *firstSeed+uint64(*programs); seed++ {
		c := Generate(seed)
		var outcomes []*Outcome
		var names []string
		var verdicts []error
		for _, e := range engines {
			o, err := e.Run(c)
			if r := (*Refusal)(nil); err != nil && !errors.As(err, &r) {
				t.Fatalf("seed %d: %s: %v\n%s", seed, e.Name(), err, listing(c))
			}
			verdicts, names = append(verdicts, err), append(names, e.Name())
			if o != nil {
				outcomes = append(outcomes, o)
			}
		}
		ours, theirs := verdicts[0], verdicts[len(verdicts)-1]
		switch {
		case ours == nil && theirs != nil && strings.Contains(theirs.Error(), kernelBug):
			bugs++
		case ours == nil && theirs != nil:
			t.Errorf("seed %d: %s accepts what %s refuses: %v\n%s", seed, names[0], names[len(names)-1], theirs, listing(c))
		case ours != nil && theirs == nil && fetchesFromStack(c):
			stricter++
			t.Logf("seed %d: Linux forgets that what it fetched from the stack has to be precise: %s", seed, tail(ours.Error()))
		case ours != nil && theirs == nil:
			stricter++
			t.Errorf("seed %d: %s refuses what %s accepts: %s", seed, names[0], names[len(names)-1], tail(ours.Error()))
		case ours != nil:
			refused++
		default:
			accepted++
			for i, o := range outcomes[1:] {
				diff := differ(c, outcomes[0], o)
				if diff != "" && names[i+1] == (kernel{}).Name() && fetchesFromStack(c) {
					t.Logf("seed %d: Linux took for dead what runs, after a fetch from the stack: %s", seed, diff)
				} else if diff != "" {
					t.Errorf("seed %d: %s and %s: %s\n%s", seed, names[0], names[i+1], diff, listing(c))
				}
			}
		}
		for _, o := range outcomes {
			o.Close()
		}
		if n := seed - *firstSeed + 1; n%50000 == 0 {
			t.Logf("%d programs", n)
		}
	}
	t.Logf("%d programs run on all engines, %d refused by all, %d by skep alone, %d broke the kernel's verifier",
		accepted, refused, stricter, bugs)
	if accepted < *programs/2 {
		t.Errorf("only %d of %d programs ran: the generator draws too much that is refused", accepted, *programs)
	}
}

// chosen are the engines to compare. Each of skep's has one machine for all
// programs, whose memory is given back and taken again as in a long life, and
// whose arrays are the same in all.
func chosen(t *testing.T) (engines []Engine) {
	for _, e := range Engines() {
		if e.Available() != nil || *only != "" && !slices.Contains(strings.Split(*only, ","), e.Name()) {
			continue
		}
		if o, ok := e.(ours); ok {
			m, err := o.newMachine()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(m.Close)
			o.machine, o.arrays = m, map[string]maps.Map{}
			t.Cleanup(func() {
				for _, mp := range o.arrays {
					m.CloseMap(mp)
				}
			})
			e = o
		}
		engines = append(engines, e)
	}
	if len(engines) < 2 {
		t.Fatalf("-engines %s leaves %d to compare", *only, len(engines))
	}
	return engines
}

// differ says in what two outcomes of a case differ.
func differ(c *Case, a, b *Outcome) string {
	bits := min(a.Bits, b.Bits)
	if mask := ^uint64(0) >> (64 - bits); a.R0&mask != b.R0&mask {
		return fmt.Sprintf("R0 = %#x, %#x", a.R0, b.R0)
	}
	if !bytes.Equal(a.Packet, b.Packet) {
		return fmt.Sprintf("packet:\n%x\n%x", a.Packet, b.Packet)
	}
	for i, m := range c.Maps {
		for _, e := range m.Put {
			va, vb := make([]byte, m.Def.ValueSize), make([]byte, m.Def.ValueSize)
			if err := errors.Join(a.Maps[i].Lookup(e.Key, va, 0), b.Maps[i].Lookup(e.Key, vb, 0)); err != nil {
				return err.Error()
			}
			if !bytes.Equal(va, vb) {
				return fmt.Sprintf("map %s at %x:\n%x\n%x", m.Def.Name, e.Key, va, vb)
			}
		}
	}
	return ""
}

// fetchesFromStack reports whether an atomic instruction of the program gives
// back what lay on the stack. The kernel marks no slot as precise on the way back
// from there and takes states for equal that are not. Then it accepts too much,
// or removes instructions as dead that are not: see "fetches from the stack" in the
// verifier's stack.txtar.
func fetchesFromStack(c *Case) bool {
	return slices.ContainsFunc(c.Insns, func(ins isa.Instruction) bool {
		return ins.Op.Class() == isa.ClassSTX && ins.Op.Mode() == isa.ModeATOMIC && ins.Imm&isa.Fetch != 0 && ins.Dst == isa.R10
	})
}

func listing(c *Case) string {
	var out strings.Builder
	p := isa.Printer{}
	if err := p.Listing(&out, c.Insns); err != nil {
		return err.Error()
	}
	return out.String()
}

// tail is the end of a log, where it says why.
func tail(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

// Every form that a random program can hold is drawn sooner or later.
func TestGeneratorDrawsEveryForm(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(400) {
		for _, ins := range Generate(seed).Insns {
			if row := isa.Lookup(ins); row != nil {
				seen[row.Name] = true
			}
		}
	}
	for _, row := range isa.Table {
		if !seen[row.Name] && !outside[row.Name] {
			t.Errorf("%s is never drawn", row.Name)
		}
	}
}

// TestRecordedAlike: programs of which a verifier that records states once
// thought otherwise than one that does not, and one that left what it had recorded
// (a number filled with its sign stayed linked to the one that was spilled).
func TestRecordedAlike(t *testing.T) {
	for _, seed := range []uint64{3000015789, 3000027496, 10012670, 5000024002} {
		c := Generate(seed)
		var verdicts []bool
		var names []string
		for _, e := range Engines() {
			if e.Available() != nil {
				continue
			}
			o, err := e.Run(c)
			if r := (*Refusal)(nil); err != nil && !errors.As(err, &r) {
				t.Fatalf("seed %d: %s: %v", seed, e.Name(), err)
			}
			if o != nil {
				o.Close()
			}
			if verdicts, names = append(verdicts, err == nil), append(names, e.Name()); verdicts[0] != (err == nil) {
				t.Errorf("seed %d: %s and %s disagree", seed, names[0], e.Name())
			}
		}
	}
}
