package bpfsys

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cgroup"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/sockrun"
)

// cgroupPlace is the place of an attach type at a control group.
func cgroupPlace(id uint64, attach catalog.AttachType) place {
	return place{LinkCGroup, id, attach}
}

// cgroup resolves a descriptor to a control group: its number and those of its
// ancestors, the root last (cgroup_get_from_fd).
func (c *call) cgroup(fd int32) ([]uint64, errno.Errno) {
	f, e := c.who.Files.File(fd)
	if e != 0 {
		return nil, e
	}
	if f != nil {
		f.Put()
		return nil, errno.EBADF
	}
	path := c.who.Files.Cgroup(fd)
	if len(path) == 0 {
		return nil, errno.EBADF
	}
	return path, 0
}

// cgroupChains returns the chains of some groups, in their order. The caller holds h.mu.
func (h *hooks) cgroupChains(groups []uint64, attach catalog.AttachType) []cgroup.Chain[*entry] {
	chains := make([]cgroup.Chain[*entry], len(groups))
	for i, id := range groups {
		chains[i].Revision = 1
		if ch := h.at[cgroupPlace(id, attach)]; ch != nil {
			chains[i] = cgroup.Chain[*entry]{Entries: ch.entries, Flags: ch.flags, Revision: ch.revision}
		}
	}
	return chains
}

// AttachFlags and Linked make entries those of chains of control groups.
func (e *entry) AttachFlags() uint32 { return e.flags }
func (e *entry) Linked() bool        { return e.link != nil }

// cgroupInsert finds where a program or link goes in a group's chain, and
// whether it takes the place of what is there. The caller holds h.mu.
func (c *call) cgroupInsert(path []uint64, attach catalog.AttachType, p, old *run.Program, link bool, flags uint32, rel int32, revision uint64) (i int, replace bool, e errno.Errno) {
	w := cgroup.Wish[*entry]{Flags: flags, Link: link, Type: p.Info.Type, Revision: revision, Same: func(ent *entry) bool { return ent.prog == p }}
	if old != nil {
		w.Old = func(ent *entry) bool { return ent.prog == old }
	}
	if flags&(cgroup.Link|cgroup.ID) != 0 || rel != 0 {
		w.Relative = func() (func(*entry) bool, catalog.ProgType, errno.Errno) { return c.relative(flags, rel) }
	}
	chains := c.s.hooks.cgroupChains(path, attach)
	return cgroup.Insert(chains[0], chains[1:], &w)
}

// cgroupProgAttach follows cgroup_bpf_prog_attach.
func (c *call) cgroupProgAttach(a *progAttach, p *run.Program, attach catalog.AttachType) errno.Errno {
	path, e := c.cgroup(a.TargetFd)
	if e != 0 {
		return e
	}
	var old *run.Program
	if a.AttachFlags&(cgroup.Multi|attachReplace) == cgroup.Multi|attachReplace {
		o, f, e := open[*run.Program](c, a.ReplaceBpfFd)
		if e != 0 {
			return e
		}
		defer f.Put()
		if old = o; old.Info.Type != p.Info.Type {
			return errno.EINVAL
		}
	}
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	i, replace, e := c.cgroupInsert(path, attach, p, old, false, a.AttachFlags, a.RelativeFd, a.ExpectedRevision)
	if e != 0 {
		return e
	}
	if e := sockrun.MakeStorages(p, maps.GroupPlace{Group: path[0], Attach: uint32(attach)}); e != 0 {
		return e
	}
	p.Acquire()
	ent := &entry{prog: p, flags: a.AttachFlags}
	ch := h.chainAt(cgroupPlace(path[0], attach))
	if replace {
		ch.entries[i].prog.Close()
		ch.entries[i] = ent
	} else {
		ch.entries = slices.Insert(ch.entries, i, ent)
	}
	ch.flags = a.AttachFlags & cgroup.Mode
	ch.revision++
	return 0
}

// cgroupProgDetach follows cgroup_bpf_prog_detach: a group of one program gives it up whatever is named.
func (c *call) cgroupProgDetach(a *progAttach, t catalog.ProgType, attach catalog.AttachType) errno.Errno {
	path, e := c.cgroup(a.TargetFd)
	if e != 0 {
		return e
	}
	p, f, e := open[*run.Program](c, a.AttachBpfFd)
	if e == 0 {
		defer f.Put()
		if p.Info.Type != t {
			p = nil
		}
	}
	var match func(*entry) bool
	if p != nil {
		match = func(ent *entry) bool { return ent.prog == p }
	}
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	own := h.cgroupChains(path[:1], attach)[0]
	i, e := cgroup.Detach(own, match, a.ExpectedRevision)
	if e != 0 {
		return e
	}
	gone := own.Entries[i]
	h.removeLocked(cgroupPlace(path[0], attach), func(ent *entry) bool { return ent == gone })
	return 0
}

// linkCGroup follows cgroup_bpf_link_attach.
func (c *call) linkCGroup(a *linkCreate, p *run.Program, attach catalog.AttachType) (int32, errno.Errno) {
	if a.Flags&^cgroup.LinkFlags != 0 {
		return 0, errno.EINVAL
	}
	path, e := c.cgroup(a.TargetFd)
	if e != 0 {
		return 0, e
	}
	flags := a.Flags | cgroup.Multi
	l := &Link{typ: LinkCGroup, attach: attach, at: cgroupPlace(path[0], attach)}
	return c.linkAt(l, p, flags, func(ch *chain) (int, errno.Errno) {
		i, _, e := c.cgroupInsert(path, attach, p, nil, true, flags, int32(u32at(a.Extra[:], 0)), u64at(a.Extra[:], 8))
		if e == 0 {
			e = sockrun.MakeStorages(p, maps.GroupPlace{Group: path[0], Attach: uint32(attach)})
		}
		if e == 0 {
			ch.flags = cgroup.Multi
		}
		return i, e
	})
}

// queryCGroup follows cgroup_bpf_prog_query.
func (c *call) queryCGroup(a *progQuery, attach catalog.AttachType) errno.Errno {
	path, e := c.cgroup(a.TargetFd)
	if e != 0 {
		return e
	}
	effective := a.QueryFlags&queryEffective != 0
	if effective && a.ProgAttachFlags != 0 {
		return errno.EINVAL
	}
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.at[cgroupPlace(path[0], attach)]
	if ch == nil {
		ch = &chain{revision: 1}
	}
	entries, flags := ch.entries, ch.flags
	if effective {
		entries, flags = h.effective(path, attach), 0
	}
	var progs, each []byte
	for _, ent := range entries {
		var id uint32
		if p := ent.program(); p != nil {
			id = p.ID()
			p.Close()
		}
		progs, each = append(progs, u32bytes(id)...), append(each, u32bytes(flags)...)
	}
	for _, out := range []struct {
		off uintptr
		b   []byte
	}{{unsafe.Offsetof(a.AttachFlags), u32bytes(flags)}, {unsafe.Offsetof(a.Count), u32bytes(uint32(len(entries)))},
		{unsafe.Offsetof(a.Revision), binary.NativeEndian.AppendUint64(nil, ch.revision)}} {
		if effective && out.off == unsafe.Offsetof(a.Revision) {
			continue
		}
		if e := c.put(out.off, out.b); e != 0 {
			return e
		}
	}
	if a.Count == 0 || a.ProgIds == 0 || len(entries) == 0 {
		return 0
	}
	n := 4 * int(min(uint64(a.Count), uint64(len(entries))))
	if e := c.write(a.ProgIds, progs[:n]); e != 0 {
		return e
	}
	if a.ProgAttachFlags != 0 {
		if e := c.write(a.ProgAttachFlags, each[:n]); e != 0 {
			return e
		}
	}
	if uint64(a.Count) < uint64(len(entries)) {
		return errno.ENOSPC
	}
	return 0
}

// effective are the programs that run for a group, in order. The caller holds h.mu.
func (h *hooks) effective(path []uint64, attach catalog.AttachType) []*entry {
	return cgroup.Effective(h.cgroupChains(path, attach))
}

// CgroupGone detaches what is attached to a control group that was removed
// (cgroup_bpf_release): links live on without a place.
func (s *System) CgroupGone(id uint64) {
	s.m.Objects.End(maps.Identity{Kind: catalog.OwnersCGroups, ID: id})
	sockrun.CgroupGone(s.m, id)
	h := &s.hooks
	h.mu.Lock()
	var links []*Link
	for at, ch := range h.at {
		if at.kind != LinkCGroup || at.target != id {
			continue
		}
		for _, ent := range ch.entries {
			if ent.link != nil {
				links = append(links, ent.link)
			} else {
				ent.prog.Close()
			}
		}
		delete(h.at, at)
	}
	h.mu.Unlock()
	for _, l := range links {
		l.mu.Lock()
		l.at.target = 0
		l.mu.Unlock()
	}
}
