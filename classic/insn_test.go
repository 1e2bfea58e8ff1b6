package classic

import (
	"slices"
	"testing"
	"unsafe"
)

func TestRawConversionLosesNothing(t *testing.T) {
	prog := []Instruction{
		{LD | H | ABS, 0, 0, 12},
		{JMP | JEQ | K, 0, 1, 0x800},
		{RET | K, 0, 0, 0x40000},
		{RET | A, 255, 255, 0xffffffff},
		{0xffff, 1, 2, 3}, // no code of the machine, kept as it is
	}
	if got := FromRawProgram(RawProgram(prog)); !slices.Equal(got, prog) {
		t.Errorf("there and back: %v, want %v", got, prog)
	}
}

func TestInstructionIsASockFilter(t *testing.T) {
	var i Instruction
	if s := unsafe.Sizeof(i); s != 8 {
		t.Errorf("size %d, want 8", s)
	}
	if o := unsafe.Offsetof(i.K); o != 4 {
		t.Errorf("k at %d, want 4", o)
	}
}
