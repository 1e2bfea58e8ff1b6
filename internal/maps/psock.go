package maps

import (
	"math"
	"sync"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/socket"
)

// Kinds of programs a map of sockets has.
const (
	sockMsg = iota
	sockParser
	sockStream
	sockSKB
	sockKinds
)

// sockKindOf are the kinds by attach type.
var sockKindOf = map[catalog.AttachType]int{
	catalog.AttachSkMsgVerdict: sockMsg, catalog.AttachSkSKBStreamParser: sockParser,
	catalog.AttachSkSKBStreamVerdict: sockStream, catalog.AttachSkSKBVerdict: sockSKB,
}

// sockProgs are the programs of a map of sockets (struct sk_psock_progs).
type sockProgs [sockKinds]Prog

// sockets is what sockmap and sockhash share: programs that sockets take over
// when they are put in.
type sockets struct {
	mu    sync.RWMutex // around the elements, too
	progs sockProgs
	links [sockKinds]any // what has a program's place for itself
}

// AttachSock makes p the map's program of a kind, instead of what is there; a nil p
// takes old away. It fails with EBUSY where a link has the place. Sockets that are in the map keep what they have.
func (m *sockets) AttachSock(p, old Prog, at catalog.AttachType) error {
	return m.updateProg(p, old, nil, at)
}

// LinkSock is AttachSock for a link, which then has the place until UnlinkSock.
func (m *sockets) LinkSock(p Prog, link any, at catalog.AttachType) error {
	return m.updateProg(p, nil, link, at)
}

// UnlinkSock takes a link's program p away (sock_map_link_release).
func (m *sockets) UnlinkSock(p Prog, link any, at catalog.AttachType) {
	_ = m.updateProg(nil, p, link, at)
}

// updateProg follows sock_map_prog_update.
func (m *sockets) updateProg(p, old Prog, link any, at catalog.AttachType) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, err := m.kind(at)
	if err != nil {
		return err
	}
	if (link == nil || p != nil) && m.links[k] != nil {
		return errno.EBUSY
	}
	if err := m.setProg(k, p, old); err != nil {
		return err
	}
	m.links[k] = nil
	if old == nil {
		m.links[k] = link
	}
	return nil
}

// RelinkSock puts p in the place of a link's program (sock_map_link_update_prog).
func (m *sockets) RelinkSock(p, old Prog, link any, at catalog.AttachType) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, err := m.kind(at)
	switch {
	case err != nil:
		return err
	case m.links[k] != link:
		return errno.EBUSY
	}
	return m.setProg(k, p, old)
}

// kind says which program attaches at a place (sock_map_prog_link_lookup). The caller holds m.mu.
func (m *sockets) kind(at catalog.AttachType) (int, error) {
	k, ok := sockKindOf[at]
	switch {
	case !ok:
		return 0, errno.EOPNOTSUPP
	case k == sockStream && m.progs[sockSKB] != nil, k == sockSKB && m.progs[sockStream] != nil:
		return 0, errno.EBUSY
	}
	return k, nil
}

// setProg exchanges a program, which has to be old if that is not nil. The caller holds m.mu.
func (m *sockets) setProg(k int, p, old Prog) error {
	if old != nil && m.progs[k] != old {
		return errno.ENOENT
	}
	if p != nil {
		p.Acquire()
	}
	if was := m.progs[k]; was != nil {
		was.Close()
	}
	m.progs[k] = p
	return nil
}

// SockProg returns the map's program of a kind, or nil, without a reference for the caller.
func (m *sockets) SockProg(at catalog.AttachType) (Prog, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	k, err := m.kind(at)
	if err != nil {
		return nil, err
	}
	return m.progs[k], nil
}

func (m *sockets) closeProgs() {
	for k, p := range m.progs {
		if p != nil {
			p.Close()
			m.progs[k] = nil
		}
	}
}

// Psock is what a socket has that is in a map of sockets (struct sk_psock): the
// programs it took over. It goes when the socket leaves the last map.
type Psock struct {
	mu      sync.Mutex
	links   int
	progs   sockProgs
	started bool // what arrives goes through programs (saved_data_ready)
}

// Prog returns the socket's program of a kind, with a reference for the caller, or nil.
func (ps *Psock) Prog(at catalog.AttachType) Prog {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.progs[sockKindOf[at]]
	if p != nil {
		p.Acquire()
	}
	return p
}

// PsockOf returns what maps of sockets have made of s, or nil.
func PsockOf(s *socket.Socket) *Psock {
	ps, _ := s.User().(*Psock)
	return ps
}

// link readies s for being in the map (sock_map_link).
func (m *sockets) link(s *socket.Socket) (*Psock, errno.Errno) {
	for {
		ps := PsockOf(s)
		if ps == nil {
			ps = new(Psock)
			if e := s.Claim(ps); e != 0 {
				if PsockOf(s) != nil {
					continue // another map was faster
				}
				return nil, e
			}
		}
		ps.mu.Lock()
		if PsockOf(s) != ps { // it has just left its last map
			ps.mu.Unlock()
			continue
		}
		e := ps.take(&m.progs)
		if e == 0 {
			e = ps.start(&m.progs, s)
		}
		if e == 0 {
			ps.links++
		} else if ps.links == 0 {
			ps.drop()
			s.Unclaim(ps)
		}
		ps.mu.Unlock()
		return ps, e
	}
}

// take gives the psock a map's programs, unless it has such already.
func (ps *Psock) take(progs *sockProgs) errno.Errno {
	has := func(k int) bool { return ps.progs[k] != nil }
	want := func(k int) bool { return progs[k] != nil }
	if want(sockMsg) && has(sockMsg) || want(sockParser) && has(sockParser) ||
		want(sockSKB) && (has(sockSKB) || has(sockStream)) ||
		want(sockStream) && (has(sockSKB) || has(sockStream)) {
		return errno.EBUSY
	}
	for k, p := range progs {
		if p != nil {
			p.Acquire()
			ps.progs[k] = p
		}
	}
	return 0
}

func (ps *Psock) drop() {
	for k := range ps.progs {
		ps.forget(k)
	}
}

// start has what arrives go through programs, if the map has such.
func (ps *Psock) start(progs *sockProgs, s *socket.Socket) errno.Errno {
	switch stream := progs[sockStream] != nil; {
	case ps.started:
	case stream && progs[sockParser] != nil && s.Protocol != socket.TCP:
		return errno.EOPNOTSUPP
	case stream, progs[sockSKB] != nil:
		ps.started = true
	}
	return 0
}

// unlink takes one link back. The programs for what arrives go with the first map that
// has such, wherever they came from (sock_map_del_link, sock_map_unref).
func (ps *Psock) unlink(s *socket.Socket, progs sockProgs) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.started {
		if progs[sockParser] != nil {
			ps.forget(sockParser)
		}
		if progs[sockStream] != nil || progs[sockSKB] != nil {
			ps.forget(sockStream)
			ps.forget(sockSKB)
		}
	}
	if ps.links--; ps.links == 0 {
		ps.drop()
		s.Unclaim(ps)
	}
}

// forget drops a program for what arrives, which from now on goes its old way.
func (ps *Psock) forget(k int) {
	ps.started = false
	if p := ps.progs[k]; p != nil {
		p.Close()
		ps.progs[k] = nil
	}
}

// Redirectable reports whether bytes can go through programs from and to a
// socket: connected ones alone (sock_map_redirect_allowed).
func Redirectable(s *socket.Sock) bool {
	if s.Protocol == socket.TCP {
		return s.State != socket.TCPListen
	}
	return s.State == socket.TCPEstablished
}

// fits says whether a socket may be in a map of sockets
// (sock_map_sk_is_suitable, sock_map_sk_state_allowed).
func fits(s *socket.Socket) errno.Errno {
	switch {
	case s.Protocol == socket.TCP && (s.State == socket.TCPEstablished || s.State == socket.TCPListen),
		s.Protocol == socket.UDP && s.Flags&socket.Hashed != 0,
		s.Family == socket.AFUnix && (s.Type == socket.Dgram || s.State == socket.TCPEstablished):
		return 0
	}
	return errno.EOPNOTSUPP
}

// sockEntry is one place of a map of sockets that is taken.
type sockEntry struct {
	in    *sockets
	sock  *socket.Socket
	psock *Psock
}

// enter readies a socket for a place; left is called when it is closed, with the entry.
func (m *sockets) enter(s *socket.Socket, left func(*sockEntry)) (*sockEntry, errno.Errno) {
	ps, e := m.link(s)
	if e != 0 {
		return nil, e
	}
	x := &sockEntry{m, s, ps}
	if !s.Hold(x, func() { left(x) }) {
		ps.unlink(s, m.progs)
		return nil, errno.EINVAL
	}
	return x, 0
}

// leave gives the place back; the map's mu is held.
func (x *sockEntry) leave() {
	x.sock.Forget(x)
	x.psock.unlink(x.sock, x.in.progs)
}

// cookie is what a lookup of user space finds (sock_map_lookup_sys).
func (x *sockEntry) cookie(value []byte) errno.Errno {
	if x == nil {
		return errno.ENOENT
	}
	*(*uint64)(ptr(value)) = x.sock.Cookie
	return 0
}

// socket and addr are what programs find.
func (x *sockEntry) socket() *socket.Socket {
	if x == nil {
		return nil
	}
	return x.sock
}

func (x *sockEntry) addr() uint64 {
	if x == nil {
		return 0
	}
	return x.sock.Addr()
}

// putter is a map of sockets, by what its two kinds do differently.
type putter interface {
	put(key []byte, s *socket.Socket, flags uint64) errno.Errno
}

// updateFD and updateSock put a socket in, for user space by its descriptor and for programs
// by its address (sock_map_update_elem_sys, sock_map_update_elem).
func (c *core) updateFD(m putter, key, value []byte, flags uint64) errno.Errno {
	if index(value) > math.MaxInt32 {
		return errno.EINVAL
	}
	s, e := c.resolveSock(value)
	if e == 0 {
		e = fits(s)
	}
	if e == 0 {
		e = m.put(key, s, flags)
	}
	return e
}

func (c *core) updateSock(m putter, key, sock, flags uint64) errno.Errno {
	if c.cfg.SockAt == nil {
		return errno.EOPNOTSUPP
	}
	s := c.cfg.SockAt(sock)
	if s == nil {
		return errno.EOPNOTSUPP // of a network that is only told of
	}
	if e := fits(s); e != 0 {
		return e
	}
	return m.put(mem.Bytes(key, int(c.def.KeySize)), s, flags)
}
