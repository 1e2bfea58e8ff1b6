package helpers

import (
	"math"
	"net/netip"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/socket"
)

// sockFuncs find sockets and tell of them and their cgroups (net/core/filter.c).
// Sockets live as long as the network they are in, so a reference is just the
// address of a [socket.Sock].
var sockFuncs = map[catalog.HelperID]Func{
	catalog.FnSkLookupTcp:     skLookupTCP,
	catalog.FnSkLookupUdp:     skLookupUDP,
	catalog.FnSkcLookupTcp:    skcLookupTCP,
	catalog.FnSkRelease:       func(*Env, uint64, uint64, uint64, uint64, uint64) uint64 { return 0 },
	catalog.FnSkFullsock:      skFullsock,
	catalog.FnTcpSock:         tcpSock,
	catalog.FnGetListenerSock: getListenerSock,

	catalog.FnGetSocketCookie:  getSocketCookie,
	catalog.FnGetSocketUid:     getSocketUID,
	catalog.FnGetNetnsCookie:   func(e *Env, _, _, _, _, _ uint64) uint64 { return e.Host.Net().NetnsCookie() },
	catalog.FnGetCGroupClassid: getCGroupClassid,
	catalog.FnSKBCGroupClassid: skbCGroupClassid,
	catalog.FnSKBCGroupID:      skbCGroupID,
	catalog.FnSkCGroupID:       func(_ *Env, sk, _, _, _, _ uint64) uint64 { return socket.At(sk).CGroupID },
	catalog.FnSKBUnderCGroup:   skbUnderCGroup,

	catalog.FnSkAncestorCGroupID: func(e *Env, sk, level, _, _, _ uint64) uint64 {
		return e.groupAtLevel(socket.At(sk).CGroupID, int32(level))
	},
	catalog.FnSKBAncestorCGroupID: skbAncestorCGroupID,
	catalog.FnGetRouteRealm:       func(e *Env, _, _, _, _, _ uint64) uint64 { return uint64(e.Pkt.Realm) },
}

// sock returns the packet's socket if it has a full one, else nil.
func (e *Env) sock() *socket.Sock {
	if e.Pkt == nil || e.Pkt.Sock == 0 {
		return nil
	}
	if s := socket.At(e.Pkt.Sock); s.Full() {
		return s
	}
	return nil
}

// Sizes of the two forms of struct bpf_sock_tuple, in bytes: addresses, then ports.
const (
	tuple4 = 12
	tuple6 = 36
)

// findSocket looks for the socket of a struct bpf_sock_tuple; whatever is wrong
// with the question, the answer is 0 (__bpf_skc_lookup).
func (e *Env) findSocket(proto uint8, tuple, size, netns, flags uint64) uint64 {
	if flags != 0 || int32(netns) >= 0 && netns > math.MaxInt32 {
		return 0
	}
	var src, dst netip.Addr
	ports := tuple
	switch uint32(size) {
	case tuple4:
		src = netip.AddrFrom4([4]byte(mem.Bytes(tuple, 4)))
		dst = netip.AddrFrom4([4]byte(mem.Bytes(tuple+4, 4)))
		ports += 8
	case tuple6:
		src = netip.AddrFrom16([16]byte(mem.Bytes(tuple, 16)))
		dst = netip.AddrFrom16([16]byte(mem.Bytes(tuple+16, 16)))
		ports += 32
	default:
		return 0
	}
	e.query = packet.SocketQuery{
		Proto: proto,
		Src:   netip.AddrPortFrom(src, packet.Htons(mem.Load16(ports))),
		Dst:   netip.AddrPortFrom(dst, packet.Htons(mem.Load16(ports+2))),
		Netns: int32(netns),
	}
	switch {
	case e.Pkt == nil: // a call on a socket
	case e.Pkt.Kind() == packet.KindXDP:
		e.query.Ifindex = e.Pkt.RxIfindex
	default:
		e.query.Ifindex = e.Pkt.Ifindex
	}
	return e.Host.Net().Socket(&e.query)
}

// fullOnly returns the address of a socket that is full, else 0.
func fullOnly(sk uint64) uint64 {
	if sk == 0 || !socket.At(sk).Full() {
		return 0
	}
	return sk
}

func skLookupTCP(e *Env, _, tuple, size, netns, flags uint64) uint64 {
	return fullOnly(e.findSocket(socket.TCP, tuple, size, netns, flags))
}

func skLookupUDP(e *Env, _, tuple, size, netns, flags uint64) uint64 {
	return fullOnly(e.findSocket(socket.UDP, tuple, size, netns, flags))
}

func skcLookupTCP(e *Env, _, tuple, size, netns, flags uint64) uint64 {
	return e.findSocket(socket.TCP, tuple, size, netns, flags)
}

func skFullsock(_ *Env, sk, _, _, _, _ uint64) uint64 { return fullOnly(sk) }

func tcpSock(_ *Env, sk, _, _, _, _ uint64) uint64 {
	if s := socket.At(sk); s.Full() && s.Protocol == socket.TCP {
		return s.TCP
	}
	return 0
}

func getListenerSock(_ *Env, sk, _, _, _, _ uint64) uint64 {
	if socket.At(sk).State == socket.TCPListen {
		return sk
	}
	return 0
}

// sockOfAddr is where struct bpf_sock_addr names its socket.
const sockOfAddr = 64

// getSocketCookie takes the context of a packet, of a call with an address or of a connection, or a socket.
func getSocketCookie(e *Env, ctx, _, _, _, _ uint64) uint64 {
	sk := ctx
	if e.Prog.Type == catalog.ProgCGroupSockAddr {
		sk = mem.Load64(ctx + sockOfAddr)
	} else if e.Prog.Type == catalog.ProgSockOps {
		sk = e.Ops.Socket.Addr()
	} else if e.Pkt != nil && (ctx == e.Pkt.Addr() || ctx == 0) {
		sk = e.Pkt.Sock
	}
	if sk == 0 {
		return 0
	}
	return socket.At(sk).Cookie
}

// overflowUID stands for a user that cannot be told.
const overflowUID = 65534

func getSocketUID(e *Env, _, _, _, _, _ uint64) uint64 {
	if s := e.sock(); s != nil {
		return uint64(s.UID)
	}
	return overflowUID
}

// getCGroupClassid returns the net_cls class of the packet's socket, or that of
// the process if the socket has none.
func getCGroupClassid(e *Env, _, _, _, _, _ uint64) uint64 {
	if s := e.sock(); s != nil && s.ClassID != 0 {
		return uint64(s.ClassID)
	}
	return uint64(e.Host.Process().ClassID)
}

func skbCGroupClassid(e *Env, _, _, _, _, _ uint64) uint64 {
	if s := e.sock(); s != nil {
		return uint64(s.ClassID)
	}
	return 0
}

func skbCGroupID(e *Env, _, _, _, _, _ uint64) uint64 {
	if s := e.sock(); s != nil {
		return s.CGroupID
	}
	return 0
}

// rootCGroup is the number of the control group above all others.
const rootCGroup = 1

// groupAtLevel returns the group at a level above another, or that itself, counted from the root, which
// is 0. Of a group that is only told of it is known only that the root is above it.
func (e *Env) groupAtLevel(group uint64, level int32) uint64 {
	depth := int32(0)
	for g := group; ; depth++ {
		above, ok := e.Host.GroupAbove(g)
		switch {
		case !ok && level == 0 && group != 0:
			return rootCGroup
		case !ok:
			return 0
		}
		if above == 0 {
			break
		}
		g = above
	}
	if level < 0 || level > depth {
		return 0
	}
	for ; depth > level; depth-- {
		group, _ = e.Host.GroupAbove(group)
	}
	return group
}

func skbAncestorCGroupID(e *Env, _, level, _, _, _ uint64) uint64 {
	if s := e.sock(); s != nil {
		return e.groupAtLevel(s.CGroupID, int32(level))
	}
	return 0
}

// skbUnderCGroup looks at a cgroup_array.
func skbUnderCGroup(e *Env, _, m, index, _, _ uint64) uint64 {
	s := e.sock()
	if s == nil {
		return errno.ENOENT.Ret()
	}
	group, no := e.groupAt(m, index)
	if no != 0 {
		return no.Ret()
	}
	for g, ok := s.CGroupID, true; ok && g != 0; g, ok = e.Host.GroupAbove(g) {
		if g == group {
			return 1
		}
	}
	if group == rootCGroup {
		return 1
	}
	return 0
}
