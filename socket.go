package skep

import (
	"fmt"
	"net/netip"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/socket"
	"github.com/skep-bpf/skep/internal/sockrun"
)

// Socket is a socket as programs see it: what sockmap, sockhash and
// reuseport_sockarray hold. [Map.Update] takes one for a value. Whose bytes it stands for is
// its owner's affair; hooks such as hook.Reuseport make sockets for real connections.
type Socket = socket.Socket

// SocketSpec says what a [Socket] is.
type SocketSpec = socket.Spec

// States of a [SocketSpec], and protocols.
const (
	SocketEstablished = socket.TCPEstablished
	SocketClose       = socket.TCPClose
	SocketListen      = socket.TCPListen
	SocketNewSynRecv  = socket.TCPNewSynRecv // a request for a connection

	ProtoTCP = socket.TCP
	ProtoUDP = socket.UDP
)

// SocketSpecOf describes a net.Conn, net.PacketConn or net.Listener of TCP, UDP or
// Unix streams.
func SocketSpecOf(conn any) (SocketSpec, error) { return socket.SpecOf(conn) }

// NewSocket makes a socket. On a machine with a [StaticNet] it is found by bpf_sk_lookup_tcp
// and its kin until it is closed; its cookie is the net's next.
func (m *Machine) NewSocket(spec SocketSpec) (*Socket, error) {
	if err := m.open(); err != nil {
		return nil, err
	}
	s, err := m.m.NewSocket(spec)
	if err != nil {
		return nil, fmt.Errorf("skep: new socket: %w", err)
	}
	return s, nil
}

// ReuseportGroup is sockets that share one address (SO_REUSEPORT).
type ReuseportGroup = socket.Group

// Segment is a UDP datagram or the first segment of a TCP connection, as
// [Packet.SetSegment] makes one.
type Segment = packet.Segment

// FlowHash is the hash by which a reuseport group without a program chooses.
func FlowHash(src, dst netip.AddrPort, seed uint32) uint32 { return sockrun.Hash(src, dst, seed) }

// ReuseportHow says how a member of a group was chosen.
type ReuseportHow = sockrun.How

// Ways of choosing.
const (
	ReuseportByHash    = sockrun.ByHash
	ReuseportByProgram = sockrun.ByProgram
	ReuseportDropped   = sockrun.Dropped // nobody gets it
)

// Reuseport is a question to a reuseport group: who gets the packet on the CPU?
type Reuseport struct {
	Group *ReuseportGroup
	Prog  *Program // of type SkReuseport or SocketFilter; nil: the hash decides
	Own   *Socket  // the member that packets come to first
	// Migrating is the connection that loses its listener, Own, and wants another; or nil.
	Migrating *Socket
	Hash      uint32
}

// Reuseport asks a group. The packet begins with its transport header, as [Packet.SetSegment] leaves it.
func (c *CPU) Reuseport(q *Reuseport) (*Socket, ReuseportHow, error) {
	in := sockrun.Reuseport{Group: q.Group, Own: q.Own, Migrating: q.Migrating, Hash: q.Hash}
	if p := q.Prog; p != nil {
		if p.done.Load() {
			return nil, ReuseportByHash, p.wrap(ErrClosed)
		}
		in.Prog = p.p
	}
	s, how, err := in.Choose(c.c)
	if err != nil {
		err = q.Prog.wrap(err)
	}
	return s, how, err
}

// SocketLookup is a packet that looks for a socket: the first of a connection, or a datagram.
type SocketLookup = sockrun.Lookup

// SkLookupResult is what programs of type sk_lookup decided.
type SkLookupResult = sockrun.Found

// SkLookup asks programs of type sk_lookup, one after the other, for the socket of a packet.
func (c *CPU) SkLookup(progs []*Program, q *SocketLookup) (SkLookupResult, error) {
	list, err := opened(progs)
	if err != nil {
		return SkLookupResult{}, err
	}
	return q.Ask(c.c, list)
}

// Assigned returns the socket that bpf_sk_assign has given the CPU's packet to, on its way in, or nil. Whether
// its group chooses again is for who delivers the packet: see [CPU.Reuseport].
func (c *CPU) Assigned() *Socket { return c.mach.m.Socket(c.Packet().Sock) }

// SockVerdict is where bytes go that came through a program of a map of sockets.
type SockVerdict = sockrun.Verdict

// SockMessage is what an sk_msg program made of bytes to be sent.
type SockMessage = sockrun.Message

// SockParse asks a socket's stream parser how long the message is that begins with
// data: 0 to see more, a negative number to give up. Without one it is all of data.
func (c *CPU) SockParse(s *Socket, data []byte) (int32, error) { return sockrun.Parse(c.c, s, data) }

// SockJudge runs a socket's verdict program on bytes that came in, and returns
// them as it left them, valid until the CPU's next run.
func (c *CPU) SockJudge(s *Socket, data []byte) ([]byte, SockVerdict, error) {
	return sockrun.Judge(c.c, s, data)
}

// SockSend runs a socket's sk_msg program on bytes to be sent; ok is false
// where it has none.
func (c *CPU) SockSend(s *Socket, data []byte) (m SockMessage, ok bool, err error) {
	return sockrun.Send(c.c, s, data)
}

// sockProgs is a map of sockets as far as it has programs.
type sockProgs interface {
	AttachSock(p, old maps.Prog, at catalog.AttachType) error
}

// AttachProgram makes p the program of a sockmap or sockhash at one of its four places,
// instead of the one there (BPF_PROG_ATTACH). Sockets that are in the map keep what they have.
func (m *Map) AttachProgram(p *Program, at AttachType) error {
	return m.changeProgram("attach", p, at, func(sp sockProgs) error { return sp.AttachSock(p.p, nil, at) })
}

// DetachProgram takes p away from where AttachProgram put it.
func (m *Map) DetachProgram(p *Program, at AttachType) error {
	return m.changeProgram("detach", p, at, func(sp sockProgs) error { return sp.AttachSock(nil, p.p, at) })
}

func (m *Map) changeProgram(op string, p *Program, at AttachType, change func(sockProgs) error) error {
	if err := m.open(); err != nil {
		return m.wrap(op, err)
	}
	if p.done.Load() {
		return m.wrap(op, p.wrap(ErrClosed))
	}
	sp, ok := maps.Unwrap(m.m).(sockProgs)
	if !ok {
		return fmt.Errorf("map %s: %s: a %s takes no programs: %w", m.Name(), op, m.Type(), errno.EOPNOTSUPP)
	}
	if catalog.AttachesProg(at) != p.Type() {
		return fmt.Errorf("map %s: %s: program %s is of type %s, not for %s: %w", m.Name(), op, p.Name(), p.Type(), at, errno.EINVAL)
	}
	return m.wrap(op, change(sp))
}

// opened is what stands behind programs, unless one was closed.
func opened(progs []*Program) ([]*run.Program, error) {
	list := make([]*run.Program, len(progs))
	for i, p := range progs {
		if p.done.Load() {
			return nil, p.wrap(ErrClosed)
		}
		list[i] = p.p
	}
	return list, nil
}
