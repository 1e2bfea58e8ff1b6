package bpfsys

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
)

// Programs at network namespaces follow kernel/bpf/net_namespace.c: one flow
// dissector, by PROG_ATTACH or a link, or up to 64 links of sk_lookup programs.

func inNetNS(t catalog.ProgType) bool {
	return t == catalog.ProgFlowDissector || t == catalog.ProgSkLookup
}

// netns resolves a descriptor to the number of a network namespace (get_net_ns_by_fd).
func (c *call) netns(fd int32) (uint64, errno.Errno) {
	f, e := c.who.Files.File(fd)
	if e != 0 {
		return 0, e
	}
	if f != nil {
		f.Put()
		return 0, errno.EINVAL
	}
	return c.netnsOf(fd)
}

// netnsOf is netns for what is known to be open, and for ownNetNS: the caller's namespace.
func (c *call) netnsOf(fd int32) (uint64, errno.Errno) {
	if c.who.Places == nil {
		return 0, errno.EINVAL
	}
	ino := c.who.Places.NetNS(fd)
	if ino == 0 {
		return 0, errno.EINVAL
	}
	return ino, 0
}

const ownNetNS = -1

// netnsAttach follows netns_bpf_prog_attach, to the caller's own namespace.
func (c *call) netnsAttach(a *progAttach, p *run.Program, attach catalog.AttachType) errno.Errno {
	if a.TargetFd != 0 || a.AttachFlags != 0 || a.ReplaceBpfFd != 0 || attach != catalog.AttachFlowDissector {
		return errno.EINVAL
	}
	ns, e := c.netnsOf(ownNetNS)
	if e != 0 {
		return e
	}
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.chainAt(place{LinkNetNS, ns, attach})
	switch {
	case len(ch.entries) == 0:
		ch.entries = append(ch.entries, nil)
	case ch.entries[0].link != nil:
		return errno.EEXIST
	case ch.entries[0].prog == p:
		return errno.EINVAL
	default:
		ch.entries[0].prog.Close()
	}
	p.Acquire()
	ch.entries[0] = &entry{prog: p}
	return 0
}

// netnsDetach follows netns_bpf_prog_detach.
func (c *call) netnsDetach(a *progAttach, t catalog.ProgType, attach catalog.AttachType) errno.Errno {
	if a.TargetFd != 0 {
		return errno.EINVAL
	}
	p, f, e := open[*run.Program](c, a.AttachBpfFd)
	if e != 0 {
		return e
	}
	defer f.Put()
	if p.Info.Type != t {
		return errno.EINVAL
	}
	ns, e := c.netnsOf(ownNetNS)
	if e != 0 {
		return e
	}
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	at := place{LinkNetNS, ns, attach}
	if ch := h.at[at]; ch != nil && slices.ContainsFunc(ch.entries, func(e *entry) bool { return e.link != nil }) {
		return errno.EINVAL
	}
	if !h.removeLocked(at, func(e *entry) bool { return e.prog == p }) {
		return errno.ENOENT
	}
	return 0
}

// linkNetNS follows netns_bpf_link_create.
func (c *call) linkNetNS(a *linkCreate, p *run.Program, attach catalog.AttachType) (int32, errno.Errno) {
	if a.Flags != 0 {
		return 0, errno.EINVAL
	}
	ns, e := c.netns(a.TargetFd)
	if e != 0 {
		return 0, e
	}
	most := maxChain
	if attach == catalog.AttachFlowDissector {
		most = 1
	}
	return c.linkAt(&Link{typ: LinkNetNS, attach: attach, at: place{LinkNetNS, ns, attach}}, p, 0, func(ch *chain) (int, errno.Errno) {
		n := len(ch.entries)
		switch {
		case n != 0 && ch.entries[0].link == nil:
			return 0, errno.EEXIST
		case n >= most:
			return 0, errno.E2BIG
		}
		return n, 0
	})
}

// queryNetNS follows netns_bpf_prog_query.
func (c *call) queryNetNS(a *progQuery, attach catalog.AttachType) errno.Errno {
	if a.QueryFlags != 0 {
		return errno.EINVAL
	}
	ns, e := c.netns(a.TargetFd)
	if e != 0 {
		return e
	}
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []byte
	n := uint32(0)
	if ch := h.at[place{LinkNetNS, ns, attach}]; ch != nil {
		for _, ent := range ch.entries {
			if p := ent.program(); p != nil {
				ids = binary.NativeEndian.AppendUint32(ids, p.ID())
				p.Close()
				n++
			}
		}
	}
	for _, out := range []struct {
		off uintptr
		v   uint32
	}{{unsafe.Offsetof(a.AttachFlags), 0}, {unsafe.Offsetof(a.Count), n}} {
		if e := c.put(out.off, u32bytes(out.v)); e != 0 {
			return e
		}
	}
	if a.Count == 0 || a.ProgIds == 0 || n == 0 {
		return 0
	}
	if e := c.write(a.ProgIds, ids[:4*min(a.Count, n)]); e != 0 {
		return e
	}
	if a.Count < n {
		return errno.ENOSPC
	}
	return 0
}
