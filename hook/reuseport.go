package hook

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep"
)

// ReuseportOptions shape a reuseport group.
type ReuseportOptions struct {
	// Conn is what the group takes from: a net.PacketConn of UDP, or a net.Listener of
	// TCP. It stays the caller's. Without one, Deliver alone feeds the group.
	Conn any
	// Network and Local are the group's where there is no Conn: "udp" or "tcp", and
	// the address all members share.
	Network string
	Local   netip.AddrPort
	// Program chooses who gets what arrives, see [Reuseport.Attach]; nil: a hash does.
	Program *skep.Program
	// Seed makes the hash of addresses and ports another one.
	Seed uint32
	// Queue is how many datagrams or connections wait for one worker; more are lost, as in
	// the kernel. 0: 256.
	Queue int
	// MigrateRequests gives the connections that wait for a listener which is closed to
	// another by their hash (net.ipv4.tcp_migrate_req). A program of the attach type
	// sk_reuseport_select_or_migrate is asked in any case.
	MigrateRequests bool
}

// Reuseport is a reuseport group: workers that share one address, among whom a
// program of type sk_reuseport (SO_ATTACH_REUSEPORT_EBPF) or a socket filter, classic or
// not (SO_ATTACH_REUSEPORT_CBPF), deals out what arrives. In user space one real socket
// receives for all of them:
//
//	              ┌▶ ListenPacket() ─ worker 0
//	Conn ─▶ Serve ┼▶ ListenPacket() ─ worker 1
//	       program└▶ ListenPacket() ─ worker 2
//
// It is safe for concurrent use and takes a virtual CPU for each datagram.
type Reuseport struct {
	mach  *skep.Machine
	opts  ReuseportOptions
	proto uint8
	group skep.ReuseportGroup
	prog  atomic.Pointer[skep.Program]

	mu      sync.Mutex
	workers map[*skep.Socket]worker
	closed  bool

	byProgram, byHash, dropped, lost atomic.Uint64
}

// worker is a member of a group.
type worker interface{ Close() error }

// NewReuseport makes a group without members.
func NewReuseport(m *skep.Machine, opts *ReuseportOptions) (*Reuseport, error) {
	g := &Reuseport{mach: m, workers: map[*skep.Socket]worker{}}
	if opts != nil {
		g.opts = *opts
	}
	if c := g.opts.Conn; c != nil {
		spec, err := skep.SocketSpecOf(c)
		if err != nil {
			return nil, fmt.Errorf("hook reuseport: %w", err)
		}
		g.proto, g.opts.Local = spec.Protocol, spec.Local
		_, listens := c.(net.Listener)
		if spec.Remote.IsValid() || spec.Protocol == 0 || listens != (spec.Protocol == skep.ProtoTCP) {
			return nil, fmt.Errorf("hook reuseport: a %T is no UDP socket to share and no TCP listener", c)
		}
	} else {
		switch g.opts.Network {
		case "udp", "udp4", "udp6":
			g.proto = skep.ProtoUDP
		case "tcp", "tcp4", "tcp6":
			g.proto = skep.ProtoTCP
		default:
			return nil, fmt.Errorf("hook reuseport: network %q: there are udp and tcp, or give a Conn", g.opts.Network)
		}
		if !g.opts.Local.IsValid() {
			return nil, errors.New("hook reuseport: no Conn and no Local address to share")
		}
	}
	if g.opts.Queue <= 0 {
		g.opts.Queue = 256
	}
	g.group.BindInAny = g.opts.Local.Addr().IsUnspecified()
	if err := g.Attach(g.opts.Program); err != nil {
		return nil, err
	}
	return g, nil
}

// Attach makes p the group's program instead of the one it has; nil: the hash
// decides from now on (SO_DETACH_REUSEPORT_BPF). A program that chooses nobody, or a
// filter that returns no member's place, leaves it to the hash too; one that
// returns SK_DROP has the datagram dropped.
func (g *Reuseport) Attach(p *skep.Program) error {
	if p != nil {
		switch p.Type() {
		case skep.SkReuseport, skep.SocketFilter:
		default:
			return fmt.Errorf("hook reuseport: program %s is of type %s", p.Name(), p.Type())
		}
	}
	g.prog.Store(p)
	return nil
}

// LocalAddr is the address all members share.
func (g *Reuseport) LocalAddr() netip.AddrPort { return g.opts.Local }

// ReuseportStats says who got what arrived.
type ReuseportStats struct {
	ByProgram, ByHash uint64 // chosen by the program and by the hash
	Dropped           uint64 // by the program, or for want of members
	Lost              uint64 // for a worker whose queue was full
}

// Stats returns the group's figures.
func (g *Reuseport) Stats() ReuseportStats {
	return ReuseportStats{g.byProgram.Load(), g.byHash.Load(), g.dropped.Load(), g.lost.Load()}
}

// join makes a new member. The socket goes into the group when made is told of it.
func (g *Reuseport) join(proto uint8, made func(s *skep.Socket) worker) error {
	if g.proto != proto {
		return fmt.Errorf("hook reuseport: the group is of %s", map[uint8]string{skep.ProtoUDP: "UDP", skep.ProtoTCP: "TCP"}[g.proto])
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return net.ErrClosed
	}
	s, err := g.mach.NewSocket(skep.SocketSpec{Protocol: proto, Local: g.opts.Local, Reuseport: true})
	if err != nil {
		return err
	}
	w := made(s)
	s.Conn = w
	g.workers[s] = w
	g.group.Add(s)
	return nil
}

// leave takes a member out; it is false for one that has left.
func (g *Reuseport) leave(s *skep.Socket) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.workers[s] == nil {
		return false
	}
	delete(g.workers, s)
	g.group.Remove(s)
	return true
}

// Close closes all members.
func (g *Reuseport) Close() error {
	g.mu.Lock()
	g.closed = true
	var all []worker
	for _, w := range g.workers {
		all = append(all, w)
	}
	g.mu.Unlock()
	for _, w := range all {
		w.Close()
	}
	return nil
}

// choose asks the program, or the hash, who gets the segment on the CPU.
func (g *Reuseport) choose(cpu *skep.CPU, seg *skep.Segment, own, migrating *skep.Socket) (*skep.Socket, error) {
	if own == nil {
		socks := g.group.Socks()
		if len(socks) == 0 {
			g.dropped.Add(1)
			return nil, nil
		}
		own = socks[0]
	}
	prog := g.prog.Load()
	if migrating != nil && (prog == nil || prog.AttachType() != skep.AttachSkReuseportSelectOrMigrate) {
		if !g.opts.MigrateRequests {
			return nil, nil
		}
		prog = nil
	}
	to, how, err := cpu.Reuseport(&skep.Reuseport{
		Group: &g.group, Prog: prog, Own: own, Migrating: migrating, Hash: skep.FlowHash(seg.Src, seg.Dst, g.opts.Seed),
	})
	if err != nil {
		return nil, err
	}
	switch {
	case to == nil:
		g.dropped.Add(1)
	case how == skep.ReuseportByProgram:
		g.byProgram.Add(1)
	default:
		g.byHash.Add(1)
	}
	return to, nil
}

// Serve takes from Conn and deals out until it is closed, and returns nil then.
func (g *Reuseport) Serve() error {
	var err error
	switch c := g.opts.Conn.(type) {
	case net.Listener:
		err = g.serveListener(c)
	case net.PacketConn:
		err = g.servePackets(c)
	default:
		return errors.New("hook reuseport: no Conn to serve")
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
