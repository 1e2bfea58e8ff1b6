package bpfsys

import (
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
)

// sockProgs is a sockmap or sockhash as far as it has programs.
type sockProgs interface {
	AttachSock(p, old maps.Prog, at catalog.AttachType) error
	SockProg(at catalog.AttachType) (maps.Prog, error)
	LinkSock(p maps.Prog, link any, at catalog.AttachType) error
	UnlinkSock(p maps.Prog, link any, at catalog.AttachType)
	RelinkSock(p, old maps.Prog, link any, at catalog.AttachType) error
}

// onSockets reports whether programs of a type attach to maps of sockets.
func onSockets(t catalog.ProgType) bool {
	return t == catalog.ProgSkMsg || t == catalog.ProgSkSKB
}

// sockMap opens a map that programs are to attach to (sock_map_get_from_fd).
func (c *call) sockMap(fd int32) (sockProgs, *File, errno.Errno) {
	m, f, e := open[Map](c, fd)
	if e != 0 {
		return nil, nil, e
	}
	sp, ok := maps.Unwrap(m.Map).(sockProgs)
	if !ok {
		f.Put()
		return nil, nil, errno.EOPNOTSUPP
	}
	return sp, f, 0
}

// sockAttach puts p into the map, or takes it out.
func (c *call) sockAttach(a *progAttach, p *run.Program, attach catalog.AttachType) errno.Errno {
	if a.AttachFlags != 0 || a.ReplaceBpfFd != 0 || a.RelativeFd != 0 || a.ExpectedRevision != 0 {
		return errno.EINVAL
	}
	sp, f, e := c.sockMap(a.TargetFd)
	if e != 0 {
		return e
	}
	defer f.Put()
	return asNumber(sp.AttachSock(p, nil, attach))
}

// sockDetach follows sock_map_prog_detach.
func (c *call) sockDetach(a *progAttach, t catalog.ProgType, attach catalog.AttachType) errno.Errno {
	if a.ReplaceBpfFd != 0 {
		return errno.EINVAL
	}
	m, mf, e := open[Map](c, a.TargetFd)
	if e != 0 {
		return e
	}
	defer mf.Put()
	p, f, e := open[*run.Program](c, a.AttachBpfFd)
	if e != 0 {
		return e
	}
	defer f.Put()
	if p.Info.Type != t {
		return errno.EINVAL
	}
	sp, ok := maps.Unwrap(m.Map).(sockProgs)
	if !ok {
		return errno.EOPNOTSUPP
	}
	return asNumber(sp.AttachSock(nil, p, attach))
}

// sockQuery follows sock_map_bpf_prog_query.
func (c *call) sockQuery(a *progQuery, attach catalog.AttachType) errno.Errno {
	if a.QueryFlags != 0 {
		return errno.EINVAL
	}
	sp, f, e := c.sockMap(a.TargetFd)
	if e != 0 {
		return e
	}
	defer f.Put()
	prog, err := sp.SockProg(attach) // of which the caller is told as of none there
	count, id := uint32(0), uint32(0)
	if prog != nil {
		count = 1
		if a.Count != 0 && a.ProgIds != 0 {
			id = prog.ID()
		}
	}
	if e := c.put(unsafe.Offsetof(a.AttachFlags), u32bytes(0)); e != 0 {
		return e
	}
	if id != 0 {
		if e := c.write(a.ProgIds, u32bytes(id)); e != 0 {
			return e
		}
	}
	if e := c.put(unsafe.Offsetof(a.Count), u32bytes(count)); e != 0 {
		return e
	}
	return asNumber(err)
}

// sockLink is the map that a link has a program at; it keeps the map.
type sockLink struct {
	m     Map
	progs sockProgs
}

// linkSockMap follows sock_map_link_create.
func (c *call) linkSockMap(a *linkCreate, p *run.Program, attach catalog.AttachType) (int32, errno.Errno) {
	if a.Flags != 0 {
		return 0, errno.EINVAL
	}
	m, f, e := open[Map](c, a.TargetFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	sp, ok := maps.Unwrap(m.Map).(sockProgs)
	if !ok {
		return 0, errno.EINVAL
	}
	m.Acquire()
	l := &Link{typ: LinkSockMap, attach: attach, socks: &sockLink{m, sp}}
	if e := c.s.newLink(l, p); e != 0 {
		m.Close()
		return 0, e
	}
	if e := asNumber(sp.LinkSock(p, l, attach)); e != 0 {
		l.socks = nil
		m.Close()
		l.Close()
		return 0, e
	}
	return c.install(l)
}

// leaveSockMap takes a link's program out of the map, once (sock_map_link_release). The link keeps the program.
func (l *Link) leaveSockMap() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.socks == nil {
		return
	}
	l.socks.progs.UnlinkSock(l.prog, l, l.attach)
	l.socks.m.Close()
	l.socks = nil
}

// sockMapID is the map's number, 0 once the link is detached.
func (l *Link) sockMapID() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.socks == nil {
		return 0
	}
	return l.socks.m.Def().ID
}

// exchangeSock follows sock_map_link_update_prog.
func (l *Link) exchangeSock(p, old *run.Program) errno.Errno {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case old != nil && l.prog != old:
		return errno.EPERM
	case p.Info.Type != l.prog.Info.Type || p.Info.Attach != l.prog.Info.Attach:
		return errno.EINVAL
	case l.socks == nil:
		return errno.ENOLINK
	}
	var was maps.Prog
	if old != nil {
		was = old
	}
	if e := asNumber(l.socks.progs.RelinkSock(p, was, l, l.attach)); e != 0 {
		return e
	}
	p.Acquire()
	l.prog.Close()
	l.prog = p
	return 0
}
