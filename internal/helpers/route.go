package helpers

import (
	"net/netip"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/socket"
)

// routeFuncs ask the network around the packet (net/core/filter.c).
var routeFuncs = map[catalog.HelperID]Func{
	catalog.FnFibLookup: fibLookup,
	catalog.FnCheckMtu:  checkMTU,
}

// Offsets in struct bpf_fib_lookup. Some fields are one thing on the way in and
// another on the way out.
//
//	0  family  1  protocol  2  sport  4  dport  6  tot_len → mtu_result
//	8  ifindex             12  tos or flowinfo → rt_metric
//	16 src (16 bytes)      32  dst (16 bytes)
//	48 tbid → h_vlan_proto, h_vlan_TCI
//	52 mark → smac (6)     58  dmac (6)         64  end
const (
	fibFamily  = 0
	fibProto   = 1
	fibSport   = 2
	fibDport   = 4
	fibLen     = 6
	fibIfindex = 8
	fibTOS     = 12
	fibMetric  = 12
	fibSrc     = 16
	fibDst     = 32
	fibTable   = 48
	fibVLAN    = 48
	fibMark    = 52
	fibSMAC    = 52
	fibDMAC    = 58
	fibSize    = 64
)

// Flags of bpf_fib_lookup.
const (
	fibDirect    = 1 << 0
	fibOutput    = 1 << 1
	fibSkipNeigh = 1 << 2
	fibTbid      = 1 << 3
	fibGetSrc    = 1 << 4
	fibUseMark   = 1 << 5
	fibFlags     = fibDirect | fibOutput | fibSkipNeigh | fibTbid | fibGetSrc | fibUseMark
)

// Results of bpf_fib_lookup (BPF_FIB_LKUP_RET_*).
const (
	fibSuccess     = 0
	fibBlackhole   = 1
	fibUnreachable = 2
	fibProhibit    = 3
	fibNotFwded    = 4
	fibFwdDisabled = 5
	fibUnsuppLWT   = 6
	fibNoNeigh     = 7
	fibFragNeeded  = 8
	fibNoSrcAddr   = 9
)

// fibLookup routes the packet the parameters describe, not the one the program
// has, and fills in next hop and link addresses.
func fibLookup(e *Env, _, params, plen, flags, _ uint64) uint64 {
	if int32(plen) < fibSize || uint32(flags)&^uint32(fibFlags) != 0 {
		return errno.EINVAL.Ret()
	}
	f := fibQuery{net: e.Host.Net(), q: &e.route, at: params, flags: uint32(flags)}
	switch mem.Load8(params + fibFamily) {
	case socket.AFInet:
	case socket.AFInet6:
		f.v6 = true
	default:
		return errno.EAFNOSUPPORT.Ret()
	}
	if e.Pkt.Kind() == packet.KindXDP {
		return f.lookup(true)
	}
	check := mem.Load16(params+fibLen) != 0
	rc := f.lookup(check)
	if rc == fibSuccess && !check { // no length given: that of the packet counts
		dev := f.net.Device(mem.Load32(params + fibIfindex))
		const vlan = 4
		if !dev.Up || e.Pkt.Len > dev.MTU+dev.HardHeader+vlan && !e.Pkt.IsGSO() {
			rc = fibFragNeeded
		}
		mem.Store16(params+fibLen, uint16(dev.MTU))
	}
	return rc
}

// fibQuery is one call of bpf_fib_lookup.
type fibQuery struct {
	net   packet.Net
	q     *packet.RouteQuery
	at    uint64 // address of the struct bpf_fib_lookup
	flags uint32
	v6    bool
}

// addr reads the address at an offset of the parameters.
func (f *fibQuery) addr(off uint64) netip.Addr {
	if f.v6 {
		return netip.AddrFrom16([16]byte(mem.Bytes(f.at+off, 16)))
	}
	return netip.AddrFrom4([4]byte(mem.Bytes(f.at+off, 4)))
}

// putAddr writes an address at an offset of the parameters.
func (f *fibQuery) putAddr(off uint64, a netip.Addr) {
	if a.Is4() {
		b := a.As4()
		copy(mem.Bytes(f.at+off, 4), b[:])
		return
	}
	b := a.As16()
	copy(mem.Bytes(f.at+off, 16), b[:])
}

// lookup does the work of bpf_ipv4_fib_lookup and bpf_ipv6_fib_lookup.
func (f *fibQuery) lookup(checkMTU bool) uint64 {
	src, dst := f.addr(fibSrc), f.addr(fibDst)
	if f.v6 && (strict6(dst) || strict6(src)) {
		return fibNotFwded
	}
	ifindex := mem.Load32(f.at + fibIfindex)
	dev := f.net.Device(ifindex)
	if dev == nil {
		return errno.ENODEV.Ret()
	}
	if f.v6 && !dev.Forward6 || !f.v6 && !dev.Forward4 {
		return fibFwdDisabled
	}
	q := f.q
	*q = packet.RouteQuery{
		Dst: dst, Src: src, IIF: ifindex, TOS: mem.Load8(f.at+fibTOS) &^ 3,
		Proto: mem.Load8(f.at + fibProto), Sport: mem.Load16(f.at + fibSport), Dport: mem.Load16(f.at + fibDport),
	}
	if f.flags&fibOutput != 0 {
		q.IIF, q.OIF = 0, ifindex
	}
	switch {
	case f.flags&fibDirect != 0 && f.flags&fibTbid != 0:
		q.Table = mem.Load32(f.at + fibTable)
		mem.Store32(f.at+fibTable, 0)
		if q.Table == 0 {
			return fibNotFwded
		}
	case f.flags&fibDirect != 0:
		q.Table = packet.TableMain
	case f.flags&fibUseMark != 0:
		q.Mark = mem.Load32(f.at + fibMark)
	}
	r := f.net.Route(q)
	if r == nil {
		return fibNotFwded
	}
	switch r.Type {
	case packet.RouteUnicast:
	case packet.RouteBlackhole:
		return fibBlackhole
	case packet.RouteUnreachable:
		return fibUnreachable
	case packet.RouteProhibit:
		return fibProhibit
	default:
		return fibNotFwded
	}
	return f.nextHop(r, dst, checkMTU)
}

// strict6 reports whether an IPv6 address stays on its link (rt6_need_strict).
func strict6(a netip.Addr) bool {
	return a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsLoopback()
}

// nextHop writes where a unicast route leads.
func (f *fibQuery) nextHop(r *packet.Route, dst netip.Addr, checkMTU bool) uint64 {
	dev := f.net.Device(r.Ifindex)
	if dev == nil {
		return fibNotFwded
	}
	mtu := uint32(0)
	if checkMTU {
		mtu = f.mtu(r, dev)
		if uint32(mem.Load16(f.at+fibLen)) > mtu {
			mem.Store16(f.at+fibLen, uint16(mtu))
			return fibFragNeeded
		}
	}
	if r.Encap {
		return fibUnsuppLWT
	}
	hop := dst
	if r.Gateway.IsValid() {
		hop = r.Gateway
		if hop.Is6() && !f.v6 { // IPv4 by way of an IPv6 router
			mem.Store8(f.at+fibFamily, socket.AFInet6)
		}
	}
	if f.v6 { // the order in which a failure leaves fields behind differs
		f.putAddr(fibDst, hop)
	}
	mem.Store32(f.at+fibMetric, r.Metric)
	mem.Store32(f.at+fibIfindex, dev.Ifindex)
	if f.flags&fibGetSrc != 0 {
		src, ok := f.source(r, dev)
		if !ok {
			return fibNoSrcAddr
		}
		f.putAddr(fibSrc, src)
	}
	if !f.v6 {
		f.putAddr(fibDst, hop)
	}
	if f.flags&fibSkipNeigh == 0 {
		mac, ok := f.net.Neighbour(dev.Ifindex, hop)
		if !ok {
			return fibNoNeigh
		}
		copy(mem.Bytes(f.at+fibDMAC, 6), mac[:])
		copy(mem.Bytes(f.at+fibSMAC, 6), dev.MAC[:])
	}
	mem.Store32(f.at+fibVLAN, 0)
	if mtu != 0 {
		mem.Store16(f.at+fibLen, uint16(mtu))
	}
	return fibSuccess
}

// mtu is the path MTU of a route (ip_mtu_from_fib_result, ip6_mtu_from_fib6).
func (f *fibQuery) mtu(r *packet.Route, dev *packet.Device) uint32 {
	const maxIPv4, minIPv6 = 0xffff, 1280
	switch {
	case r.MTU != 0:
		return r.MTU
	case f.v6:
		return max(dev.MTU, minIPv6)
	}
	return min(dev.MTU, maxIPv4)
}

// source picks the source address a packet by this route gets. For IPv4 there
// is always one, if only 0.0.0.0.
func (f *fibQuery) source(r *packet.Route, dev *packet.Device) (netip.Addr, bool) {
	if r.PrefSrc.IsValid() {
		return r.PrefSrc, true
	}
	for _, a := range dev.Addrs {
		if a.Addr().Is6() == f.v6 {
			return a.Addr(), true
		}
	}
	return netip.IPv4Unspecified(), !f.v6
}

// Flags and results of bpf_check_mtu.
const (
	mtuSegs       = 1 << 0
	mtuSuccess    = 0
	mtuFragNeeded = 1
	mtuSegsTooBig = 2
)

// checkMTU says whether the packet, or one of *mtuLen bytes, plus diff fits a
// device; *mtuLen becomes the device's MTU.
func checkMTU(e *Env, _, ifindex, mtuLen, diff, flags uint64) uint64 {
	xdp := e.Pkt.Kind() == packet.KindXDP
	want := mem.Load32(mtuLen)
	if flags&^uint64(mtuSegs) != 0 || flags != 0 && (xdp || int32(diff) != 0 || want != 0) {
		return errno.EINVAL.Ret()
	}
	index := uint32(ifindex)
	if index == 0 {
		index = e.Pkt.Ifindex
		if xdp {
			index = e.Pkt.RxIfindex
		}
	}
	dev := e.Host.Net().Device(index)
	if dev == nil {
		return errno.ENODEV.Ret()
	}
	size := e.Pkt.Len
	if xdp {
		size = uint32(e.Pkt.DataEnd - e.Pkt.Data)
	}
	if want != 0 {
		size = want + dev.HardHeader
	}
	rc := uint64(mtuFragNeeded)
	switch {
	case int32(size)+int32(diff) <= int32(dev.MTU+dev.HardHeader):
		rc = mtuSuccess
	case !xdp && e.Pkt.IsGSO():
		rc = mtuSuccess
		if flags&mtuSegs != 0 {
			if e.Pkt.TransHeader == 0 {
				return errno.EINVAL.Ret()
			}
			if e.Pkt.GSONetworkLen() > dev.MTU {
				rc = mtuSegsTooBig
			}
		}
	}
	mem.Store32(mtuLen, dev.MTU)
	return rc
}
