package isa

import "testing"

// Which maps a program works on makes no difference, nor how it names them; all
// else does. (Against the kernel: internal/cli/prog.)
func TestTag(t *testing.T) {
	prog := func(parts ...Part) Tag { return TagOf(Program(append(parts, ExitInsn())...)) }
	a := prog(LdMapIdxValue(R1, 3, 8))
	if b := prog(LdMapIdxValue(R1, 4, 16)); a != b {
		t.Errorf("%v, %v for other maps", a, b)
	}
	if b := prog(LdMapFD(R1, 4)); a == b {
		t.Errorf("a map and a value of it are both %v", a)
	}
	if a, b := prog(LdMapIdx(R1, 3)), prog(LdMapFD(R1, 4)); a != b {
		t.Errorf("%v by index, %v by descriptor", a, b)
	}
	if a, b := prog(LdImm64(R1, 3)), prog(LdImm64(R1, 4)); a == b || len(a.String()) != 16 {
		t.Errorf("%v, %v for two numbers", a, b)
	}
}
