package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// msgFuncs serve what goes through sockmaps: sk_msg and sk_skb programs
// (net/core/filter.c, net/core/sock_map.c).
var msgFuncs = map[catalog.HelperID]Func{
	catalog.FnMsgApplyBytes: func(e *Env, _, n, _, _, _ uint64) uint64 { e.Msg.Apply = uint32(n); return 0 },
	catalog.FnMsgCorkBytes:  func(e *Env, _, n, _, _, _ uint64) uint64 { e.Msg.Cork = uint32(n); return 0 },
	catalog.FnMsgPullData: func(e *Env, _, start, end, flags, _ uint64) uint64 {
		return e.Msg.Pull(uint32(start), uint32(end), flags).Ret()
	},
	catalog.FnMsgPushData: func(e *Env, _, start, n, flags, _ uint64) uint64 {
		return e.Msg.Push(uint32(start), uint32(n), flags).Ret()
	},
	catalog.FnMsgPopData: func(e *Env, _, start, n, flags, _ uint64) uint64 {
		return e.Msg.Pop(uint32(start), uint32(n), flags).Ret()
	},
	catalog.FnMsgRedirectMap:  redirectMapSocket,
	catalog.FnMsgRedirectHash: redirectSocket,
	catalog.FnSkRedirectMap:   redirectMapSocket,
	catalog.FnSkRedirectHash:  redirectSocket,
}

// Results of redirects to sockets (enum sk_action).
const (
	skDrop = 0
	skPass = 1
)

// redirectMapSocket takes its key by value, redirectSocket by address.
func redirectMapSocket(e *Env, _, m, key, flags, _ uint64) uint64 {
	at := e.enterWalk()
	defer e.leaveWalk()
	mem.Store32(at, uint32(key))
	return redirectSocket(e, 0, m, at, flags, 0)
}

// redirectSocket sends what passes to the socket at a key: out of it, or with
// BPF_F_INGRESS to who reads from it.
func redirectSocket(e *Env, _, m, key, flags, _ uint64) uint64 {
	if flags&^uint64(redirIngress) != 0 {
		return skDrop
	}
	s := e.socketMap(m).Socket(key)
	if s == nil || !maps.Redirectable(s.Sock) {
		return skDrop
	}
	if e.Prog.Type == catalog.ProgSkMsg && flags&redirIngress == 0 && s.Protocol != socket.TCP {
		return skDrop
	}
	e.Redirect = Redirect{Kind: RedirectSocket, Socket: s, Flags: flags}
	return skPass
}
