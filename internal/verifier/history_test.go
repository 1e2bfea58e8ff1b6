package verifier_test

import (
	"testing"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// TestHistory: the path to a refusal is told step by step, others are left out.
func TestHistory(t *testing.T) {
	insns, err := isa.Assemble("history", `
		r2 = *(u32 *)(r1 +76)
		r3 = *(u32 *)(r1 +80)
		r0 = 0
		r4 = *(u32 *)(r1 +0)
		if r4 == 7 goto read
		exit
	read:
		*(u64 *)(r10 -8) = r2
		r5 = *(u64 *)(r10 -8)
		r0 = *(u8 *)(r5 +0)
		exit`, isa.Symbols{})
	if err != nil {
		t.Fatal(err)
	}
	p := &verifier.Program{Name: "history", Type: catalog.ProgSchedCls, Insns: insns, GPL: true}
	tr := verifier.HistoryOf(p, verifier.Options{})
	if tr == nil {
		t.Fatal("accepted")
	}
	var slots []int
	for i := range tr.Steps {
		slots = append(slots, tr.Steps[i].Slot)
	}
	want := []int{0, 1, 2, 3, 4, 6, 7, 8}
	if len(slots) != len(want) {
		t.Fatalf("path %v, want %v", slots, want)
	}
	for i := range want {
		if slots[i] != want[i] {
			t.Fatalf("path %v, want %v", slots, want)
		}
	}
	last := tr.Steps[len(tr.Steps)-1].Frames[0]
	if v := last.Regs[isa.R5]; v.Kind() != "pkt" || v.Range() != 0 || v.Text != "pkt(r=0)" {
		t.Errorf("R5 is %s, range %d", v.Text, v.Range())
	}
	if len(last.Stack) != 1 || last.Stack[0].Kind() != "spill" || last.Stack[0].Value.Kind() != "pkt" {
		t.Errorf("the stack is %+v", last.Stack)
	}
	if v, ok := last.Regs[isa.R4].Const(); !ok || v != 7 {
		t.Errorf("R4 is %s", last.Regs[isa.R4].Text)
	}
	if verifier.HistoryOf(&verifier.Program{Type: catalog.ProgSchedCls, Insns: isa.Program(isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())}, verifier.Options{}) != nil {
		t.Error("an accepted program has a history")
	}
}
