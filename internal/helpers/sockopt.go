package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// sockoptFuncs set and read options of the socket that a program is about (net/core/filter.c).
var sockoptFuncs = map[catalog.HelperID]Func{
	catalog.FnSetsockopt: func(e *Env, ctx, level, name, value, n uint64) uint64 {
		return e.setOption(ctx, int32(level), int32(name), mem.Bytes(value, int(n))).Ret()
	},
	catalog.FnGetsockopt: func(e *Env, ctx, level, name, value, n uint64) uint64 {
		return e.option(ctx, int32(level), int32(name), mem.Bytes(value, int(n)))
	},
	catalog.FnTcpSendAck: func(e *Env, sk, rcvNxt, _, _, _ uint64) uint64 {
		if k := e.Host.KernelSock(sk); k != nil {
			k.SendAck(uint32(rcvNxt))
		}
		return 0
	},
}

// Headers of the SYN, which programs of type sock_ops read as options.
const (
	tcpBPFSyn    = 1005 // and with headers before it: SYN_IP, SYN_MAC
	tcpBPFSynMAC = 1007
)

// ownSocket is the socket of a context, or the one that is given; nil: it is only told of.
func (e *Env) ownSocket(ctx uint64) *socket.Socket {
	switch e.Prog.Type {
	case catalog.ProgSockOps:
		return e.Ops.Socket
	case catalog.ProgStructOps:
		if k := e.Host.KernelSock(ctx); k != nil {
			return k.Socket()
		}
		return nil
	case catalog.ProgCGroupSockAddr:
		ctx = mem.Load64(ctx + sockOfAddr)
	}
	if ctx == 0 {
		return nil
	}
	return e.Host.Socket(ctx)
}

func (e *Env) setOption(ctx uint64, level, name int32, value []byte) errno.Errno {
	if e.Prog.Type == catalog.ProgStructOps {
		if k := e.Host.KernelSock(ctx); k != nil {
			return k.SetOption(level, name, value)
		}
		return errno.EINVAL
	}
	s := e.ownSocket(ctx)
	if s == nil {
		return errno.EINVAL
	}
	if e.Prog.Type != catalog.ProgSockOps {
		return s.SetOption(level, name, value)
	}
	no := s.SetOption(level, name, value)
	if t := s.TCPInfo(); t != nil && s.Full() { // the context shows it
		mem.Store32(ctx+OpsCwnd, t.SndCwnd)
		mem.Store32(ctx+OpsSsthresh, t.SndSsthresh)
		mem.Store32(ctx+OpsFlags, s.OpsFlags)
	}
	return no
}

// option reads an option, or of a connection the header of the SYN that was kept.
func (e *Env) option(ctx uint64, level, name int32, value []byte) uint64 {
	s := e.ownSocket(ctx)
	if s == nil {
		clear(value)
		return errno.EINVAL.Ret()
	}
	if e.Prog.Type != catalog.ProgSockOps || level != socket.SolTCP {
		return s.Option(level, name, value).Ret()
	}
	switch {
	case name == tcpBPFSyn && e.Ops.Syn != nil:
		if copy(value, e.Ops.Syn) < len(e.Ops.Syn) {
			return errno.ENOSPC.Ret()
		}
		return uint64(len(e.Ops.Syn))
	case name >= tcpBPFSyn && name <= tcpBPFSynMAC: // headers before TCP's are not kept
		return errno.ENOENT.Ret()
	}
	return s.Option(level, name, value).Ret()
}
