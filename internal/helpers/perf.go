package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// perfFuncs write to perf event arrays.
var perfFuncs = map[catalog.HelperID]Func{
	catalog.FnPerfEventOutput: perfEventOutput,
}

// perfArray is what a perf_event_array offers programs.
type perfArray interface {
	maps.Map
	// ProgOutput writes one sample of data followed by extra to the entry at
	// index, on behalf of a CPU, and returns 0 or a negative errno.
	ProgOutput(cpu int, index uint32, data, extra []byte) uint64
}

// Flags of bpf_perf_event_output: the entry, and how much of the packet to add.
const (
	perfIndex       = 0xffffffff
	perfCurrentCPU  = 0xffffffff
	perfCtxLenShift = 32
	perfCtxLen      = 0xfffff << perfCtxLenShift
)

// perfEventOutput sends a sample. Programs with a packet can have its first
// bytes added (bpf_skb_event_output, bpf_xdp_event_output).
func perfEventOutput(e *Env, _, m, flags, data, size uint64) uint64 {
	known := uint64(perfIndex)
	if e.Pkt != nil {
		known |= perfCtxLen
	}
	if flags&^known != 0 {
		return errno.EINVAL.Ret()
	}
	var extra []byte
	if n := flags & perfCtxLen >> perfCtxLenShift; n != 0 {
		if n > e.Pkt.Size() {
			return errno.EFAULT.Ret()
		}
		extra = mem.Bytes(e.Pkt.Data, int(n))
	}
	pa, ok := e.Host.Map(m).(perfArray)
	if !ok {
		panic("BUG: perf_event_output on another map")
	}
	index := uint32(flags)
	if index == perfCurrentCPU {
		index = uint32(e.CPU)
	}
	return pa.ProgOutput(e.CPU, index, mem.Bytes(data, int(size)), extra)
}
