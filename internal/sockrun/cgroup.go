package sockrun

import (
	"net/netip"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/socket"
)

// CgroupRun is a run of programs of a control group, one after the other, and what came of it.
type CgroupRun struct {
	// Retval is 0, or what the call is to return instead of what it would: -EPERM
	// where a program refused, else what the last bpf_set_retval said.
	Retval int32
	// Flags are what return values said besides yes and no: of all programs together.
	Flags uint32
}

// Flags of a [CgroupRun].
const (
	CgroupCongestion = 1 << 0 // of a packet on its way out: tell who sends (BPF_RET_SET_CN)
	CgroupAnyPort    = 1 << 0 // of bind: a port that only root may take is granted (BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE)
)

// maxErrno bounds the values that are errors: -1 to -maxErrno (MAX_ERRNO).
const maxErrno = 4095

// CgroupProg is a program attached to a control group.
type CgroupProg struct {
	Prog *run.Program
	At   maps.GroupPlace // where it is attached, whose storages it finds
}

// MakeStorages makes the values that a program's storage maps keep for a place it is about to be
// attached to (bpf_cgroup_storages_alloc). They stay when the program goes.
func MakeStorages(p *run.Program, at maps.GroupPlace) errno.Errno {
	for _, m := range p.Maps() {
		s, ok := maps.Unwrap(m).(interface {
			Place(maps.GroupPlace) errno.Errno
		})
		if !ok {
			continue
		}
		if e := s.Place(at); e != 0 {
			return e
		}
	}
	return 0
}

// CgroupGone takes away what maps of a machine keep for a control group that is no more.
func CgroupGone(m *run.Machine, group uint64) {
	for _, one := range m.Maps.All() {
		if s, ok := one.(interface{ Leave(group uint64) }); ok {
			s.Leave(group)
		}
		one.Close()
	}
}

// cgroup runs all of progs: one that refuses does not keep the others from running (bpf_prog_run_array_cg).
// between, if any, is called after each. The call would return retval, but for them.
func cgroup(c *run.CPU, progs []CgroupProg, ctx uint64, pkt *packet.Packet, retval int32, between func()) (r CgroupRun, err error) {
	r.Retval = retval
	defer c.BeginWith(0)
	defer c.Enter(maps.GroupPlace{})
	for _, p := range progs {
		c.Enter(p.At)
		c.BeginWith(r.Retval)
		r0, err := c.Run(p.Prog, ctx, pkt)
		if err != nil {
			return r, err
		}
		if pkt == nil || ctx != pkt.Addr() { // programs on packets have no retval
			r.Retval = c.Retval()
		}
		r.Flags |= uint32(r0) >> 1
		if r0&1 == 0 && (r.Retval >= 0 || r.Retval < -maxErrno) {
			r.Retval = -int32(errno.EPERM)
		}
		if between != nil {
			between()
		}
	}
	return r, nil
}

// CgroupPacket runs programs of type cgroup_skb on the vCPU's packet
// (__cgroup_bpf_run_filter_skb). Each finds the control block empty, and what it leaves there is lost.
func CgroupPacket(c *run.CPU, progs []CgroupProg) (CgroupRun, error) {
	pkt := c.Packet()
	cb := pkt.CB
	clear(pkt.CB[:])
	r, err := cgroup(c, progs, pkt.Addr(), pkt, 0, func() { clear(pkt.CB[:]) })
	pkt.CB = cb
	return r, err
}

// CgroupSock runs programs of type cgroup_sock, whose context is the socket itself.
func CgroupSock(c *run.CPU, progs []CgroupProg, s *socket.Socket) (CgroupRun, error) {
	return cgroup(c, progs, s.Addr(), nil, 0, nil)
}

// Offsets in struct bpf_cgroup_dev_ctx.
const devAccess, devMajor, devMinor = 0, 4, 8

// CgroupDevice runs programs of type cgroup_device: may a device be reached? kind and access are BPF_DEVCG_*.
func CgroupDevice(c *run.CPU, progs []CgroupProg, kind, access uint16, major, minor uint32) (CgroupRun, error) {
	ctx, err := c.Context()
	if err != nil {
		return CgroupRun{}, err
	}
	mem.Store32(ctx+devAccess, uint32(access)<<16|uint32(kind))
	mem.Store32(ctx+devMajor, major)
	mem.Store32(ctx+devMinor, minor)
	return cgroup(c, progs, ctx, nil, 0, nil)
}

// SockAddr is a socket's call that names an address, or gives one back.
type SockAddr struct {
	Socket *socket.Socket
	Addr   netip.AddrPort // the user's; as programs leave it afterwards
	Source netip.Addr     // of sendmsg: where the datagram will come from
}

// Offsets in struct bpf_sock_addr.
const (
	addrUserFamily, addrUser4, addrUser6, addrPort = 0, 4, 8, 24
	addrFamily, addrType, addrProtocol             = 28, 32, 36
	addrSource4, addrSource6, addrSk               = 40, 44, 64
)

// Run runs programs of type cgroup_sock_addr (__cgroup_bpf_run_filter_sock_addr).
func (a *SockAddr) Run(c *run.CPU, progs []CgroupProg) (CgroupRun, error) {
	ctx, err := c.Context()
	if err != nil {
		return CgroupRun{}, err
	}
	family := uint32(socket.AFInet6)
	if a.Addr.Addr().Is4() {
		family = socket.AFInet
	}
	fill := func(at4, at6 uint64, a netip.Addr) {
		v4, v6 := socket.Words(a)
		mem.Store32(ctx+at4, v4)
		for i, w := range v6 {
			mem.Store32(ctx+at6+uint64(4*i), w)
		}
	}
	read := func(at4, at6 uint64) netip.Addr {
		if family == socket.AFInet {
			return netip.AddrFrom4([4]byte(mem.Bytes(ctx+at4, 4)))
		}
		return netip.AddrFrom16([16]byte(mem.Bytes(ctx+at6, 16)))
	}
	mem.Store32(ctx+addrUserFamily, family)
	fill(addrUser4, addrUser6, a.Addr.Addr())
	mem.Store32(ctx+addrPort, uint32(packet.Htons(a.Addr.Port())))
	mem.Store32(ctx+addrFamily, a.Socket.Family)
	mem.Store32(ctx+addrType, a.Socket.Type)
	mem.Store32(ctx+addrProtocol, a.Socket.Protocol)
	if a.Source.IsValid() {
		fill(addrSource4, addrSource6, a.Source)
	}
	mem.Store64(ctx+addrSk, a.Socket.Addr())

	c.Choose(&socket.Choice{Own: a.Socket})
	defer c.Choose(nil)
	// The port has 16 bits: the next program finds no others.
	r, err := cgroup(c, progs, ctx, nil, 0, func() { mem.Store16(ctx+addrPort+2, 0) })
	a.Addr = netip.AddrPortFrom(read(addrUser4, addrUser6), packet.Htons(mem.Load16(ctx+addrPort)))
	if a.Source.IsValid() {
		a.Source = read(addrSource4, addrSource6)
	}
	return r, err
}
