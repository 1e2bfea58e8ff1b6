package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// tracedFuncs tell programs of the function or event they are attached to.
var tracedFuncs = map[catalog.HelperID]Func{
	catalog.FnGetFuncIP:       func(e *Env, _, _, _, _, _ uint64) uint64 { return e.Traced.IP },
	catalog.FnGetAttachCookie: func(e *Env, _, _, _, _, _ uint64) uint64 { return e.Traced.Cookie },
	catalog.FnGetFuncArgCnt:   func(e *Env, _, _, _, _, _ uint64) uint64 { return uint64(e.Traced.Args) },
	catalog.FnGetFuncArg: func(e *Env, ctx, n, to, _, _ uint64) uint64 {
		if uint64(uint32(n)) >= uint64(e.Traced.Args) {
			return errno.EINVAL.Ret()
		}
		mem.Store64(to, mem.Load64(ctx+8*uint64(uint32(n))))
		return 0
	},
	catalog.FnGetFuncRet: func(e *Env, ctx, to, _, _, _ uint64) uint64 {
		if !e.Traced.Left {
			return errno.EOPNOTSUPP.Ret()
		}
		mem.Store64(to, mem.Load64(ctx+8*uint64(e.Traced.Args)))
		return 0
	},
	catalog.FnXDPOutput: packetOutput,
	catalog.FnSKBOutput: packetOutput,
}

// packetOutput sends a sample with the first bytes of the packet that a function was given, which its
// first argument is (bpf_xdp_event_output, bpf_skb_event_output).
func packetOutput(e *Env, _, m, flags, data, size uint64) uint64 {
	if flags&^(maps.PerfIndexMask|maps.PerfCtxLenMask) != 0 {
		return errno.EINVAL.Ret()
	}
	if e.Pkt == nil {
		return errno.EFAULT.Ret()
	}
	return perfEventOutput(e, 0, m, flags, data, size)
}
