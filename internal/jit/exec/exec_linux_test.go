//go:build amd64 || arm64

package exec

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/skep-bpf/skep/internal/mem"
)

// The assembly and code generators know these offsets.
func TestLayout(t *testing.T) {
	var c Context
	for _, f := range []struct {
		name string
		at   uintptr
		want uintptr
	}{
		{"goSP", unsafe.Offsetof(c.goSP), 0}, {"goBP", unsafe.Offsetof(c.goBP), 8},
		{"SP", unsafe.Offsetof(c.SP), 16}, {"PC", unsafe.Offsetof(c.PC), 24},
		{"Site", unsafe.Offsetof(c.Site), 32}, {"X", unsafe.Offsetof(c.X), 40},
		{"R", unsafe.Offsetof(c.R), 48}, {"AX", unsafe.Offsetof(c.AX), 96},
		{"exit", unsafe.Offsetof(c.exit), OffExit}, {"Fuel", unsafe.Offsetof(c.Fuel), OffFuel},
		{"CPU", unsafe.Offsetof(c.CPU), OffCPU}, {"Left", unsafe.Offsetof(c.Left), OffLeft},
		{"Redirect", unsafe.Offsetof(c.Redirect), OffRedirect}, {"Key", unsafe.Offsetof(c.Key), OffKey},
		{"ProbeLo", unsafe.Offsetof(c.ProbeLo), OffProbeLo}, {"ProbeLen", unsafe.Offsetof(c.ProbeLen), OffProbeLen},
		{"Top", unsafe.Offsetof(c.Top), 144}, {"Row", unsafe.Offsetof(c.Row), 152},
		{"Stride", unsafe.Offsetof(c.Stride), 160}, {"Left", unsafe.Offsetof(c.Left), 168},
		{"Verdict", unsafe.Offsetof(c.Verdict), 176}, {"Main", unsafe.Offsetof(c.Main), 184},
		{"Running", unsafe.Offsetof(c.Running), OffRunning}, {"Tails", unsafe.Offsetof(c.Tails), OffTails},
		{"Stretch", unsafe.Offsetof(c.Stretch), OffStretch}, {"First", unsafe.Offsetof(c.First), 216},
		{"Random", unsafe.Offsetof(c.Random), OffRandom},
	} {
		if f.at != f.want {
			t.Errorf("Context.%s lies at %d, the assembly says %d", f.name, f.at, f.want)
		}
	}
	var s Saved
	first := unsafe.Offsetof(s.R9)
	if first != savedFirst || unsafe.Offsetof(s.R8) != first+8 || unsafe.Offsetof(s.R7) != first+16 ||
		unsafe.Offsetof(s.FP) != first+24 || unsafe.Offsetof(s.R6) != first+32 || SavedSize != int(first)+40 {
		t.Error("Saved is not as the assembly leaves it")
	}
}

// Code that leaves finds its registers again, and Go finds its own.
func TestEnter(t *testing.T) {
	text, err := Install(adder)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Free()
	stack, err := mem.AllocGuarded(4096)
	if err != nil {
		t.Fatal(err)
	}
	defer stack.Free()
	c := new(Context)
	c.Init(3, stack.Addr()+4096)
	c.SP = c.Top
	c.Call(text.Addr(), Finish)
	saved := (*Saved)(mem.Ptr(c.SP))
	saved.R6, saved.R9 = 100, 1000
	c.R[1] = 5
	Enter(c)
	if c.Site != 7 || c.X != 105 {
		t.Fatalf("left at site %d with %d, want 7 with 105", c.Site, c.X)
	}
	c.PC, c.X = text.Addr()+adderResume, 10000
	Enter(c)
	if c.Site != SiteFinish || c.R[0] != 11005 {
		t.Errorf("finished at site %d with %d", c.Site, c.R[0])
	}
}

// No mapping is writable and executable, and code that was freed is traps.
func TestMemory(t *testing.T) {
	var live []*Text
	var want [][]byte
	check := func() {
		for i, x := range live {
			if got := mem.Bytes(x.Addr(), len(want[i])); !bytes.Equal(got, want[i]) {
				t.Fatalf("code %d was overwritten", i)
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		if len(live) > 0 && rng.IntN(3) == 0 {
			i := rng.IntN(len(live))
			at, n := live[i].Addr(), len(want[i])
			live[i].Free()
			if inRegions(at) {
				for i, b := range mem.Bytes(at, n) {
					if b != trap[i%len(trap)] {
						t.Fatal("freed code is not traps")
					}
				}
			}
			live, want = append(live[:i], live[i+1:]...), append(want[:i], want[i+1:]...)
			check()
			continue
		}
		code := bytes.Repeat([]byte{byte(rng.Uint32()) | 1}, 1+rng.IntN(9000))
		x, err := Install(code)
		if err != nil {
			t.Fatal(err)
		}
		if x.Addr()%codeAlign != 0 {
			t.Errorf("code at %#x", x.Addr())
		}
		live, want = append(live, x), append(want, code)
	}
	check()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if perms := strings.Fields(line)[1]; strings.Contains(perms, "w") && strings.Contains(perms, "x") {
			t.Errorf("writable and executable: %s", line)
		}
	}
	starts := map[string]bool{}
	for _, x := range live {
		starts[fmt.Sprint(x.Addr()%maxGap)] = true
		x.Free()
		x.Free()
	}
	if len(starts) < 3 {
		t.Error("code begins at the same offsets over and over")
	}
	if len(regions.list) > 1 {
		t.Errorf("%d regions are kept", len(regions.list))
	}
}

// inRegions reports whether addr is mapped still.
func inRegions(addr uint64) bool {
	for _, r := range regions.list {
		lo := uint64(uintptr(unsafe.Pointer(&r.code[0])))
		if addr >= lo && addr < lo+uint64(len(r.code)) {
			return true
		}
	}
	return false
}

// What is installed is what runs, also where other code has run before, on every thread.
func TestCodeIsFresh(t *testing.T) {
	stack, err := mem.AllocGuarded(4096)
	if err != nil {
		t.Fatal(err)
	}
	defer stack.Free()
	c := new(Context)
	c.Init(0, stack.Addr()+4096)
	seen := map[uint64]bool{}
	again := 0
	for i := range uint64(2000) {
		text, err := Install(constant(uint16(i)))
		if err != nil {
			t.Fatal(err)
		}
		if seen[text.Addr()] {
			again++
		}
		seen[text.Addr()] = true
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread() // so that another thread takes the next turn
			defer runtime.UnlockOSThread()
			Start(c, text.Addr(), 0)
			close(done)
		}()
		<-done
		if c.R[0] != i {
			t.Fatalf("code %d gave %d", i, c.R[0])
		}
		text.Free()
	}
	if again == 0 {
		t.Error("no address was used twice")
	}
}

func TestEnterAllocatesNothing(t *testing.T) {
	text, err := Install(leaf)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Free()
	c, run := bench(t, text)
	if n := testing.AllocsPerRun(1000, run); n != 0 || c.Site != SiteFinish {
		t.Errorf("%v allocations, site %d", n, c.Site)
	}
}

func BenchmarkEnter(b *testing.B) {
	text, err := Install(leaf)
	if err != nil {
		b.Fatal(err)
	}
	defer text.Free()
	_, run := bench(b, text)
	for b.Loop() {
		run()
	}
}

func bench(t testing.TB, text *Text) (*Context, func()) {
	stack, err := mem.AllocGuarded(4096)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stack.Free)
	c := new(Context)
	c.Init(0, stack.Addr()+4096)
	return c, func() { Start(c, text.Addr(), 0) }
}
