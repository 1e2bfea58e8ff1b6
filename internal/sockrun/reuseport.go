// Package sockrun runs the programs that stand in the way of sockets as the
// network stack runs them: sk_reuseport and filters for reuseport groups, sk_lookup,
// and what the bytes of a map's sockets go through.
package sockrun

import (
	"net/netip"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/socket"
)

// Return values of programs over sockets (enum sk_action).
const (
	SkDrop = 0
	SkPass = 1
)

// Reuseport is a question to a reuseport group: who gets this?
type Reuseport struct {
	Group *socket.Group
	// Prog is the group's program, of type sk_reuseport or socket_filter; nil: the hash decides.
	Prog *run.Program
	// Own is the member that packets come to first.
	Own *socket.Socket
	// Migrating is the connection that loses its listener, Own, and wants another; or nil.
	Migrating *socket.Socket
	Hash      uint32
}

// How a member was chosen.
type How uint8

// Ways of choosing.
const (
	ByHash How = iota
	ByProgram
	Dropped // by the program: nobody gets it
)

// Offsets in struct sk_reuseport_md.
const (
	reuseData, reuseDataEnd, reuseLen, reuseEth = 0, 8, 16, 20
	reuseIP, reuseInAny, reuseHash              = 24, 28, 32
	reuseSk, reuseMigrating                     = 40, 48
)

// Choose asks for the packet on c, which begins with its transport header
// (reuseport_select_sock, reuseport_migrate_sock). It returns nil where nobody gets it.
func (q *Reuseport) Choose(c *run.CPU) (s *socket.Socket, how How, err error) {
	switch {
	case q.Prog == nil:
	case q.Prog.Info.Type == catalog.ProgSkReuseport:
		s, how, err = q.program(c)
	default:
		s, how, err = q.filter(c)
	}
	if s == nil && how == ByHash && err == nil {
		s = q.Group.ByHash(q.Hash)
	}
	return s, how, err
}

// program runs an sk_reuseport program (bpf_run_sk_reuseport).
func (q *Reuseport) program(c *run.CPU) (*socket.Socket, How, error) {
	ctx, err := c.Context()
	if err != nil {
		return nil, ByHash, err
	}
	pkt := c.Packet()
	mem.Store64(ctx+reuseData, pkt.Data)
	mem.Store64(ctx+reuseDataEnd, pkt.DataEnd)
	mem.Store32(ctx+reuseLen, pkt.Len)
	mem.Store32(ctx+reuseEth, pkt.Protocol)
	mem.Store32(ctx+reuseIP, q.Own.Protocol)
	if q.Group.BindInAny {
		mem.Store32(ctx+reuseInAny, 1)
	}
	mem.Store32(ctx+reuseHash, q.Hash)
	mem.Store64(ctx+reuseSk, q.Own.Addr())
	if q.Migrating != nil {
		mem.Store64(ctx+reuseMigrating, q.Migrating.Addr())
	}
	ch := socket.Choice{Group: q.Group, Own: q.Own, Migrating: q.Migrating}
	c.Choose(&ch)
	defer c.Choose(nil)
	r0, err := c.Run(q.Prog, ctx, pkt)
	switch {
	case err != nil:
		return nil, ByHash, err
	case uint32(r0) != SkPass:
		return nil, Dropped, nil
	case ch.Selected == nil:
		return nil, ByHash, nil
	}
	return ch.Selected, ByProgram, nil
}

// filter runs a socket filter, classic in origin or not, on what lies behind the
// transport header: what it returns is the member's place (run_bpf_filter).
func (q *Reuseport) filter(c *run.CPU) (*socket.Socket, How, error) {
	pkt := c.Packet()
	n := pkt.TransportLen(uint8(q.Own.Protocol))
	if !pkt.Pull(n) {
		return nil, ByHash, nil
	}
	r0, err := c.Run(q.Prog, pkt.Addr(), pkt)
	pkt.Pull(-n)
	if socks := q.Group.Socks(); err == nil && uint64(uint32(r0)) < uint64(len(socks)) {
		return socks[uint32(r0)], ByProgram, nil
	}
	return nil, ByHash, err
}

// Hash is the hash of a flow, different for every seed, the same for packets with
// the same addresses and ports.
func Hash(src, dst netip.AddrPort, seed uint32) uint32 {
	h := seed ^ 0x9e3779b9
	for _, a := range [2]netip.AddrPort{src, dst} {
		_, w := socket.Words(netip.AddrFrom16(a.Addr().As16()))
		for _, v := range append(w[:], uint32(a.Port())) {
			h = (h ^ v) * 0x85ebca6b
			h ^= h >> 13
		}
	}
	h *= 0xc2b2ae35
	return h ^ h>>16
}
