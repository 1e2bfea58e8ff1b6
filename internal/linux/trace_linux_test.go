package linux

import (
	"runtime"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

// TestTrace runs a program that prints, and reads its lines back.
func TestTrace(t *testing.T) {
	oracle.Need(t, "bpf(2)", Available())
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	trace, err := OpenTrace(syscall.Gettid())
	oracle.Need(t, "tracefs", err)
	defer func() {
		if err := trace.Close(); err != nil {
			t.Error(err)
		}
	}()

	const text = 0x000a7525206e // "n %u\n", as the stack holds it
	p, err := Load(&Prog{Type: catalog.ProgSocketFilter, License: "GPL", Insns: isa.Program(
		isa.LdImm64(isa.R1, text),
		isa.StoreMem(isa.DW, isa.RFP, isa.R1, -8),
		isa.Mov64Reg(isa.R1, isa.RFP), isa.ALU64Imm(isa.Add, isa.R1, -8),
		isa.Mov64Imm(isa.R2, 6), isa.Mov64Imm(isa.R3, 7),
		isa.HelperCall(int32(catalog.FnTracePrintk)),
		isa.Mov64Imm(isa.R0, 0), isa.ExitInsn(),
	)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if lines, err := trace.Lines(); err != nil || len(lines) != 0 {
		t.Fatalf("before the run: %q, %v", lines, err)
	}
	if _, err := p.TestRun(&Run{Data: make([]byte, 64), Repeat: 2}); err != nil {
		t.Fatal(err)
	}
	lines, err := trace.Lines()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"n 7", "n 7"}, lines); d != "" {
		t.Error(d)
	}
}
