package bpfsys

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
)

// LinkType says what a link attaches to, with the numbers of enum bpf_link_type.
type LinkType uint32

// Numbers of enum bpf_link_type.
const (
	LinkRawTracepoint LinkType = 1
	LinkTracing       LinkType = 2
	LinkCGroup        LinkType = 3
	LinkIter          LinkType = 4
	LinkNetNS         LinkType = 5
	LinkXDP           LinkType = 6
	LinkPerfEvent     LinkType = 7
	LinkTCX           LinkType = 11
	LinkNetkit        LinkType = 13
)

// Link keeps a program attached. It is shared: the last Close detaches it.
type Link struct {
	s      *System
	id     uint32
	typ    LinkType
	attach catalog.AttachType
	at     place // where, for what the hooks keep
	name   string
	cookie uint64
	iter   *iterTarget

	mu   sync.Mutex
	prog *run.Program // nil once detached
	refs atomic.Int64
}

// ID is the link's number.
func (l *Link) ID() uint32 { return l.id }

// Acquire takes another reference.
func (l *Link) Acquire() { l.refs.Add(1) }

func (l *Link) tryAcquire() bool {
	for n := l.refs.Load(); n > 0; n = l.refs.Load() {
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// Close gives a reference back; the last one detaches the program.
func (l *Link) Close() {
	if l.refs.Add(-1) != 0 {
		return
	}
	l.s.links.drop(l.id)
	l.s.hooks.remove(l.at, func(e *entry) bool { return e.link == l })
	l.mu.Lock()
	p := l.prog
	l.prog = nil
	l.mu.Unlock()
	if p != nil {
		p.Close()
	}
	if l.iter != nil {
		l.iter.close()
	}
}

// program returns the link's program with a reference, or nil.
func (l *Link) program() *run.Program {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.prog != nil {
		l.prog.Acquire()
	}
	return l.prog
}

// newLink numbers a link to p, which it takes a reference to.
func (s *System) newLink(l *Link, p *run.Program) errno.Errno {
	l.s, l.prog = s, p
	l.refs.Store(1)
	p.Acquire()
	if e := s.links.add(l, func(id uint32) { l.id = id }); e != 0 {
		p.Close()
		return e
	}
	return 0
}

// place is something programs attach to: a device or control group, by attach type.
type place struct {
	kind   LinkType
	target uint64 // ifindex, or a number of the target's own
	attach catalog.AttachType
}

// entry is one program at a place, by a link or by PROG_ATTACH.
type entry struct {
	prog  *run.Program // of PROG_ATTACH: a reference
	link  *Link
	flags uint32
}

func (e *entry) program() *run.Program {
	if e.link == nil {
		e.prog.Acquire()
		return e.prog
	}
	return e.link.program()
}

// chain is what is attached to one place, in the order it would run.
type chain struct {
	entries  []*entry
	revision uint64
}

// hooks is what is attached where.
type hooks struct {
	mu sync.Mutex
	at map[place]*chain
}

// remove takes the first entry away that matches, and reports whether there was one.
func (h *hooks) remove(at place, match func(*entry) bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	ch := h.at[at]
	if ch == nil {
		return false
	}
	i := slices.IndexFunc(ch.entries, match)
	if i < 0 {
		return false
	}
	gone := ch.entries[i]
	ch.entries = slices.Delete(ch.entries, i, i+1)
	ch.revision++
	if gone.prog != nil {
		gone.prog.Close()
	}
	return true
}

// clear ends everything that PROG_ATTACH began.
func (h *hooks) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ch := range h.at {
		for _, e := range ch.entries {
			if e.prog != nil {
				e.prog.Close()
			}
		}
	}
	h.at = map[place]*chain{}
}

// chainAt returns the chain of a place, which is made if need be. The caller holds h.mu.
func (h *hooks) chainAt(at place) *chain {
	ch := h.at[at]
	if ch == nil {
		ch = &chain{revision: 1}
		h.at[at] = ch
	}
	return ch
}

// Device reports whether the machine's network has a device.
func (s *System) device(ifindex uint32) bool { return s.m.HasDevice(ifindex) }

// linkCreate follows link_create.
func (c *call) linkCreate() (int32, errno.Errno) {
	a := as[linkCreate](&c.attr)
	attach := catalog.AttachType(a.AttachType)
	if attach == catalog.AttachStructOps {
		c.s.unserved("", "attaching struct_ops maps")
		return 0, errno.EINVAL
	}
	p, f, e := open[*run.Program](c, a.ProgFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	if e := c.s.attachable(p, attach); e != 0 {
		return 0, e
	}
	switch p.Info.Type {
	case catalog.ProgXDP:
		return c.linkXDP(a, p)
	case catalog.ProgSchedCls:
		return c.linkTC(a, p, attach)
	case catalog.ProgTracing:
		if attach == catalog.AttachTraceIter {
			return c.linkIter(a, p)
		}
		return c.linkTracing(p, u64at(a.Extra[:], 8))
	case catalog.ProgLSM:
		return c.linkTracing(p, u64at(a.Extra[:], 8))
	case catalog.ProgRawTracepoint, catalog.ProgKprobe, catalog.ProgTracepoint, catalog.ProgPerfEvent:
		c.s.unserved("skep run, on the program's context", "attaching a %s program to a perf event or probe", p.Info.Type)
		return 0, errno.EINVAL
	}
	if p.Info.Type.InCGroup() {
		c.s.unserved("skep run", "attaching to a control group")
		return 0, errno.EBADF
	}
	c.s.unserved("skep run", "attaching a %s program", p.Info.Type)
	return 0, errno.EINVAL
}

// attachable follows bpf_prog_attach_check_attach_type: does the program's type go with the place?
func (s *System) attachable(p *run.Program, attach catalog.AttachType) errno.Errno {
	own := p.Info.Attach
	switch p.Info.Type {
	case catalog.ProgXDP:
		if attach != catalog.AttachXDP {
			return errno.EINVAL
		}
	case catalog.ProgSchedCls:
		switch attach {
		case catalog.AttachTCXIngress, catalog.AttachTCXEgress, catalog.AttachNetkitPrimary, catalog.AttachNetkitPeer:
		default:
			return errno.EINVAL
		}
	case catalog.ProgTracing, catalog.ProgLSM:
		if attach != own {
			return errno.EINVAL
		}
	}
	return 0
}

func u32at(b []byte, off int) uint32 { return binary.NativeEndian.Uint32(b[off:]) }
func u64at(b []byte, off int) uint64 { return binary.NativeEndian.Uint64(b[off:]) }

// Flags of XDP attachments (uapi XDP_FLAGS_*).
const (
	xdpModes = 1<<1 | 1<<2 | 1<<3 // generic, driver, hardware
	xdpHW    = 1 << 3
)

// linkXDP follows bpf_xdp_link_attach: one program per device.
func (c *call) linkXDP(a *linkCreate, p *run.Program) (int32, errno.Errno) {
	ifindex := uint32(a.TargetFd)
	if !c.s.device(ifindex) {
		return 0, errno.EINVAL
	}
	if a.Flags&^xdpModes != 0 || a.Flags&(a.Flags-1) != 0 || a.Flags&xdpHW != 0 {
		return 0, errno.EINVAL
	}
	if p.Info.Attach == catalog.AttachXDPDevMap || p.Info.Attach == catalog.AttachXDPCPUMap {
		return 0, errno.EINVAL
	}
	at := place{LinkXDP, uint64(ifindex), catalog.AttachXDP}
	return c.linkAt(&Link{typ: LinkXDP, attach: catalog.AttachXDP, at: at}, p, func(ch *chain) (int, errno.Errno) {
		if len(ch.entries) != 0 {
			return 0, errno.EBUSY
		}
		return 0, 0
	})
}

// linkAt makes a link at its place; where says at which position.
func (c *call) linkAt(l *Link, p *run.Program, where func(*chain) (int, errno.Errno)) (int32, errno.Errno) {
	h := &c.s.hooks
	h.mu.Lock()
	ch := h.chainAt(l.at)
	i, e := where(ch)
	if e == 0 {
		e = c.s.newLink(l, p)
	}
	if e == 0 {
		ch.entries = slices.Insert(ch.entries, i, &entry{link: l})
		ch.revision++
	}
	h.mu.Unlock()
	if e != 0 {
		return 0, e
	}
	return c.install(l)
}

// Flags of places in a chain (uapi BPF_F_*).
const (
	attachReplace = 1 << 2
	attachBefore  = 1 << 3
	attachAfter   = 1 << 4
	attachID      = 1 << 5
	attachLink    = 1 << 13
	attachMprog   = attachReplace | attachBefore | attachAfter | attachID | attachLink
)

const maxChain = 64 // BPF_MPROG_MAX

// linkTC follows tcx_link_attach.
func (c *call) linkTC(a *linkCreate, p *run.Program, attach catalog.AttachType) (int32, errno.Errno) {
	typ := LinkTCX
	if attach == catalog.AttachNetkitPrimary || attach == catalog.AttachNetkitPeer {
		return 0, errno.EINVAL // no device is a netkit
	}
	ifindex := uint32(a.TargetFd)
	if !c.s.device(ifindex) {
		return 0, errno.ENODEV
	}
	at := place{typ, uint64(ifindex), attach}
	return c.linkAt(&Link{typ: typ, attach: attach, at: at}, p, func(ch *chain) (int, errno.Errno) {
		i, _, e := c.position(ch, p, a.Flags, int32(u32at(a.Extra[:], 0)), u64at(a.Extra[:], 8), true)
		return i, e
	})
}

// position finds where in a chain a program goes, by flags and by the program
// or link named (bpf_mprog_attach). replace says that it takes the place of what is there.
func (c *call) position(ch *chain, p *run.Program, flags uint32, rel int32, revision uint64, link bool) (i int, replace bool, e errno.Errno) {
	if revision != 0 && revision != ch.revision {
		return 0, false, errno.ESTALE
	}
	if flags&^attachMprog != 0 || link && flags&attachReplace != 0 {
		return 0, false, errno.EINVAL
	}
	for _, ent := range ch.entries {
		q := ent.program()
		if q == nil {
			continue
		}
		q.Close()
		if q == p && flags&attachReplace == 0 {
			return 0, false, errno.EEXIST
		}
	}
	if flags&attachReplace == 0 && len(ch.entries) >= maxChain {
		return 0, false, errno.ERANGE
	}
	if flags&(attachID|attachLink) == 0 && rel == 0 {
		switch {
		case flags&attachReplace != 0:
			return 0, false, errno.EINVAL
		case flags&attachBefore != 0 && flags&attachAfter != 0 && len(ch.entries) != 0:
			return 0, false, errno.EINVAL
		case flags&attachBefore != 0:
			return 0, false, 0
		}
		return len(ch.entries), false, 0
	}
	match, e := c.relative(flags, rel)
	if e != 0 {
		return 0, false, e
	}
	i = slices.IndexFunc(ch.entries, match)
	if i < 0 {
		return 0, false, errno.ENOENT
	}
	switch {
	case flags&attachReplace != 0:
		return i, true, 0
	case flags&attachAfter != 0 && flags&attachBefore == 0:
		return i + 1, false, 0
	case flags&attachBefore != 0 && flags&attachAfter == 0:
		return i, false, 0
	}
	return 0, false, errno.EINVAL
}

// relative says which entry is meant by a descriptor or id of a program or link (bpf_mprog_tuple_relative).
func (c *call) relative(flags uint32, rel int32) (func(*entry) bool, errno.Errno) {
	if flags&attachLink != 0 {
		var l *Link
		if flags&attachID != 0 {
			o, ok := c.s.links.get(uint32(rel), (*Link).tryAcquire)
			if !ok {
				return nil, errno.ENOENT
			}
			l = o
			defer l.Close()
		} else {
			o, f, e := open[*Link](c, rel)
			if e != 0 {
				return nil, e
			}
			l = o
			defer f.Put()
		}
		return func(e *entry) bool { return e.link == l }, 0
	}
	var p *run.Program
	if flags&attachID != 0 {
		if p = c.s.m.Program(uint32(rel)); p == nil {
			return nil, errno.ENOENT
		}
		defer p.Close()
	} else {
		o, f, e := open[*run.Program](c, rel)
		if e != 0 {
			return nil, e
		}
		p = o
		defer f.Put()
	}
	return func(e *entry) bool {
		q := e.program()
		if q != nil {
			q.Close()
		}
		return q == p
	}, 0
}

// linkTracing attaches to what the program was loaded for.
func (c *call) linkTracing(p *run.Program, cookie uint64) (int32, errno.Errno) {
	l := &Link{typ: LinkTracing, attach: p.Info.Attach, cookie: cookie}
	if e := c.s.newLink(l, p); e != 0 {
		return 0, e
	}
	return c.install(l)
}

// rawTracepointOpen follows bpf_raw_tracepoint_open.
func (c *call) rawTracepointOpen() (int32, errno.Errno) {
	a := as[rawTracepointOpen](&c.attr)
	p, f, e := open[*run.Program](c, a.ProgFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	switch p.Info.Type {
	case catalog.ProgTracing, catalog.ProgLSM, catalog.ProgExt:
		if a.Name != 0 {
			return 0, errno.EINVAL // the target is known since the load
		}
		if p.Info.Type == catalog.ProgTracing && p.Info.Attach == catalog.AttachTraceIter {
			return 0, errno.EINVAL
		}
		return c.linkTracing(p, a.Cookie)
	case catalog.ProgRawTracepoint, catalog.ProgRawTracepointWritable:
	default:
		return 0, errno.EINVAL
	}
	name, ok := c.readString(a.Name, 127)
	if !ok {
		return 0, errno.EFAULT
	}
	if !c.s.tracepoint(name) {
		return 0, errno.ENOENT
	}
	l := &Link{typ: LinkRawTracepoint, attach: p.Info.Attach, name: name, cookie: a.Cookie}
	if e := c.s.newLink(l, p); e != 0 {
		return 0, e
	}
	return c.install(l)
}

// tracepoint reports whether the kernel's types know a tracepoint.
func (s *System) tracepoint(name string) bool {
	k := s.kernelBTF()
	if k == nil {
		return false
	}
	_, err := k.spec.AnyTypeByName("btf_trace_" + name)
	return err == nil
}

// linkUpdate follows link_update.
func (c *call) linkUpdate() (int32, errno.Errno) {
	a := as[linkUpdate](&c.attr)
	if a.Flags&^attachReplace != 0 {
		return 0, errno.EINVAL
	}
	l, f, e := open[*Link](c, a.LinkFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	p, pf, e := open[*run.Program](c, a.NewProgFd)
	if e != 0 {
		return 0, e
	}
	defer pf.Put()
	var old *run.Program
	if a.Flags&attachReplace != 0 {
		o, of, e := open[*run.Program](c, a.OldProgFd)
		if e != 0 {
			return 0, e
		}
		defer of.Put()
		old = o
	} else if a.OldProgFd != 0 {
		return 0, errno.EINVAL
	}
	if l.typ != LinkXDP && l.typ != LinkTCX {
		return 0, errno.EINVAL
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.prog == nil:
		return 0, errno.ENOLINK
	case old != nil && l.prog != old:
		return 0, errno.EPERM
	case p.Info.Type != l.prog.Info.Type || l.typ == LinkXDP && p.Info.Attach != l.prog.Info.Attach:
		return 0, errno.EINVAL
	case p == l.prog:
		return 0, 0
	}
	p.Acquire()
	l.prog.Close()
	l.prog = p
	return 0, 0
}

// linkDetach follows link_detach.
func (c *call) linkDetach() (int32, errno.Errno) {
	l, f, e := open[*Link](c, as[linkDetach](&c.attr).LinkFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	if l.typ != LinkXDP && l.typ != LinkTCX {
		return 0, errno.EOPNOTSUPP
	}
	c.s.hooks.remove(l.at, func(e *entry) bool { return e.link == l })
	l.mu.Lock()
	p := l.prog
	l.prog, l.at.target = nil, 0
	l.mu.Unlock()
	if p != nil {
		p.Close()
	}
	return 0, 0
}

// attachPlace finds the place PROG_ATTACH, PROG_DETACH and PROG_QUERY speak of.
// Only devices have one: nothing else is there to attach to.
func (c *call) attachPlace(target int32, attach catalog.AttachType) (place, errno.Errno) {
	switch attach {
	case catalog.AttachTCXIngress, catalog.AttachTCXEgress:
		if !c.s.device(uint32(target)) {
			return place{}, errno.ENODEV
		}
		return place{LinkTCX, uint64(uint32(target)), attach}, 0
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
	if mprog && a.AttachFlags&^attachMprog != 0 || !mprog && a.AttachFlags&^cgroupAttach != 0 {
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
	if e := c.s.attachable(p, attach); e != 0 {
		return 0, e
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
	ent := &entry{prog: p, flags: a.AttachFlags}
	if replace {
		ch.entries[i].prog.Close()
		ch.entries[i] = ent
	} else {
		ch.entries = slices.Insert(ch.entries, i, ent)
	}
	ch.revision++
	return 0, 0
}

// cgroupAttach are the flags of attachments to control groups and sockets.
const cgroupAttach = 1<<0 | 1<<1 | attachReplace | attachBefore | attachAfter | attachID | 1<<6 | attachLink

// progDetach follows bpf_prog_detach.
func (c *call) progDetach() (int32, errno.Errno) {
	a := as[progAttach](&c.attr)
	attach := catalog.AttachType(a.AttachType)
	t := catalog.AttachesProg(attach)
	if t == catalog.ProgUnspec || t == catalog.ProgLircMode2 {
		return 0, errno.EINVAL
	}
	if t != catalog.ProgSchedCls {
		return 0, errno.EBADF
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
	if e := c.revisionAt(at, a.ExpectedRevision); e != 0 {
		return 0, e
	}
	if !c.s.hooks.remove(at, func(e *entry) bool { return e.link == nil && (p == nil || e.prog == p) }) {
		return 0, errno.ENOENT
	}
	return 0, 0
}

func (c *call) revisionAt(at place, want uint64) errno.Errno {
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	if ch := h.at[at]; ch == nil || len(ch.entries) == 0 {
		return errno.ENOENT
	} else if want != 0 && want != ch.revision {
		return errno.ESTALE
	}
	return 0
}

// progQuery follows bpf_prog_query.
func (c *call) progQuery() (int32, errno.Errno) {
	a := as[progQuery](&c.attr)
	if !c.who.can(CapNetAdmin) {
		return 0, errno.EPERM
	}
	if a.QueryFlags&^1 != 0 { // BPF_F_QUERY_EFFECTIVE
		return 0, errno.EINVAL
	}
	attach := catalog.AttachType(a.AttachType)
	switch t := catalog.AttachesProg(attach); t {
	case catalog.ProgUnspec, catalog.ProgLircMode2:
		return 0, errno.EINVAL
	case catalog.ProgSchedCls:
	default:
		return 0, c.queryNothing(a, t)
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
	n := 4 * min(int(a.Count), len(ch.entries))
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
	if int(a.Count) < len(ch.entries) {
		return 0, errno.ENOSPC
	}
	return 0, 0
}

// Magic numbers of the file systems whose files are places to attach to (uapi/linux/magic.h).
const (
	cgroup2Magic = 0x63677270
	nsfsMagic    = 0x6e736673
)

// queryNothing answers for places that nothing of ours is ever attached to:
// control groups, network namespaces, sockmaps.
func (c *call) queryNothing(a *progQuery, t catalog.ProgType) errno.Errno {
	want, wrong := int64(cgroup2Magic), errno.EBADF
	switch {
	case t.InCGroup():
	case t == catalog.ProgFlowDissector || t == catalog.ProgSkLookup:
		want, wrong = nsfsMagic, errno.EINVAL
	case t == catalog.ProgSkMsg || t == catalog.ProgSkSKB: // of sockmaps, which there are none of
		want, wrong = -1, errno.EINVAL
	default:
		return errno.EINVAL
	}
	f, e := c.who.Files.File(a.TargetFd)
	if e != 0 {
		return errno.EBADF
	}
	if f != nil {
		defer f.Put()
		if _, isMap := f.object.(Map); isMap && want < 0 {
			return errno.EOPNOTSUPP
		}
		return wrong
	}
	if c.who.Files.Magic(a.TargetFd) != want {
		return wrong
	}
	for _, off := range []uintptr{unsafe.Offsetof(a.AttachFlags), unsafe.Offsetof(a.Count)} {
		if e := c.put(off, u32bytes(0)); e != 0 {
			return e
		}
	}
	return 0
}

// linkInfo follows bpf_link_get_info_by_fd.
func (c *call) linkInfo(a *objInfo, l *Link) errno.Errno {
	in, n, e := getInfo[linkInfo](c, a)
	if e != 0 {
		return e
	}
	info := linkInfo{Type: uint32(l.typ), Id: l.id}
	if p := l.program(); p != nil {
		info.ProgId = p.ID()
		if l.typ == LinkTracing {
			binary.NativeEndian.PutUint32(info.U[4:], p.About.AttachBTF)
			binary.NativeEndian.PutUint32(info.U[8:], p.About.AttachBTFType)
		}
		p.Close()
	}
	put := binary.NativeEndian.PutUint32
	l.mu.Lock()
	target := uint32(l.at.target)
	l.mu.Unlock()
	var late errno.Errno
	switch l.typ {
	case LinkXDP:
		put(info.U[0:], target)
	case LinkTCX, LinkNetkit:
		put(info.U[0:], target)
		put(info.U[4:], uint32(l.attach))
	case LinkTracing:
		put(info.U[0:], uint32(l.attach))
		binary.NativeEndian.PutUint64(info.U[16:], l.cookie)
	case LinkRawTracepoint, LinkIter:
		to, room := u64at(in.U[:], 0), u32at(in.U[:], 8)
		if (to == 0) != (room == 0) {
			return errno.EINVAL
		}
		binary.NativeEndian.PutUint64(info.U[0:], to)
		put(info.U[8:], uint32(len(l.name)+1))
		if l.typ == LinkRawTracepoint {
			binary.NativeEndian.PutUint64(info.U[16:], l.cookie)
		} else if l.iter.m.Map != nil {
			put(info.U[12:], l.iter.m.Def().ID)
		}
		if to != 0 {
			name := l.name
			if room < uint32(len(name))+1 {
				name, late = name[:room-1], errno.ENOSPC
			}
			if e := c.write(to, append([]byte(name), 0)); e != 0 {
				return e
			}
		}
	}
	if late != 0 {
		return late
	}
	return putInfo(c, a, &info, n)
}

// iterTarget is what an iterator walks: a map's elements, or what its kind says.
type iterTarget struct {
	m Map
}

func (t *iterTarget) close() {
	if t.m.Map != nil {
		t.m.Close()
	}
}
