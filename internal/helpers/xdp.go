package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/mem"
)

// xdpFuncs move the edges of XDP packets and copy out of them (net/core/filter.c, bpf_xdp_*).
var xdpFuncs = map[catalog.HelperID]Func{
	catalog.FnXDPAdjustHead: func(e *Env, _, off, _, _, _ uint64) uint64 { return e.Pkt.AdjustHead(int32(off)).Ret() },
	catalog.FnXDPAdjustTail: func(e *Env, _, off, _, _, _ uint64) uint64 { return e.Pkt.AdjustTail(int32(off)).Ret() },
	catalog.FnXDPAdjustMeta: func(e *Env, _, off, _, _, _ uint64) uint64 { return e.Pkt.AdjustMeta(int32(off)).Ret() },
	catalog.FnXDPGetBuffLen: func(e *Env, _, _, _, _, _ uint64) uint64 { return e.Pkt.Size() },
	catalog.FnXDPLoadBytes:  xdpLoadBytes,
	catalog.FnXDPStoreBytes: xdpStoreBytes,
}

func xdpLoadBytes(e *Env, _, off, buf, n, _ uint64) uint64 {
	addr, err := e.Pkt.XDPRange(uint32(off), uint32(n))
	if err == 0 {
		copy(mem.Bytes(buf, int(uint32(n))), mem.Bytes(addr, int(uint32(n))))
	}
	return err.Ret()
}

func xdpStoreBytes(e *Env, _, off, buf, n, _ uint64) uint64 {
	addr, err := e.Pkt.XDPRange(uint32(off), uint32(n))
	if err == 0 {
		copy(mem.Bytes(addr, int(uint32(n))), mem.Bytes(buf, int(uint32(n))))
	}
	return err.Ret()
}
