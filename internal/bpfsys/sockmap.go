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
	prog, err := sp.SockProg(attach)
	if err != nil {
		return asNumber(err)
	}
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
	return c.put(unsafe.Offsetof(a.Count), u32bytes(count))
}
