package sockrun

import (
	"net/netip"

	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/socket"
)

// LookupSize is the size of struct bpf_sk_lookup in bytes.
const LookupSize = 72

// Offsets in struct bpf_sk_lookup.
const (
	lookupFamily, lookupProtocol                     = 8, 12
	lookupRemote4, lookupRemote6, lookupRemotePort   = 16, 20, 36
	lookupLocal4, lookupLocal6, lookupLocalPort, lif = 40, 44, 60, 64
)

// Lookup is a packet that looks for a socket: the first of a connection, or a datagram.
type Lookup struct {
	Protocol      uint16         // socket.TCP or socket.UDP
	Remote, Local netip.AddrPort // of the packet: where it comes from and goes to
	Ifindex       uint32         // where it came in
}

// Family is the address family of the packet.
func (l *Lookup) Family() uint32 {
	if l.Local.Addr().Is4() {
		return socket.AFInet
	}
	return socket.AFInet6
}

// Found is what programs of type sk_lookup decided.
type Found struct {
	// Pass is false where the packet is refused. Without a Socket a packet that passes
	// looks for its socket as if no program were there.
	Pass        bool
	Socket      *socket.Socket
	NoReuseport bool // the group of Socket is not asked
}

// Ask asks programs, one after the other (BPF_PROG_SK_LOOKUP_RUN_ARRAY): the last
// one that chose a socket and passed the packet decides. If none chose, one that drops is enough.
func (l *Lookup) Ask(c *run.CPU, progs []*run.Program) (f Found, err error) {
	ctx, err := c.Context()
	if err != nil {
		return f, err
	}
	fill := func(at4, at6 uint64, a netip.AddrPort) {
		if l.Family() == socket.AFInet {
			v4, _ := socket.Words(a.Addr().Unmap())
			mem.Store32(ctx+at4, v4)
			return
		}
		_, v6 := socket.Words(netip.AddrFrom16(a.Addr().As16()))
		for i, w := range v6 {
			mem.Store32(ctx+at6+uint64(4*i), w)
		}
	}
	mem.Store32(ctx+lookupFamily, l.Family())
	mem.Store32(ctx+lookupProtocol, uint32(l.Protocol))
	fill(lookupRemote4, lookupRemote6, l.Remote)
	fill(lookupLocal4, lookupLocal6, l.Local)
	port := l.Remote.Port()
	mem.Store32(ctx+lookupRemotePort, uint32(port>>8|port<<8))
	mem.Store32(ctx+lookupLocalPort, uint32(l.Local.Port()))
	mem.Store32(ctx+lif, l.Ifindex)

	ch := socket.Choice{Family: l.Family(), Protocol: uint32(l.Protocol)}
	c.Choose(&ch)
	defer c.Choose(nil)
	allPass := true
	for _, p := range progs {
		r0, err := c.Run(p, ctx, nil)
		switch {
		case err != nil:
			return f, err
		case uint32(r0) == SkPass && ch.Selected != nil:
			f.Socket, f.NoReuseport = ch.Selected, ch.NoReuseport
		case uint32(r0) == SkDrop:
			allPass = false
		}
	}
	f.Pass = allPass || f.Socket != nil
	return f, nil
}
