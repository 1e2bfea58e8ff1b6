package bpfsys

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cgroup"
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
	LinkStructOps     LinkType = 9
	LinkNetfilter     LinkType = 10
	LinkTCX           LinkType = 11
	LinkUprobeMulti   LinkType = 12
	LinkNetkit        LinkType = 13
	LinkSockMap       LinkType = 14
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
	perf   *PerfEvent

	uprobes *uprobes
	socks   *sockLink // nil once detached
	ops     opsLink   // of struct_ops, which has a map and no program
	flags   uint32    // of netfilter

	unhook func() // of a program attached to an event

	// Of a program attached to a function of another: that one, and the function's type.
	traced     *run.Attachment
	target     *run.Program
	targetType uint32

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
	if l.unhook != nil {
		l.unhook()
	}
	if l.traced != nil {
		l.traced.Detach()
		l.target.Close()
	}
	l.s.hooks.remove(l.place(), func(e *entry) bool { return e.link == l })
	l.leaveSockMap()
	l.mu.Lock()
	p := l.prog
	l.prog = nil
	l.mu.Unlock()
	l.ops.set(nil)
	if l.perf != nil {
		l.perf.unset(l)
	}
	if p != nil {
		p.Close()
	}
	if l.iter != nil {
		l.iter.close()
	}
	if l.perf != nil {
		l.perf.Close()
	}
}

// linkOps are what links of a type can do (struct bpf_link_ops); others neither.
var linkOps = map[LinkType]struct {
	update errno.Errno // why its program cannot be replaced
	detach bool
}{
	LinkXDP: {0, true}, LinkTCX: {0, true}, LinkNetkit: {0, true}, LinkCGroup: {0, true}, LinkNetNS: {0, true},
	LinkSockMap: {0, true}, LinkStructOps: {0, true}, LinkIter: {0, false}, LinkNetfilter: {errno.EOPNOTSUPP, true},
}

// place is where the link is, as long as it is somewhere.
func (l *Link) place() place {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
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

// newLink numbers a link to p, which it takes a reference to; nil: one to no program.
func (s *System) newLink(l *Link, p *run.Program) errno.Errno {
	l.s, l.prog = s, p
	l.refs.Store(1)
	if p != nil {
		p.Acquire()
	}
	e := s.links.add(l, func(id uint32) { l.id = id })
	if e != 0 && p != nil {
		p.Close()
	}
	return e
}

// Device reports whether the machine's network has a device.
func (s *System) device(ifindex uint32) bool { return s.m.HasDevice(ifindex) }

// linkCreate follows link_create.
func (c *call) linkCreate() (int32, errno.Errno) {
	a := as[linkCreate](&c.attr)
	attach := catalog.AttachType(a.AttachType)
	if attach == catalog.AttachStructOps {
		return c.linkStructOps(a)
	}
	p, f, e := open[*run.Program](c, a.ProgFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	if e := c.attachable(p, attach); e != 0 {
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
		if attach == catalog.AttachTraceRawTp {
			return c.linkRawTracepoint(p, p.Rewritten.Source.AttachTo, u64at(a.Extra[:], 8))
		}
		fallthrough
	case catalog.ProgLSM, catalog.ProgExt:
		return c.linkTracing(p, a.TargetFd, u32at(a.Extra[:], 0), u64at(a.Extra[:], 8))
	case catalog.ProgKprobe, catalog.ProgTracepoint, catalog.ProgPerfEvent:
		if attach == catalog.AttachPerfEvent {
			return c.linkPerf(a, p)
		}
		if p.Info.Type == catalog.ProgKprobe && (attach == catalog.AttachTraceUprobeMulti || attach == catalog.AttachTraceUprobeSession) {
			return c.linkUprobes(a, p, attach)
		}
		fallthrough
	case catalog.ProgRawTracepoint:
		c.s.unserved("skep run, on the program's context", "attaching a %s program to a perf event or probe", p.Info.Type)
		return 0, errno.EINVAL
	}
	if inNetNS(p.Info.Type) {
		return c.linkNetNS(a, p, attach)
	}
	if onSockets(p.Info.Type) {
		return c.linkSockMap(a, p, attach)
	}
	if p.Info.Type == catalog.ProgNetfilter {
		return c.linkNetfilter(a, p)
	}
	if p.Info.Type.InCGroup() {
		return c.linkCGroup(a, p, attach)
	}
	c.s.unserved("skep run", "attaching a %s program", p.Info.Type)
	return 0, errno.EINVAL
}

// attachable follows bpf_prog_attach_check_attach_type: does the program's type go with the place?
func (c *call) attachable(p *run.Program, attach catalog.AttachType) errno.Errno {
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
	case catalog.ProgKprobe:
		switch own {
		case catalog.AttachTraceKprobeMulti, catalog.AttachTraceKprobeSession, catalog.AttachTraceUprobeMulti, catalog.AttachTraceUprobeSession:
			if attach != own {
				return errno.EINVAL
			}
		}
	case catalog.ProgNetfilter:
		if attach != catalog.AttachNetfilter {
			return errno.EINVAL
		}
	case catalog.ProgFlowDissector:
		if attach != catalog.AttachFlowDissector {
			return errno.EINVAL
		}
	case catalog.ProgSkLookup:
		if attach != own {
			return errno.EINVAL
		}
	case catalog.ProgCGroupSKB:
		if !c.who.can(CapNetAdmin) { // anybody may have loaded it
			return errno.EPERM
		}
		return cgroup.Fits(p.Info.Type, own, attach)
	case catalog.ProgCGroupSock, catalog.ProgCGroupSockAddr, catalog.ProgCGroupSockopt,
		catalog.ProgSockOps, catalog.ProgCGroupDevice, catalog.ProgCGroupSysctl:
		return cgroup.Fits(p.Info.Type, own, attach)
	case catalog.ProgSkMsg, catalog.ProgSkSKB:
		if catalog.AttachesProg(attach) != p.Info.Type {
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
	return c.linkAt(&Link{typ: LinkXDP, attach: catalog.AttachXDP, at: at}, p, a.Flags, func(ch *chain) (int, errno.Errno) {
		if len(ch.entries) != 0 {
			return 0, errno.EBUSY
		}
		return 0, 0
	})
}

// linkAt makes a link at its place, with flags for the devices; where says at which position.
func (c *call) linkAt(l *Link, p *run.Program, flags uint32, where func(*chain) (int, errno.Errno)) (int32, errno.Errno) {
	h := &c.s.hooks
	h.mu.Lock()
	ch := h.chainAt(l.at)
	i, e := where(ch)
	if e == 0 {
		e = c.s.newLink(l, p)
	}
	made := e == 0
	if made {
		ch.entries = slices.Insert(ch.entries, i, &entry{link: l, flags: flags})
		if e = c.s.carryOut(l.at, ch); e == 0 {
			ch.revision++
		} else {
			ch.entries = slices.Delete(ch.entries, i, i+1)
		}
	}
	h.mu.Unlock()
	if e != 0 {
		if made {
			l.Close()
		}
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
	at, e := c.attachPlace(a.TargetFd, attach)
	if e != 0 {
		return 0, e
	}
	typ := at.kind
	return c.linkAt(&Link{typ: typ, attach: attach, at: at}, p, 0, func(ch *chain) (int, errno.Errno) {
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
	match, _, e := c.relative(flags, rel)
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

// relative says which entry is meant by a descriptor or id of a program or link
// (bpf_mprog_tuple_relative), and its program's type.
func (c *call) relative(flags uint32, rel int32) (func(*entry) bool, catalog.ProgType, errno.Errno) {
	if flags&attachLink != 0 {
		var l *Link
		if flags&attachID != 0 {
			o, ok := c.s.links.get(uint32(rel), (*Link).tryAcquire)
			if !ok {
				return nil, 0, errno.ENOENT
			}
			l = o
			defer l.Close()
		} else {
			o, f, e := open[*Link](c, rel)
			if e != 0 {
				return nil, 0, e
			}
			l = o
			defer f.Put()
		}
		var t catalog.ProgType
		if p := l.program(); p != nil {
			t = p.Info.Type
			p.Close()
		}
		return func(e *entry) bool { return e.link == l }, t, 0
	}
	var p *run.Program
	if flags&attachID != 0 {
		if p = c.s.m.Program(uint32(rel)); p == nil {
			return nil, 0, errno.ENOENT
		}
		defer p.Close()
	} else {
		o, f, e := open[*run.Program](c, rel)
		if e != 0 {
			return nil, 0, e
		}
		p = o
		defer f.Put()
	}
	return func(e *entry) bool { return e.runs(p) }, p.Info.Type, 0
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
		if p.Info.Type == catalog.ProgTracing && p.Info.Attach == catalog.AttachTraceRawTp {
			return c.linkRawTracepoint(p, p.Rewritten.Source.AttachTo, a.Cookie)
		}
		return c.linkTracing(p, 0, 0, a.Cookie)
	case catalog.ProgRawTracepoint, catalog.ProgRawTracepointWritable:
	default:
		return 0, errno.EINVAL
	}
	name, ok := readString(c.who.user(), a.Name, 127)
	if !ok {
		return 0, errno.EFAULT
	}
	return c.linkRawTracepoint(p, name, a.Cookie)
}

// linkRawTracepoint follows bpf_raw_tp_link_attach.
func (c *call) linkRawTracepoint(p *run.Program, name string, cookie uint64) (int32, errno.Errno) {
	if !c.s.tracepoint(name) {
		return 0, errno.ENOENT
	}
	l := &Link{typ: LinkRawTracepoint, attach: p.Info.Attach, name: name, cookie: cookie}
	if e := c.s.newLink(l, p); e != 0 {
		return 0, e
	}
	var e errno.Errno
	if l.unhook, e = c.s.m.Event(name).Attach(p, cookie); e != 0 {
		l.Close()
		return 0, e
	}
	return c.install(l)
}

// HasTracepoint reports whether the kernel's types know a tracepoint, "group/name". They do not tell groups,
// but those of system calls, whose tracepoints are made of two.
func (s *System) HasTracepoint(name string) bool {
	group, name, _ := strings.Cut(name, "/")
	if group == "syscalls" {
		return strings.HasPrefix(name, "sys_enter_") || strings.HasPrefix(name, "sys_exit_")
	}
	return s.tracepoint(name)
}

// tracepoint reports whether there is a tracepoint: the kernel's types know it, or it happens here.
func (s *System) tracepoint(name string) bool {
	if catalog.EventByName(name) != nil {
		return true
	}
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
	if l.typ == LinkStructOps {
		return 0, c.updateStructOps(l, a)
	}
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
	if ops, ok := linkOps[l.typ]; !ok {
		return 0, errno.EINVAL
	} else if ops.update != 0 {
		return 0, ops.update
	}
	if l.typ == LinkSockMap {
		return 0, l.exchangeSock(p, old)
	}
	h := &c.s.hooks
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := l.exchange(h, p, old); e != 0 {
		return 0, e
	}
	at := l.place()
	if ch := h.at[at]; ch != nil {
		c.s.carryOut(at, ch)
	}
	return 0, 0
}

// exchange puts p in the place of the link's program, which has to be old if
// that is not nil. The caller holds h.mu.
func (l *Link) exchange(h *hooks, p, old *run.Program) errno.Errno {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.prog == nil:
		return errno.ENOLINK
	case old != nil && l.prog != old:
		return errno.EPERM
	case l.typ == LinkIter && (p.Info.Attach != l.prog.Info.Attach || p.About.AttachBTFType != l.prog.About.AttachBTFType),
		p.Info.Type != l.prog.Info.Type || l.typ == LinkXDP && p.Info.Attach != l.prog.Info.Attach:
		return errno.EINVAL
	case p == l.prog && l.typ != LinkCGroup:
		return 0
	}
	if l.typ == LinkCGroup {
		h.chainAt(l.at).revision++
	}
	p.Acquire()
	l.prog.Close()
	l.prog = p
	return 0
}

// linkDetach follows link_detach.
func (c *call) linkDetach() (int32, errno.Errno) {
	l, f, e := open[*Link](c, as[linkDetach](&c.attr).LinkFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	if !linkOps[l.typ].detach {
		return 0, errno.EOPNOTSUPP
	}
	if l.typ == LinkSockMap {
		l.leaveSockMap()
		return 0, 0
	}
	c.s.hooks.remove(l.place(), func(e *entry) bool { return e.link == l })
	l.ops.set(nil)
	l.mu.Lock()
	p := l.prog
	l.prog, l.at.target = nil, 0
	l.mu.Unlock()
	if p != nil {
		p.Close()
	}
	return 0, 0
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
			object, typ := p.About.AttachBTF, p.About.AttachBTFType
			if l.target != nil {
				object, typ = l.target.ID(), l.targetType
			}
			binary.NativeEndian.PutUint32(info.U[4:], object)
			binary.NativeEndian.PutUint32(info.U[8:], typ)
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
	case LinkStructOps:
		put(info.U[0:], l.ops.id())
	case LinkCGroup:
		l.mu.Lock()
		binary.NativeEndian.PutUint64(info.U[0:], l.at.target)
		l.mu.Unlock()
		put(info.U[8:], uint32(l.attach))
	case LinkTCX, LinkNetkit:
		put(info.U[0:], target)
		put(info.U[4:], uint32(l.attach))
	case LinkTracing:
		put(info.U[0:], uint32(l.attach))
		binary.NativeEndian.PutUint64(info.U[16:], l.cookie)
	case LinkNetNS:
		put(info.U[0:], target)
		put(info.U[4:], uint32(l.attach))
	case LinkSockMap:
		put(info.U[0:], l.sockMapID())
		put(info.U[4:], uint32(l.attach))
	case LinkNetfilter:
		l.mu.Lock()
		netfilterInfo(&info, l.at.target, l.flags)
		l.mu.Unlock()
	case LinkUprobeMulti:
		if late = c.uprobesInfo(in, &info, l.uprobes); late != 0 {
			return late
		}
	case LinkPerfEvent:
		if late = c.perfInfo(in, &info, l); late != 0 {
			return late
		}
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
