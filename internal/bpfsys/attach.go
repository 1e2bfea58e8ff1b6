package bpfsys

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cgroup"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
)

// attachPlace finds the place PROG_ATTACH, PROG_DETACH and PROG_QUERY speak of.
// Only devices have one: nothing else is there to attach to.
func (c *call) attachPlace(target int32, attach catalog.AttachType) (place, errno.Errno) {
	switch attach {
	case catalog.AttachTCXIngress, catalog.AttachTCXEgress:
		if !c.s.device(uint32(target)) {
			return place{}, errno.ENODEV
		}
		return place{LinkTCX, uint64(uint32(target)), attach}, 0
	case catalog.AttachNetkitPrimary, catalog.AttachNetkitPeer:
		if c.s.o.Devices == nil { // a kernel without netkit
			return place{}, errno.EINVAL
		}
		if !c.s.device(uint32(target)) {
			return place{}, errno.ENODEV
		}
		return place{LinkNetkit, uint64(uint32(target)), attach}, c.s.o.Devices.Netkit(uint32(target))
	}
	return place{}, errno.EINVAL
}

// progAttach follows bpf_prog_attach.
func (c *call) progAttach() (int32, errno.Errno) {
	a := as[progAttach](&c.attr)
	attach := catalog.AttachType(a.AttachType)
	t := catalog.AttachesProg(attach)
	if t == catalog.ProgUnspec {
		return 0, errno.EINVAL
	}
	mprog := t == catalog.ProgSchedCls
	if mprog && a.AttachFlags&^attachMprog != 0 || !mprog && a.AttachFlags&^cgroup.ProgFlags != 0 {
		return 0, errno.EINVAL
	}
	p, f, e := open[*run.Program](c, a.AttachBpfFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	if p.Info.Type != t {
		return 0, errno.EINVAL
	}
	if c.attachable(p, attach) != 0 {
		return 0, errno.EINVAL
	}
	if t.InCGroup() {
		return 0, c.cgroupProgAttach(a, p, attach)
	}
	if inNetNS(t) {
		return 0, c.netnsAttach(a, p, attach)
	}
	if onSockets(t) {
		return 0, c.sockAttach(a, p, attach)
	}
	if !mprog {
		c.s.unserved("skep run", "attaching a %s program", p.Info.Type)
		return 0, errno.EBADF
	}
	at, e := c.attachPlace(a.TargetFd, attach)
	if e != 0 {
		return 0, e
	}
	rel := a.RelativeFd
	if a.AttachFlags&attachReplace != 0 {
		rel = a.ReplaceBpfFd
	}
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.chainAt(at)
	i, replace, e := c.position(ch, p, a.AttachFlags, rel, a.ExpectedRevision, false)
	if e != 0 {
		return 0, e
	}
	if replace && ch.entries[i].link != nil {
		return 0, errno.EBUSY
	}
	p.Acquire()
	ent := &entry{prog: p}
	before := slices.Clone(ch.entries)
	if replace {
		ch.entries[i] = ent
	} else {
		ch.entries = slices.Insert(ch.entries, i, ent)
	}
	if e := c.s.carryOut(at, ch); e != 0 {
		ch.entries = before
		p.Close()
		return 0, e
	}
	if replace {
		before[i].prog.Close()
	}
	ch.revision++
	return 0, 0
}

// progDetach follows bpf_prog_detach.
func (c *call) progDetach() (int32, errno.Errno) {
	a := as[progAttach](&c.attr)
	attach := catalog.AttachType(a.AttachType)
	t := catalog.AttachesProg(attach)
	if t == catalog.ProgUnspec || t == catalog.ProgLircMode2 {
		return 0, errno.EINVAL
	}
	switch {
	case t.InCGroup():
		if a.AttachFlags != 0 || a.RelativeFd != 0 {
			return 0, errno.EINVAL
		}
		return 0, c.cgroupProgDetach(a, t, attach)
	case t != catalog.ProgSchedCls && (a.AttachFlags != 0 || a.RelativeFd != 0 || a.ExpectedRevision != 0):
		return 0, errno.EINVAL
	case inNetNS(t):
		return 0, c.netnsDetach(a, t, attach)
	}
	if onSockets(t) {
		return 0, c.sockDetach(a, t, attach)
	}
	if t != catalog.ProgSchedCls {
		return 0, errno.EINVAL
	}
	if a.AttachFlags&^attachMprog != 0 {
		return 0, errno.EINVAL
	}
	var p *run.Program
	if a.AttachBpfFd != 0 {
		o, f, e := open[*run.Program](c, a.AttachBpfFd)
		if e != 0 {
			return 0, e
		}
		defer f.Put()
		if p = o; p.Info.Type != t {
			return 0, errno.EINVAL
		}
	}
	at, e := c.attachPlace(a.TargetFd, attach)
	if e != 0 {
		return 0, e
	}
	return 0, c.mprogDetach(a, p, at)
}

// mprogDetach follows bpf_mprog_detach: p, if it is not nil, and where it stands; else who
// stands before or behind another; else the last.
func (c *call) mprogDetach(a *progAttach, p *run.Program, at place) errno.Errno {
	flags := a.AttachFlags
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.at[at]
	switch {
	case ch == nil || len(ch.entries) == 0:
		return errno.ENOENT
	case flags&attachReplace != 0:
		return errno.EINVAL
	case a.ExpectedRevision != 0 && a.ExpectedRevision != ch.revision:
		return errno.ESTALE
	}
	match := func(*entry) bool { return false }
	related := flags&(attachID|attachLink) != 0 || a.RelativeFd != 0
	if related {
		m, t, e := c.relative(flags, a.RelativeFd)
		if e != 0 {
			return e
		}
		if p != nil && t != p.Info.Type {
			return errno.EINVAL
		}
		match = m
	}
	i, e := ch.detached(flags, p, related, match)
	if e != 0 {
		return e
	}
	gone := ch.entries[i]
	if gone.link != nil {
		return errno.EBUSY
	}
	h.removeLocked(at, func(e *entry) bool { return e == gone })
	return 0
}

// detached is the place in the chain of what mprogDetach takes away.
func (ch *chain) detached(flags uint32, p *run.Program, related bool, match func(*entry) bool) (int, errno.Errno) {
	const nowhere = -2 // not said yet
	i := nowhere
	if p != nil {
		if i = slices.IndexFunc(ch.entries, func(e *entry) bool { return e.runs(p) }); i < 0 {
			return 0, errno.ENOENT
		}
	}
	for _, rel := range []struct {
		flag         uint32
		step, beyond int // from the other one; where no other is named
	}{{attachBefore, -1, -1}, {attachAfter, 1, len(ch.entries)}} {
		if flags&rel.flag == 0 {
			continue
		}
		to := rel.beyond
		if related {
			other := slices.IndexFunc(ch.entries, match)
			if other < 0 {
				return 0, errno.ENOENT
			}
			to = other + rel.step
		}
		if i != nowhere && i != to {
			return 0, errno.ERANGE
		}
		i = to
	}
	if i == nowhere {
		if related || flags != 0 {
			return 0, errno.EINVAL
		}
		i = len(ch.entries)
	}
	return min(max(i, 0), len(ch.entries)-1), 0
}

// runs reports whether an entry's program is p.
func (e *entry) runs(p *run.Program) bool {
	q := e.program()
	if q != nil {
		q.Close()
	}
	return q == p
}

const queryEffective = 1 << 0 // BPF_F_QUERY_EFFECTIVE

// progQuery follows bpf_prog_query.
func (c *call) progQuery() (int32, errno.Errno) {
	a := as[progQuery](&c.attr)
	if !c.who.can(CapNetAdmin) {
		return 0, errno.EPERM
	}
	if a.QueryFlags&^queryEffective != 0 {
		return 0, errno.EINVAL
	}
	attach := catalog.AttachType(a.AttachType)
	switch t := catalog.AttachesProg(attach); t {
	case catalog.ProgUnspec, catalog.ProgLircMode2:
		return 0, errno.EINVAL
	case catalog.ProgSchedCls:
	default:
		if t.InCGroup() {
			return 0, c.queryCGroup(a, attach)
		}
		if inNetNS(t) {
			return 0, c.queryNetNS(a, attach)
		}
		if onSockets(t) {
			return 0, c.sockQuery(a, attach)
		}
		return 0, errno.EINVAL
	}
	at, e := c.attachPlace(a.TargetFd, attach)
	if e != 0 {
		return 0, e
	}
	if a.QueryFlags != 0 || a.AttachFlags != 0 {
		return 0, errno.EINVAL
	}
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.at[at]
	if ch == nil {
		ch = &chain{revision: 1}
	}
	var progs, links, none []byte
	for _, ent := range ch.entries {
		var pid, lid uint32
		if p := ent.program(); p != nil {
			pid = p.ID()
			p.Close()
		}
		if ent.link != nil {
			lid = ent.link.id
		}
		progs, links = append(progs, u32bytes(pid)...), append(links, u32bytes(lid)...)
		none = append(none, 0, 0, 0, 0)
	}
	if e := c.put(unsafe.Offsetof(a.AttachFlags), u32bytes(0)); e != 0 {
		return 0, e
	}
	if e := c.put(unsafe.Offsetof(a.Revision), binary.NativeEndian.AppendUint64(nil, ch.revision)); e != 0 {
		return 0, e
	}
	if e := c.put(unsafe.Offsetof(a.Count), u32bytes(uint32(len(ch.entries)))); e != 0 {
		return 0, e
	}
	if a.Count == 0 || a.ProgIds == 0 || len(ch.entries) == 0 {
		return 0, 0
	}
	n := 4 * int(min(uint64(a.Count), uint64(len(ch.entries))))
	for _, out := range []struct {
		to   uint64
		data []byte
	}{{a.ProgIds, progs}, {a.ProgAttachFlags, none}, {a.LinkIds, links}, {a.LinkAttachFlags, none}} {
		if out.to == 0 {
			continue
		}
		if e := c.write(out.to, out.data[:n]); e != 0 {
			return 0, e
		}
	}
	if uint64(a.Count) < uint64(len(ch.entries)) {
		return 0, errno.ENOSPC
	}
	return 0, 0
}
