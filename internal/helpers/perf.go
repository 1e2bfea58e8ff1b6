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

// perfEventOutput sends a sample. Programs with a packet can have its first
// bytes added (bpf_skb_event_output, bpf_xdp_event_output).
func perfEventOutput(e *Env, _, m, flags, data, size uint64) uint64 {
	known := maps.PerfIndexMask
	if e.Pkt != nil {
		known |= maps.PerfCtxLenMask
	}
	if flags&^known != 0 {
		return errno.EINVAL.Ret()
	}
	var extra []byte
	if n := flags & maps.PerfCtxLenMask >> 32; n != 0 {
		if n > e.Pkt.Size() {
			return errno.EFAULT.Ret()
		}
		extra = mem.Bytes(e.Pkt.Data, int(n))
	}
	pa, ok := e.Host.Map(m).(*maps.PerfEventArray)
	if !ok {
		panic("BUG: perf_event_output on another map")
	}
	return pa.ProgOutput(e.CPU, flags, data, size, extra)
}
