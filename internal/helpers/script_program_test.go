package helpers

import (
	"sync"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

// initial is the value the scratch map starts with.
func (s *script) initial() []byte {
	b := make([]byte, scratchLen)
	copy(b[dataOff:], s.data)
	return b
}

// Registers of the program: R6 the context, R7 a step's result, R8 a socket.
// Map 0 is the scratch map, 1 that of the constants, the script's follow.

// program makes the script a program.
func (s *script) program(t *testing.T) []isa.Instruction {
	parts := []isa.Part{isa.Mov64Reg(isa.R6, isa.R1)}
	for i, st := range s.steps {
		parts = append(parts, st.code(t)...)
		parts = append(parts, isa.LdMapIdxValue(isa.R1, 0, int32(8*i)), isa.StoreMem(isa.DW, isa.R1, isa.R7, 0))
	}
	return isa.Program(append(parts, isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())...)
}

// code is what a step does, with its result in R7.
func (s *step) code(t *testing.T) []isa.Part {
	switch s.kind {
	case stepLoad:
		return []isa.Part{isa.LoadMem(isa.W, isa.R7, isa.R6, int16(s.off))}
	case stepStore:
		return []isa.Part{isa.Mov64Imm(isa.R7, int32(s.value)), isa.StoreMem(isa.W, isa.R6, isa.R7, int16(s.off)), isa.Mov64Imm(isa.R7, 0)}
	case stepLegacy:
		return []isa.Part{isa.LoadAbs(s.size, int32(s.off)), isa.Mov64Reg(isa.R7, isa.R0)}
	case stepSock:
		const sk = 168 // __sk_buff.sk
		return []isa.Part{
			isa.LoadMem(isa.DW, isa.R1, isa.R6, sk),
			isa.Mov64Imm(isa.R7, -1),
			isa.JmpImm(isa.Jeq, isa.R1, 0, 3),
			isa.HelperCall(int32(catalog.FnSkFullsock)),
			isa.JmpImm(isa.Jeq, isa.R0, 0, 1),
			isa.LoadMem(isa.W, isa.R7, isa.R0, int16(s.off)),
		}
	}
	var parts []isa.Part
	for i, a := range s.args {
		parts = append(parts, a.code(isa.R1+isa.Register(i))...)
	}
	switch s.kind {
	case stepPut:
		return append(parts, isa.LdMapIdxValue(isa.R2, 0, int32(dataOff+s.off)), isa.StoreMem(isa.DW, isa.R2, isa.R1, 0), isa.Mov64Imm(isa.R7, 0))
	case stepKfunc:
		parts = append(parts, isa.KfuncCall(kfuncID(t, s.kfunc), 0))
	default:
		parts = append(parts, isa.HelperCall(int32(s.fn)))
	}
	switch {
	case s.field:
		return append(parts, s.look()...)
	case s.drop != "":
		return append(parts, isa.Mov64Imm(isa.R7, 0), isa.JmpImm(isa.Jeq, isa.R0, 0, 3), isa.Mov64Reg(isa.R1, isa.R0),
			isa.KfuncCall(kfuncID(t, s.drop), 0), isa.Mov64Imm(isa.R7, 1))
	case s.truth:
		return append(parts, isa.Mov64Imm(isa.R7, 0), isa.JmpImm(isa.Jeq, isa.R0, 0, 1), isa.Mov64Imm(isa.R7, 1))
	}
	return append(parts, isa.Mov64Reg(isa.R7, isa.R0))
}

// look reads what the step wants of the socket in R0, if there is one, and gives it back.
func (s *step) look() []isa.Part {
	look := isa.Program(isa.LoadMem(isa.W, isa.R7, isa.R8, int16(s.off)))
	if s.then != 0 {
		look = isa.Program(isa.Mov64Reg(isa.R1, isa.R8), isa.HelperCall(int32(s.then)),
			isa.Mov64Imm(isa.R7, 0), isa.JmpImm(isa.Jeq, isa.R0, 0, 1), isa.Mov64Imm(isa.R7, 1))
	}
	return []isa.Part{
		isa.Mov64Reg(isa.R8, isa.R0), isa.Mov64Imm(isa.R7, -1),
		isa.JmpImm(isa.Jeq, isa.R8, 0, int16(len(look)+2)), isa.Instructions(look),
		isa.Mov64Reg(isa.R1, isa.R8), isa.HelperCall(int32(catalog.FnSkRelease)),
	}
}

// code loads an argument into a register.
func (a arg) code(reg isa.Register) []isa.Part {
	switch a.kind {
	case argCtx:
		return []isa.Part{isa.Mov64Reg(reg, isa.R6)}
	case argMem:
		return []isa.Part{isa.LdMapIdxValue(reg, 0, int32(dataOff+a.v))}
	case argResult:
		return []isa.Part{isa.LdMapIdxValue(reg, 0, int32(8*a.v)), isa.LoadMem(isa.DW, reg, reg, 0)}
	case argMap:
		return []isa.Part{isa.LdMapIdx(reg, int32(a.v)+2)}
	case argConst:
		return []isa.Part{isa.LdMapIdxValue(reg, 1, int32(a.v))}
	case argDynptr:
		return []isa.Part{isa.Mov64Reg(reg, isa.RFP), isa.ALU64Imm(isa.Add, reg, -16*int32(a.v+1))}
	}
	if int64(a.v) == int64(int32(a.v)) {
		return []isa.Part{isa.Mov64Imm(reg, int32(a.v))}
	}
	return []isa.Part{isa.LdImm64(reg, a.v)}
}

// constants is the value of the map that holds constant strings.
func (s *script) constants() []byte {
	b := make([]byte, constLen)
	copy(b, s.konst)
	return b
}

// kernelTypes are the running kernel's types, for the ids of kfuncs.
var kernelTypes = sync.OnceValues(btf.LoadKernelSpec)

// kfuncID returns the id of a kernel function.
func kfuncID(t *testing.T, name string) int32 {
	t.Helper()
	spec, err := kernelTypes()
	oracle.Need(t, "the kernel's BTF", err)
	var fn *btf.Func
	if err := spec.TypeByName(name, &fn); err != nil {
		t.Fatalf("kfunc %s: %v", name, err)
	}
	id, err := spec.TypeID(fn)
	if err != nil {
		t.Fatal(err)
	}
	return int32(id)
}

const constLen = 512

var (
	scratchDef = catalog.MapDef{Name: "scratch", Type: catalog.MapArray, KeySize: 4, ValueSize: scratchLen, MaxEntries: 1}
	constDef   = catalog.MapDef{Name: "const", Type: catalog.MapArray, KeySize: 4, ValueSize: constLen, MaxEntries: 1, Flags: catalog.FlagRdonlyProg}
)
