package socket

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Group is a reuseport group: sockets that share one address, each of which may
// be given what arrives there (struct sock_reuseport).
type Group struct {
	// BindInAny says that the address is unspecified (bind_inany).
	BindInAny bool

	mu    sync.Mutex
	socks atomic.Pointer[[]*Socket] // in the order they were bound
}

// Group returns the group s is in, or nil.
func (s *Socket) Group() *Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.group
}

// Add makes s the last member. It fails for a socket that is in a group or closed.
func (g *Group) Add(s *Socket) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.group != nil || s.closed {
		return false
	}
	s.group = g
	g.set(append(slices.Clip(g.Socks()), s))
	return true
}

// Remove takes s out; the last member takes its place (reuseport_detach_sock).
func (g *Group) Remove(s *Socket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	socks := slices.Clone(g.Socks())
	i := slices.Index(socks, s)
	if i < 0 {
		return
	}
	s.group = nil
	last := len(socks) - 1
	socks[i] = socks[last]
	g.set(socks[:last])
}

func (g *Group) set(socks []*Socket) { g.socks.Store(&socks) }

// Socks are the members now; not to be changed.
func (g *Group) Socks() []*Socket {
	if p := g.socks.Load(); p != nil {
		return *p
	}
	return nil
}

// ByHash returns the member a hash falls on, connected datagram sockets aside,
// or nil (reuseport_select_sock_by_hash).
func (g *Group) ByHash(hash uint32) *Socket {
	socks := g.Socks()
	if len(socks) == 0 {
		return nil
	}
	first := int(uint64(hash) * uint64(len(socks)) >> 32) // reciprocal_scale
	for i := range socks {
		if s := socks[(first+i)%len(socks)]; s.State != TCPEstablished {
			return s
		}
	}
	return nil
}
