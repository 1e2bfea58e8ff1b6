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

// Flags that attaching a program, or a link, to a control group takes.
const (
	cgroupAttach = cgroup.Mode | cgroup.Preorder | attachMprog
	cgroupLink   = attachMprog&^attachReplace | cgroup.Preorder
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
		if ch := h.at[cgroupPlace(id, attach)]; ch != nil {
			chains[i] = cgroup.Chain[*entry]{Entries: ch.entries, Flags: ch.flags}
		}
	}
	return chains
}

// cgroupInsert finds where a program or link goes in a group's chain, and
// whether it takes the place of what is there (__cgroup_bpf_attach). The caller holds h.mu.
func (c *call) cgroupInsert(path []uint64, attach catalog.AttachType, p, old *run.Program, link bool, flags uint32, rel int32, revision uint64) (i int, replace bool, e errno.Errno) {
	if e := cgroup.CheckFlags(flags, old != nil); e != 0 {
		return 0, false, e
	}
	h := &c.s.hooks
	ch := h.chainAt(cgroupPlace(path[0], attach))
	if revision != 0 && revision != ch.revision {
		return 0, false, errno.ESTALE
	}
	chains := h.cgroupChains(path, attach)
	if replace, e := cgroup.Admit(chains[0], chains[1:], flags); e != 0 || replace {
		return 0, replace, e
	}
	at := func(q *run.Program) int {
		return slices.IndexFunc(ch.entries, func(ent *entry) bool { return ent.link == nil && ent.prog == q })
	}
	if !link && p != old && at(p) >= 0 {
		return 0, false, errno.EINVAL // the same program twice
	}
	if old != nil {
		if i := at(old); i >= 0 {
			return i, true, 0
		}
		return 0, false, errno.ENOENT
	}
	i, e = c.cgroupAnchor(ch, p, link, flags, rel)
	return i, false, e
}

// cgroupAnchor follows insert_pl_to_hlist: before or after another program or
// link, which has to be as early or late as the new one.
func (c *call) cgroupAnchor(ch *chain, p *run.Program, link bool, flags uint32, rel int32) (int, errno.Errno) {
	before, after := flags&attachBefore != 0, flags&attachAfter != 0
	named := flags&(attachLink|attachID) != 0 || rel != 0
	switch {
	case named && (before == after || link != (flags&attachLink != 0)), // a link by a link, a program by a program
		!named && before && after && len(ch.entries) != 0:
		return 0, errno.EINVAL
	case !named && before:
		return 0, 0
	case !named:
		return len(ch.entries), 0
	}
	match, typ, e := c.relative(flags, rel)
	if e != 0 {
		return 0, e
	}
	if typ != p.Info.Type {
		return 0, errno.EINVAL
	}
	i := slices.IndexFunc(ch.entries, func(ent *entry) bool {
		return (ent.link != nil) == link && match(ent)
	})
	switch {
	case i < 0:
		return 0, errno.ENOENT
	case (ch.entries[i].flags^flags)&cgroup.Preorder != 0:
		return 0, errno.EINVAL
	case after:
		i++
	}
	return i, 0
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
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	at := cgroupPlace(path[0], attach)
	ch := h.chainAt(at)
	switch {
	case a.ExpectedRevision != 0 && a.ExpectedRevision != ch.revision:
		return errno.ESTALE
	case ch.flags&cgroup.Multi != 0 && p == nil:
		return errno.EINVAL
	}
	if !h.removeLocked(at, func(ent *entry) bool {
		return ent.link == nil && (ch.flags&cgroup.Multi == 0 || ent.prog == p)
	}) {
		return errno.ENOENT
	}
	return 0
}

// linkCGroup follows cgroup_bpf_link_attach.
func (c *call) linkCGroup(a *linkCreate, p *run.Program, attach catalog.AttachType) (int32, errno.Errno) {
	if a.Flags&^cgroupLink != 0 {
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
	return cgroup.Effective(h.cgroupChains(path, attach), func(ent *entry) uint32 { return ent.flags })
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
