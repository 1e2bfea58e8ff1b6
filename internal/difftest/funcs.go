package difftest

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// funcs are the functions of a program and their types. Verifiers ask for them
// where a function is used as a callback or makes tail calls.
type funcs struct {
	starts []int
	types  []*btf.Func
}

// functions names every function that insns call or refer to; nil if there is
// only the main one.
func functions(insns []isa.Instruction) *funcs {
	starts := []int{0}
	for pc, ins := range insns {
		if ins.IsLocalCall() || ins.IsLoadImm64() && ins.Src == isa.PseudoFunc {
			starts = append(starts, pc+1+int(ins.Imm))
		}
	}
	if len(starts) == 1 {
		return nil
	}
	slices.Sort(starts)
	f := &funcs{starts: slices.Compact(starts)}
	num := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	for i := range f.starts {
		f.types = append(f.types, &btf.Func{
			Name: fmt.Sprintf("f%d", i), Type: &btf.FuncProto{Return: num}, Linkage: btf.StaticFunc,
		})
	}
	return f
}

// verifier gives the functions as the verifier takes them.
func (f *funcs) verifier() (spec *btf.Spec, infos []verifier.FuncInfo, err error) {
	b, err := btf.NewBuilder(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	for i, t := range f.types {
		if _, err := b.Add(t); err != nil {
			return nil, nil, err
		}
		infos = append(infos, verifier.FuncInfo{Slot: f.starts[i], Func: t})
	}
	spec, err = b.Spec()
	return spec, infos, err
}

// linux gives the functions as PROG_LOAD takes them: a BTF blob and bpf_func_info records.
func (f *funcs) linux() (blob, info []byte, err error) {
	b, err := btf.NewBuilder(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	for i, t := range f.types {
		id, err := b.Add(t)
		if err != nil {
			return nil, nil, err
		}
		info = binary.LittleEndian.AppendUint32(info, uint32(f.starts[i]))
		info = binary.LittleEndian.AppendUint32(info, uint32(id))
	}
	blob, err = b.Marshal(nil, btf.KernelMarshalOptions())
	return blob, info, err
}
