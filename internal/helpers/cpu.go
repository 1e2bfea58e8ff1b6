package helpers

import "github.com/skep-bpf/skep/internal/catalog"

// PerCPUStride is the distance between the copies of a per-CPU kernel variable,
// in bytes: its address is that of CPU 0's copy, and CPU n's lies n strides on.
const PerCPUStride = 4096

// cpuFuncs tell of the vCPU.
var cpuFuncs = map[catalog.HelperID]Func{
	catalog.FnGetSmpProcessorID: func(e *Env, _, _, _, _, _ uint64) uint64 { return uint64(e.CPU) },
	catalog.FnGetNumaNodeID:     func(*Env, uint64, uint64, uint64, uint64, uint64) uint64 { return 0 },
	catalog.FnGetPrandomU32:     func(e *Env, _, _, _, _, _ uint64) uint64 { return uint64(e.Host.Random(e.CPU)) },
	catalog.FnPerCPUPtr:         perCPUPtr,
	catalog.FnThisCPUPtr: func(e *Env, ptr, _, _, _, _ uint64) uint64 {
		return ptr + uint64(e.CPU)*PerCPUStride
	},
}

func perCPUPtr(e *Env, ptr, cpu, _, _, _ uint64) uint64 {
	if uint32(cpu) >= uint32(e.Host.CPUs()) {
		return 0
	}
	return ptr + uint64(uint32(cpu))*PerCPUStride
}
