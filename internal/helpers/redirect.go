package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
)

// redirectFuncs decide where a packet goes; the hook carries it out.
var redirectFuncs = map[catalog.HelperID]Func{
	catalog.FnRedirect:      redirect,
	catalog.FnRedirectPeer:  redirectPeer,
	catalog.FnRedirectNeigh: redirectNeigh,
	catalog.FnRedirectMap:   redirectMap,
	catalog.FnCloneRedirect: cloneRedirect,
}

// Program results these helpers hand out.
const (
	xdpAborted  = 0
	xdpRedirect = 4
	actShot     = 2 // TC_ACT_SHOT
	actRedirect = 7 // TC_ACT_REDIRECT
)

// redirIngress asks for the device's way in instead of out (BPF_F_INGRESS).
const redirIngress = 1 << 0

func redirect(e *Env, ifindex, flags, _, _, _ uint64) uint64 {
	if e.Pkt.Kind() == packet.KindXDP {
		if flags != 0 {
			return xdpAborted
		}
		e.Redirect = Redirect{Kind: RedirectIfindex, Ifindex: uint32(ifindex)}
		return xdpRedirect
	}
	if flags&^uint64(redirIngress) != 0 {
		return actShot
	}
	e.Redirect = Redirect{Kind: RedirectIfindex, Ifindex: uint32(ifindex), Flags: flags}
	return actRedirect
}

func redirectPeer(e *Env, ifindex, flags, _, _, _ uint64) uint64 {
	if flags != 0 {
		return actShot
	}
	e.Redirect = Redirect{Kind: RedirectPeer, Ifindex: uint32(ifindex)}
	return actRedirect
}

// redirNeighSize is the size of struct bpf_redir_neigh: family, then the next hop.
const redirNeighSize = 20

func redirectNeigh(e *Env, ifindex, params, plen, flags, _ uint64) uint64 {
	n := int32(plen)
	if n != 0 && n < redirNeighSize || flags != 0 {
		return actShot
	}
	e.Redirect = Redirect{Kind: RedirectNeigh, Ifindex: uint32(ifindex)}
	if n != 0 {
		e.Redirect.Family = mem.Load32(params)
		copy(e.Redirect.NextHop[:], mem.Bytes(params+4, 16))
	}
	return actRedirect
}

// Flags of bpf_redirect_map; the low two bits are the result when the entry is empty.
const (
	redirMapAction    = 0x3
	redirMapBroadcast = 1 << 3
	redirMapExclude   = 1 << 4
)

// redirectMap sends the packet to the entry of a devmap, cpumap or xskmap
// (__bpf_xdp_redirect_map). Only a devmap can send it to all its entries.
func redirectMap(e *Env, m, key, flags, _, _ uint64) uint64 {
	rm, ok := e.Host.Map(m).(maps.RedirectMap)
	if !ok {
		panic("BUG: redirect into a map without targets")
	}
	allowed := uint64(redirMapAction)
	switch rm.Def().Type {
	case catalog.MapDevMap, catalog.MapDevMapHash:
		allowed |= redirMapBroadcast | redirMapExclude
	}
	if flags&^allowed != 0 {
		return xdpAborted
	}
	_, found := rm.Target(uint32(key))
	if !found && flags&redirMapBroadcast == 0 {
		e.Redirect = Redirect{Kind: RedirectMissed}
		return flags & redirMapAction
	}
	e.Redirect = Redirect{Kind: RedirectMap, Map: rm, Key: uint32(key)}
	if flags&redirMapBroadcast != 0 {
		e.Redirect.Flags = flags
	}
	return xdpRedirect
}

// cloneRedirect sends a copy of the packet at once.
func cloneRedirect(e *Env, _, ifindex, flags, _, _ uint64) uint64 {
	if flags&^uint64(redirIngress) != 0 {
		return errno.EINVAL.Ret()
	}
	p := e.Pkt
	if p.IsGSO() && p.GSOType == 0 {
		return errno.EBADMSG.Ret()
	}
	net := e.Host.Net()
	dev := net.Device(uint32(ifindex))
	if dev == nil {
		return errno.EINVAL.Ret()
	}
	if e := p.EnsureWritable(p.Headlen()); e != 0 {
		return errno.ENOMEM.Ret()
	}
	frame := p.Bytes()
	if dev.L3 {
		skip := p.NetHeader - p.Data
		if int64(skip) < 0 {
			skip = 0
		}
		if uint64(len(frame)) <= skip {
			return errno.ERANGE.Ret()
		}
		frame = frame[skip:]
	} else if p.MACHeader >= p.NetHeader || len(frame) == 0 {
		return errno.ERANGE.Ret()
	}
	if p.VLANPresent != 0 && !dev.L3 { // a copy has no other place for the tag
		frame = packet.AppendTagged(nil, frame, packet.Htons(uint16(p.VLANProto)), uint16(p.VLANTCI))
	}
	return net.Transmit(dev, flags&redirIngress != 0, frame)
}
