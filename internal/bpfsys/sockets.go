package bpfsys

import (
	"encoding/binary"
	"maps"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	bpfmaps "github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/socket"
)

// Sockets are a caller's sockets, which are the running kernel's.
type Sockets interface {
	// Socket tells of the socket that a descriptor is of, with its cookie and, where somebody
	// can tell, how to ask later what has become of it; ENOTSOCK for any other file.
	Socket(fd int32) (spec socket.Spec, cookie uint64, life func() Life, e errno.Errno)
}

// Life is what has become of a caller's socket.
type Life uint8

// Lives.
const (
	Open     Life = iota // it is as it was, as far as one knows
	Unhashed             // it has no address any more: it was reset or shut down
	Closed
)

// sockets are the sockets of callers that maps have seen, by cookie. What the
// kernel delivers to them passes by the system: they can be put into maps and found there.
// When a caller closes one nobody is told: who might see it in a map has it asked after first.
type sockets struct {
	mu      sync.Mutex
	known   map[uint64]known
	cookies map[*socket.Socket]uint64
	groups  map[shared]*socket.Group
	sweepAt int // how many are known when the closed ones are looked for next
}

type known struct {
	*socket.Socket
	life func() Life // nil: nobody can tell
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
	spec, cookie, life, e := c.who.Sockets.Socket(fd)
	if e != 0 {
		return run.NoSocket
	}
	c.s.sockets.sweepFull()
	n, e := c.s.sockets.number(&c.s.m.Sockets, &spec, cookie, life)
	if e != 0 {
		return run.NoDescriptor
	}
	return n
}

// number returns the number of the socket with a cookie, which it makes what it is by now.
func (t *sockets) number(of *socket.Table, spec *socket.Spec, cookie uint64, life func() Life) (uint32, errno.Errno) {
	fresh, err := socket.New(*spec, cookie)
	if err != nil {
		return 0, errno.ENOMEM
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known, t.cookies = map[uint64]known{}, map[*socket.Socket]uint64{}
		t.groups = map[shared]*socket.Group{}
	}
	s := t.known[cookie].Socket
	if s == nil {
		s = fresh
	} else { // it may have been bound, connected or made to listen since
		s.Update(fresh)
		fresh.Close()
	}
	t.known[cookie], t.cookies[s] = known{s, life}, cookie
	if s.Flags&socket.Hashed != 0 && s.Flags&socket.Reuseport != 0 && s.Group() == nil {
		at := shared{spec.Protocol, spec.Local}
		g := t.groups[at]
		if g == nil {
			g = &socket.Group{BindInAny: spec.Local.Addr().IsUnspecified()}
			t.groups[at] = g
		}
		g.Add(s)
	}
	return of.Number(s), 0
}

// minSweep is how many sockets are known before the closed ones among them are looked for.
const minSweep = 64

// check asks after a socket, and takes it out of the maps that it has left; it reports whether it is closed.
func (t *sockets) check(s *socket.Socket) (closed bool) {
	t.mu.Lock()
	cookie, ok := t.cookies[s] // not s.Cookie, whose memory may be gone
	life := t.known[cookie].life
	t.mu.Unlock()
	if !ok || life == nil {
		return false
	}
	now := life()
	if now == Open {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.known[cookie].Socket != s: // another has closed it meanwhile
	case now == Unhashed:
		s.Unhash()
		return false
	default:
		delete(t.known, cookie)
		delete(t.cookies, s)
		s.Close()
	}
	return true
}

// sweep asks after all sockets.
func (t *sockets) sweep() {
	t.mu.Lock()
	all := slices.Collect(maps.Keys(t.cookies))
	t.mu.Unlock()
	for _, s := range all {
		t.check(s)
	}
}

// sweepFull sweeps when twice as many sockets are known as were left the last time.
func (t *sockets) sweepFull() {
	t.mu.Lock()
	full := len(t.known) >= max(t.sweepAt, minSweep)
	t.mu.Unlock()
	if !full {
		return
	}
	t.sweep()
	t.mu.Lock()
	t.sweepAt = 2 * len(t.known)
	t.mu.Unlock()
}

// checkSocket asks after the socket that a map has at a key; it reports whether that is closed.
func (c *call) checkSocket(m bpfmaps.Map, key []byte) (closed bool) {
	sm, ok := bpfmaps.Unwrap(m).(bpfmaps.SocketMap)
	if !ok || len(key) == 0 {
		return false
	}
	// The map reads the key's bytes, and keeps no address of them.
	s := sm.Socket(uint64(uintptr(unsafe.Pointer(unsafe.SliceData(key)))))
	runtime.KeepAlive(key)
	return c.s.sockets.check(s)
}

// sweepSockets asks after all sockets if they could be in a map.
func (c *call) sweepSockets(m bpfmaps.Map) {
	if _, ok := bpfmaps.Unwrap(m).(bpfmaps.SocketMap); ok {
		c.s.sockets.sweep()
	}
}

// sweepFor asks after all sockets ahead of a run of p, if that may come upon one in a map.
func (s *System) sweepFor(p *run.Program) {
	if p.Traced() || slices.ContainsFunc(p.Maps(), leadsToSockets) {
		s.sockets.sweep()
	}
}

// leadsToSockets reports whether a program with the map may come upon sockets: in the map, in one
// that is in it, or in those of programs that it calls.
func leadsToSockets(m bpfmaps.Map) bool {
	row := catalog.MapKindByType(m.Def().Type)
	switch row.Holds {
	case catalog.HoldsSockets, catalog.HoldsMaps, catalog.HoldsProgs, catalog.HoldsProgBehind:
		return true
	}
	return row.Owners == catalog.OwnersSockets
}

func (t *sockets) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.known {
		s.Close()
	}
	t.known, t.cookies = nil, nil
}
