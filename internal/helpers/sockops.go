package helpers

import (
	"bytes"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// sockOpsFuncs serve programs that look after TCP connections (net/core/filter.c, net/core/sock_map.c).
var sockOpsFuncs = map[catalog.HelperID]Func{
	catalog.FnSockOpsCbFlagsSet: func(e *Env, ctx, flags, _, _, _ uint64) uint64 { return e.Ops.setFlags(ctx, uint32(flags)) },
	catalog.FnReserveHdrOpt: func(e *Env, _, n, flags, _, _ uint64) uint64 {
		return e.Ops.reserve(uint32(n), flags).Ret()
	},
	catalog.FnStoreHdrOpt: func(e *Env, ctx, from, n, flags, _ uint64) uint64 {
		return e.storeOption(ctx, mem.Bytes(from, int(n)), flags).Ret()
	},
	catalog.FnLoadHdrOpt: func(e *Env, ctx, at, n, flags, _ uint64) uint64 {
		return e.Ops.load(ctx, mem.Bytes(at, int(n)), flags)
	},
	catalog.FnSockMapUpdate:  sockOpsMapUpdate,
	catalog.FnSockHashUpdate: sockOpsMapUpdate,
}

// What happens to a connection (BPF_SOCK_OPS_*).
const (
	OpTimeoutInit = 1 + iota
	OpRwndInit
	OpConnect
	OpActiveEstablished
	OpPassiveEstablished
	OpNeedsECN
	OpBaseRTT
	OpRTO
	OpRetrans
	OpState
	OpListen
	OpRTT
	OpParseHdr
	OpHdrLen
	OpWriteHdr
)

// SockOps is a TCP connection to which something happens.
type SockOps struct {
	Socket *socket.Socket
	Op     uint32
	// Remaining is how many bytes of header options may still be reserved, or written.
	Remaining uint32
	// Syn is the header of the segment that began the connection, if it was kept; else nil.
	Syn []byte
}

// Offsets in struct bpf_sock_ops.
const (
	OpsCwnd, OpsFlags   = 76, 84
	OpsSsthresh         = 96
	OpsData, OpsDataEnd = 192, 200
)

// setFlags keeps the flags there are, and returns the others.
func (o *SockOps) setFlags(ctx uint64, flags uint32) uint64 {
	if !o.Socket.Full() {
		return errno.EINVAL.Ret()
	}
	o.Socket.OpsFlags = flags & socket.AllOpsFlags
	mem.Store32(ctx+OpsFlags, o.Socket.OpsFlags)
	return uint64(int64(int32(flags &^ socket.AllOpsFlags)))
}

func (o *SockOps) reserve(n uint32, flags uint64) errno.Errno {
	switch {
	case o.Op != OpHdrLen:
		return errno.EPERM
	case flags != 0 || n < 2:
		return errno.EINVAL
	case n > o.Remaining:
		return errno.ENOSPC
	}
	o.Remaining -= n
	return 0
}

// Kinds of TCP options.
const (
	optEnd, optNop         = 0, 1
	optExp253, optExp      = 253, 254 // experiments, told apart by magic numbers
	loadSyn                = 1        // BPF_LOAD_HDR_OPT_TCP_SYN
	optExpMin              = 4
	optExp16, optExp32     = 4, 6
	minOption              = 2
	experiment16Bit    int = 2
)

// findOption looks for an option by its kind, and what it begins with; ended says that an end stood before one
// could be found (bpf_search_tcp_opt).
func findOption(opts []byte, kind byte, magic []byte) (opt []byte, ended bool, e errno.Errno) {
	for len(opts) > 0 {
		switch opts[0] {
		case optEnd:
			return nil, true, errno.ENOMSG
		case optNop:
			opts = opts[1:]
			continue
		}
		if len(opts) < minOption || int(opts[1]) > len(opts) || opts[1] < minOption {
			return nil, false, errno.EFAULT
		}
		opt, opts = opts[:opts[1]], opts[opts[1]:]
		if opt[0] != kind {
			continue
		}
		if len(magic) > len(opt)-minOption {
			return nil, false, errno.ENOMSG
		}
		if bytes.HasPrefix(opt[minOption:], magic) {
			return opt, false, 0
		}
	}
	return nil, false, errno.ENOMSG
}

// seen are the options of the packet that programs see.
func (o *SockOps) seen(ctx uint64) []byte {
	at, end := mem.Load64(ctx+OpsData)+tcpHeader, mem.Load64(ctx+OpsDataEnd)
	if at >= end {
		return nil
	}
	return mem.Bytes(at, int(end-at))
}

// storeOption writes an option behind those of the segment that is sent.
func (e *Env) storeOption(ctx uint64, opt []byte, flags uint64) errno.Errno {
	o := e.Ops
	switch {
	case o.Op != OpWriteHdr:
		return errno.EPERM
	case len(opt) < minOption || flags != 0:
		return errno.EINVAL
	}
	kind, n := opt[0], int(opt[1])
	switch {
	case n > len(opt), kind == optEnd, kind == optNop:
		return errno.EINVAL
	case n > int(o.Remaining):
		return errno.ENOSPC
	}
	var magic []byte
	if kind == optExp253 || kind == optExp {
		if n < optExpMin {
			return errno.EINVAL
		}
		magic = opt[minOption:][:experiment16Bit]
	}
	switch _, ended, no := findOption(o.seen(ctx), kind, magic); {
	case no == 0:
		return errno.EEXIST
	case no != errno.ENOMSG:
		return no
	case ended:
		return errno.ENOSPC
	}
	end := mem.Load64(ctx + OpsDataEnd)
	copy(mem.Bytes(end, n), opt)
	mem.Store64(ctx+OpsDataEnd, end+uint64(n))
	e.Pkt.DataEnd += uint64(n)
	o.Remaining -= uint32(n)
	return 0
}

// load finds an option that search describes and copies it there; it returns how long it is.
func (o *SockOps) load(ctx uint64, search []byte, flags uint64) uint64 {
	if len(search) < minOption || flags&^loadSyn != 0 {
		return errno.EINVAL.Ret()
	}
	kind, n := search[0], int(search[1])
	var magic []byte
	switch exp := kind == optExp253 || kind == optExp; {
	case n > len(search), kind == optEnd, kind == optNop, exp && n != optExp16 && n != optExp32, !exp && n != 0:
		return errno.EINVAL.Ret()
	case exp:
		magic = bytes.Clone(search[minOption:n])
	}
	var opts []byte
	switch {
	case flags&loadSyn == 0 && (o.Op == OpHdrLen || mem.Load64(ctx+OpsData) == 0):
		return errno.EPERM.Ret()
	case flags&loadSyn == 0:
		opts = o.seen(ctx)
	case o.Syn == nil:
		return errno.ENOENT.Ret()
	default:
		opts = o.Syn[tcpHeader:]
	}
	opt, _, e := findOption(opts, kind, magic)
	if e != 0 {
		return e.Ret()
	}
	if copy(search, opt) < len(opt) {
		return errno.ENOSPC.Ret()
	}
	return uint64(len(opt))
}

// sockOpsMapUpdate puts the connection into a map of sockets, when it is there or listens.
func sockOpsMapUpdate(e *Env, _, m, key, flags, _ uint64) uint64 {
	switch e.Ops.Op {
	case OpActiveEstablished, OpPassiveEstablished, OpListen:
		to, ok := e.Host.Map(m).(maps.SocketTaker)
		if !ok {
			panic("BUG: a connection for a map that takes none")
		}
		return to.Take(key, e.Ops.Socket, flags).Ret()
	}
	return errno.EOPNOTSUPP.Ret()
}
