package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// chooseFuncs choose the socket that gets a packet (net/core/filter.c).
var chooseFuncs = map[catalog.HelperID]Func{
	catalog.FnSkSelectReuseport: skSelectReuseport,
	catalog.FnSkAssign:          skAssign,
}

// socketMap returns the map of sockets whose header lies at ptr.
func (e *Env) socketMap(ptr uint64) maps.SocketMap {
	m, ok := e.Host.Map(ptr).(maps.SocketMap)
	if !ok {
		panic("BUG: a socket asked of a map without any")
	}
	return m
}

// skSelectReuseport does not look at the flags, as in the kernel.
func skSelectReuseport(e *Env, _, m, key, _, _ uint64) uint64 {
	sm := e.socketMap(m)
	s := sm.Socket(key)
	if s == nil {
		return errno.ENOENT.Ret()
	}
	return e.Choice.Reuse(s, sm.Def().Type == catalog.MapReuseportSockarray).Ret()
}

// skAssign is two helpers: of sk_lookup programs, and of tc programs on packets that come in.
func skAssign(e *Env, ctx, sk, flags, _, _ uint64) uint64 {
	if e.Prog.Type != catalog.ProgSkLookup {
		return e.Pkt.Assign(sk, flags).Ret()
	}
	s := e.Host.Socket(sk)
	if sk != 0 && s == nil {
		return errno.ESOCKTNOSUPPORT.Ret()
	}
	if no := e.Choice.Assign(s, flags); no != 0 {
		return no.Ret()
	}
	mem.Store64(ctx, sk) // bpf_sk_lookup.sk, for who reads it next
	return 0
}

// Sockets yields the addresses of the sockets that a context names.
func (e *Env) Sockets() (all []uint64) {
	if c := e.Choice; c != nil {
		for _, s := range []*socket.Socket{c.Own, c.Migrating, c.Selected} {
			if s != nil {
				all = append(all, s.Addr())
			}
		}
	}
	return all
}
