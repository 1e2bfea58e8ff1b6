package bpfsys

import (
	"encoding/binary"
	"math"
	"net/netip"
	"sync"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/socket"
)

// Sockets are a caller's sockets, which are the running kernel's.
type Sockets interface {
	// Socket tells of the socket that a descriptor is of, with its cookie; ENOTSOCK for any other file.
	Socket(fd int32) (spec socket.Spec, cookie uint64, e errno.Errno)
}

// sockets are the sockets of callers that maps have seen, by cookie. What the
// kernel delivers to them passes by the system: they can be put into maps and found there.
// When a caller closes one nobody is told; it stays in the maps it is in.
type sockets struct {
	mu     sync.Mutex
	known  map[uint64]*socket.Socket
	groups map[shared]*socket.Group
}

// shared is what the members of a reuseport group have in common.
type shared struct {
	proto uint8
	local netip.AddrPort
}

// toSocket replaces the descriptor in a value by the number of the caller's socket.
func (c *call) toSocket(v []byte) {
	fd := binary.NativeEndian.Uint32(v)
	if fd > math.MaxInt32 || len(v) == 8 && binary.NativeEndian.Uint64(v) > math.MaxInt32 {
		return // no descriptor, and told apart from one that is not open
	}
	binary.NativeEndian.PutUint32(v, c.socketNumber(int32(fd)))
}

func (c *call) socketNumber(fd int32) uint32 {
	f, e := c.who.Files.File(fd)
	switch {
	case e != 0:
		return run.NoDescriptor
	case f != nil:
		f.Put()
		return run.NoSocket
	case c.who.Sockets == nil:
		return run.NoSocket
	}
	spec, cookie, e := c.who.Sockets.Socket(fd)
	if e != 0 {
		return run.NoSocket
	}
	s, e := c.s.sockets.get(&spec, cookie)
	if e != 0 {
		return run.NoDescriptor
	}
	return c.s.m.Sockets.Number(s)
}

// get returns the socket with a cookie, as it is by now.
func (t *sockets) get(spec *socket.Spec, cookie uint64) (*socket.Socket, errno.Errno) {
	fresh, err := socket.New(*spec, cookie)
	if err != nil {
		return nil, errno.ENOMEM
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known, t.groups = map[uint64]*socket.Socket{}, map[shared]*socket.Group{}
	}
	s := t.known[cookie]
	if s == nil {
		s = fresh
		t.known[cookie] = s
	} else { // it may have been bound, connected or made to listen since
		s.Update(fresh)
		fresh.Close()
	}
	if s.Flags&socket.Hashed != 0 && s.Flags&socket.Reuseport != 0 && s.Group() == nil {
		at := shared{spec.Protocol, spec.Local}
		g := t.groups[at]
		if g == nil {
			g = &socket.Group{BindInAny: spec.Local.Addr().IsUnspecified()}
			t.groups[at] = g
		}
		g.Add(s)
	}
	return s, 0
}

func (t *sockets) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.known {
		s.Close()
	}
	t.known = nil
}
