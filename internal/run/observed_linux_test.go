package run

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/jit/debug"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// While a program runs, samples have its label; afterwards the caller's again.
func TestProfileLabels(t *testing.T) {
	each(t, Options{CPUs: 1, Labels: true}, func(t *testing.T, m *Machine) {
		inside := ""
		m.opts.Trace = func(TraceLine) { inside = labels(t) }
		p := program(t, m, nil,
			isa.StoreImm(isa.DW, isa.RFP, -8, 'x'), isa.Mov64Reg(isa.R1, isa.RFP), isa.ALU64Imm(isa.Add, isa.R1, -8), isa.Mov64Imm(isa.R2, 2),
			isa.HelperCall(int32(catalog.FnTracePrintk)), isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
		pprof.Do(context.Background(), pprof.Labels("caller", "test"), func(context.Context) {
			runOn(t, m, p)
			if want := `"bpf_prog":"` + p.Rewritten.Symbol(0) + `"`; !strings.Contains(inside, want) {
				t.Errorf("labels inside the run %s, want %s", inside, want)
			}
			if outside := labels(t); !strings.Contains(outside, `"caller":"test"`) {
				t.Errorf("labels behind the run: %s", outside)
			}
		})
	})
}

// labels are those of the goroutines that have some.
func labels(t *testing.T) string {
	var out bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&out, 1); err != nil {
		t.Fatal(err)
	}
	all := ""
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "# labels:") {
			all += line
		}
	}
	return all
}

// perf's map has a line for each function, and code lies where it says.
func TestPerfMap(t *testing.T) {
	oracle.Need(t, "native code", jit.Available())
	t.Cleanup(func() { os.Remove(debug.MapFile()) })
	m := newMachine(t, Options{CPUs: 1, PerfMap: true})
	p := program(t, m, []verifier.Subprog{{End: 2}, {Start: 2, End: 4}}, isa.LocalCall(1), isa.ExitInsn(), isa.Mov64Imm(isa.R0, 7), isa.ExitInsn())
	text, err := os.ReadFile(debug.MapFile())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		off, size := p.native.Function(i)
		if want := fmt.Sprintf("%x %x %s\n", p.native.Addr()+uint64(off), size, p.Rewritten.Symbol(i)); !strings.Contains(string(text), want) {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
	if err := os.Remove(debug.MapFile()); err != nil {
		t.Fatal(err)
	}
	// What others put there is left alone.
	trap := t.TempDir() + "/trap"
	if err := os.WriteFile(trap, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(string, string) error{"link": os.Symlink, "hard link": os.Link} {
		if err := put(trap, debug.MapFile()); err != nil {
			t.Logf("no %s can be made: %v", name, err)
			continue
		}
		if err := debug.AddToMap([]debug.Function{{Name: "x"}}); err == nil || !strings.Contains(err.Error(), "perf map: ") {
			t.Errorf("through a %s: %v", name, err)
		}
		os.Remove(debug.MapFile())
	}
	if text, _ := os.ReadFile(trap); len(text) != 0 {
		t.Errorf("written through a link: %q", text)
	}
}

const gdbChild = "SKEP_GDB_CHILD"

// gdb knows native code by name while it is loaded, and no longer.
func TestGDB(t *testing.T) {
	oracle.Need(t, "native code", jit.Available())
	if os.Getenv(gdbChild) != "" {
		m := newMachine(t, Options{CPUs: 1, GDB: true})
		keep := program(t, m, nil, isa.Mov64Imm(isa.R0, 7), isa.ExitInsn())
		gone, err := m.NewProgram(named("gone", isa.Mov64Imm(isa.R0, 8), isa.ExitInsn()), nil)
		if err != nil {
			t.Fatal(err)
		}
		gone.Close()
		syscall.Kill(os.Getpid(), syscall.SIGUSR2) // gdb takes over
		runtime.KeepAlive(keep)
		return
	}
	if testing.Short() {
		t.Skip("builds a binary")
	}
	gdb := oracle.Tool(t, "gdb")
	symbol := named("test").Symbol(0)
	binary := t.TempDir() + "/run.test" // the one go test runs has no symbol table
	if out, err := exec.Command("go", "test", "-c", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	// gdb now and then misses the event that tells of code, when threads begin at
	// that moment: one try in ten. What is not registered it misses every time.
	var out []byte
	for range 5 {
		cmd := exec.Command(gdb, "-batch", "-nx",
			"-ex", "handle SIGURG nostop noprint pass", "-ex", "handle SIGUSR2 stop nopass",
			"-ex", "run", "-ex", "info functions bpf_prog_", "-ex", "x/2i "+symbol,
			"--args", binary, "-test.run", "^TestGDB$")
		cmd.Env = append(os.Environ(), gdbChild+"=1", "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
		var err error
		out, err = cmd.CombinedOutput()
		if strings.Contains(string(out), "_gone") {
			break
		}
		if err == nil && strings.Contains(string(out), "<"+symbol+">:\tmov    $0x7,%eax") {
			return
		}
	}
	t.Errorf("gdb does not know the code, or knows code that is gone:\n%s", out)
}

// named is a program with a name.
func named(name string, parts ...isa.Part) *rewrite.Program {
	return &rewrite.Program{Insns: isa.Program(parts...), Source: &verifier.Program{Name: name, Type: catalog.ProgXDP}}
}
