package bpfsys

import (
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/testrun"
)

// PerfEvent is a descriptor of perf_event_open(2) that BPF has to do with: the
// buffer that bpf_perf_event_output writes to, or a place that programs attach to.
// Nothing but BPF programs writes samples, no probe is ever hit, and of tracepoints happen those that skep has.
type PerfEvent struct {
	s    *System
	kind perfKind
	attr perfAttr
	cpu  int32
	name string // of the tracepoint, or the file of a uprobe
	refs atomic.Int64

	mu   sync.Mutex
	buf  *maps.PerfBuffer // without memory until it is mapped
	size int              // bytes mapped
	prog *run.Program
	link *Link // that attached prog
	// unhook detaches prog from what happens.
	unhook func()
	off    bool
	// file holds the buffer's memory; free unmaps it.
	file *os.File
	free func()
	gone func() // told when the event is
}

// perfKind says what an event is for, with the numbers of enum bpf_perf_event_type.
type perfKind uint32

const (
	perfUprobe     perfKind = 1
	perfUretprobe  perfKind = 2
	perfTracepoint perfKind = 5
	perfOutput     perfKind = 6 // any other: PERF_COUNT_SW_BPF_OUTPUT
)

// perfAttr is struct perf_event_attr, by the uapi's names.
type perfAttr struct {
	Type, Size                       uint32
	Config, SamplePeriod             uint64
	SampleType, ReadFormat           uint64
	Flags                            uint64
	Wakeup, BpType                   uint32
	Config1, Config2                 uint64
	BranchSampleType, SampleRegsUser uint64
	SampleStackUser, Clockid         uint32
	SampleRegsIntr                   uint64
	AuxWatermark                     uint32
	SampleMaxStack                   uint16
	_                                uint16
	AuxSampleSize, _                 uint32
	SigData, Config3                 uint64
}

// Of struct perf_event_attr and perf_event_open(2) (uapi).
const (
	perfAttrVer0     = 64
	perfDisabled     = 1 << 0
	perfWatermark    = 1 << 14
	perfBackward     = 1 << 27
	perfTypeSoftware = 1
	perfTypeTrace    = 2
	perfBPFOutput    = 10 // PERF_COUNT_SW_BPF_OUTPUT
	perfSampleTime   = 1 << 2
	perfSampleCPU    = 1 << 7
	perfSampleRaw    = 1 << 10
	perfFlags        = 15
	perfRetprobe     = 1 << 0
	perfRefCtrShift  = 32
)

// Places are what perf_event_open(2) and probes find outside of BPF.
type Places interface {
	// Tracepoint returns the name of the tracepoint with a number.
	Tracepoint(id uint64) (name string, ok bool)
	// UprobeType is the type of events at instructions of files, 0: there are none.
	UprobeType() uint32
	// Regular returns the whole path and the size of a file of the caller's; EINVAL for what is no regular file.
	Regular(path string) (real string, size int64, e errno.Errno)
	// Alive reports whether a process is there.
	Alive(pid int32) bool
	// NetNS is the number of the network namespace that a descriptor is of, or, for -1, of the caller's own; 0: none.
	NetNS(fd int32) uint64
	// FileOf returns what a descriptor of another process refers to, as Files has it; ENOENT if there is no such process.
	FileOf(pid uint32, fd int32) (*File, errno.Errno)
	// Memory returns an empty memory file for a buffer.
	Memory() (*os.File, errno.Errno)
}

// PerfOpen follows perf_event_open for events that BPF has to do with; mine is
// false for all others, which are the kernel's.
func (s *System) PerfOpen(who *Caller, uattr uint64, pid, cpu int32, flags uint64) (e *PerfEvent, mine bool, err errno.Errno) {
	places := who.Places
	e = &PerfEvent{s: s, cpu: cpu}
	c := call{s: s, who: who}
	a := &e.attr
	if b := bytesOf(a)[:8]; !who.Memory.Read(uattr, b) {
		return nil, true, errno.EFAULT
	}
	if a.Size == 0 {
		a.Size = perfAttrVer0
	}
	if a.Size < perfAttrVer0 || a.Size > pageSize {
		return nil, false, 0 // the kernel tells its size
	}
	size := a.Size
	if !who.Memory.Read(uattr, bytesOf(a)[:min(size, uint32(len(bytesOf(a))))]) {
		return nil, true, errno.EFAULT
	}
	uprobe := places.UprobeType()
	switch {
	case a.Type == perfTypeSoftware && a.Config == perfBPFOutput:
		e.kind = perfOutput
	case a.Type == perfTypeTrace:
		e.kind = perfTracepoint
	case uprobe != 0 && a.Type == uprobe:
		if e.kind = perfUprobe; a.Config&perfRetprobe != 0 {
			e.kind = perfUretprobe
		}
	default:
		return nil, false, 0
	}
	switch {
	case flags&^perfFlags != 0:
		return nil, true, errno.EINVAL
	case c.zeroFrom(uattr, uint32(len(bytesOf(a))), size) != 0:
		return nil, true, errno.E2BIG
	case !who.can(CapPerfmon):
		return nil, true, errno.EACCES
	case pid == -1 && cpu == -1:
		return nil, true, errno.EINVAL
	case pid != -1 && !places.Alive(pid):
		return nil, true, errno.ESRCH
	case cpu < -1 || int(cpu) >= s.m.CPUs():
		return nil, true, errno.EINVAL
	}
	switch e.kind {
	case perfOutput:
		if a.SampleType&^(perfSampleTime|perfSampleCPU|perfSampleRaw) != 0 {
			s.unserved("", "samples with more than a time, a CPU and data")
			return nil, true, errno.EOPNOTSUPP
		}
	case perfTracepoint:
		var ok bool
		if e.name, ok = places.Tracepoint(a.Config); !ok {
			return nil, true, errno.EINVAL
		}
	case perfUprobe, perfUretprobe:
		name, ok := c.readString(a.Config1, maxPath)
		if !ok {
			return nil, true, errno.EFAULT
		}
		if name == "" {
			return nil, true, errno.EINVAL
		}
		if _, _, bad := places.Regular(name); bad != 0 {
			return nil, true, bad
		}
		e.name = name
	}
	if e.file, err = places.Memory(); err != 0 {
		return nil, true, err
	}
	e.buf = maps.EmptyPerfBuffer(int(cpu))
	e.off = a.Flags&perfDisabled != 0
	e.buf.Enable(!e.off)
	e.refs.Store(1)
	return e, true, 0
}

// Acquire takes another reference.
func (e *PerfEvent) Acquire() { e.refs.Add(1) }

// Close gives a reference back; the last one ends the event.
func (e *PerfEvent) Close() {
	if e.refs.Add(-1) != 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf.Close()
	for _, f := range []func(){e.free, e.gone} {
		if f != nil {
			f()
		}
	}
	e.leave()
	if e.prog != nil && e.link == nil {
		e.prog.Close()
	}
	e.file.Close()
}

// File is the memory of the event's buffer.
func (e *PerfEvent) File() *os.File { return e.file }

// Map makes the event's buffer in size bytes of memory: a page and a power of two of
// them (perf_mmap). memory is called once the sizes are known to be good, and
// returns what is mapped here too and how to end that. A reader who cannot write gets old samples overwritten.
func (e *PerfEvent) Map(size int, writable bool, memory func() ([]byte, func(), errno.Errno)) errno.Errno {
	page := os.Getpagesize()
	n := size/page - 1
	if size%page != 0 || n < 0 || n&(n-1) != 0 {
		return errno.EINVAL
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.size != 0 {
		if e.size != size {
			return errno.EINVAL
		}
		return 0
	}
	b, free, err := memory()
	if err != 0 {
		return err
	}
	e.size, e.free = size, free
	if n == 0 {
		return 0
	}
	o := maps.PerfSharing{Overwrite: !writable, Backward: e.attr.Flags&perfBackward != 0, CPU: e.attr.SampleType&perfSampleCPU != 0}
	if e.attr.SampleType&perfSampleTime != 0 {
		o.Now = e.s.m.Monotonic
	}
	if e.attr.Flags&perfWatermark != 0 {
		o.Watermark = uint64(e.attr.Wakeup)
	} else {
		o.Every = int(e.attr.Wakeup)
	}
	return asNumber(e.buf.Share(b, page, o))
}

// OnWake has wake called when a poll on the event would return, and gone when the event is no more.
func (e *PerfEvent) OnWake(wake, gone func()) {
	e.mu.Lock()
	e.gone = gone
	e.mu.Unlock()
	e.buf.OnWake(wake)
}

// Woken reports whether readers were to be woken since they were last.
func (e *PerfEvent) Woken() bool {
	select {
	case <-e.buf.Wake():
		return true
	default:
		return false
	}
}

// Requests of ioctl(2) on perf events (uapi).
const (
	PerfEnable      = 0x2400     // PERF_EVENT_IOC_ENABLE
	PerfDisable     = 0x2401     // PERF_EVENT_IOC_DISABLE
	PerfReset       = 0x2403     // PERF_EVENT_IOC_RESET
	PerfSetBPF      = 0x40042408 // PERF_EVENT_IOC_SET_BPF
	PerfPauseOutput = 0x40042409 // PERF_EVENT_IOC_PAUSE_OUTPUT
	PerfQueryBPF    = 0xc008240a // PERF_EVENT_IOC_QUERY_BPF
)

// PerfIoctl follows _perf_ioctl.
func (s *System) PerfIoctl(who *Caller, e *PerfEvent, req uint32, arg uint64) errno.Errno {
	c := call{s: s, who: who}
	switch req {
	case PerfEnable, PerfDisable:
		return e.enable(req == PerfEnable)
	case PerfReset:
		return 0
	case PerfPauseOutput:
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.size == 0 {
			return errno.EINVAL
		}
		e.buf.Enable(arg == 0)
		return 0
	case PerfSetBPF:
		p, f, bad := open[*run.Program](&c, int32(arg))
		if bad != 0 {
			return bad
		}
		defer f.Put()
		if bad := e.set(p, nil); bad != 0 {
			return bad
		}
		p.Acquire()
		return 0
	case PerfQueryBPF:
		return c.perfQuery(e, arg)
	}
	return errno.ENOTTY
}

func (e *PerfEvent) enable(on bool) errno.Errno {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.off = !on
	e.buf.Enable(on)
	return 0
}

// set attaches a program (__perf_event_set_bpf_prog).
func (e *PerfEvent) set(p *run.Program, l *Link) errno.Errno {
	e.mu.Lock()
	defer e.mu.Unlock()
	want := catalog.ProgPerfEvent
	switch e.kind {
	case perfTracepoint:
		want = catalog.ProgTracepoint
	case perfUprobe, perfUretprobe:
		want = catalog.ProgKprobe
	}
	switch {
	case want == catalog.ProgPerfEvent && e.prog != nil:
		return errno.EEXIST
	case p.Info.Type != want:
		return errno.EINVAL
	case e.prog != nil:
		return errno.EEXIST
	}
	if e.kind == perfTracepoint {
		cookie := uint64(0)
		if l != nil {
			cookie = l.cookie
		}
		if row := catalog.EventByName(e.name); row != nil {
			if all := row.Offsets(); testrun.ContextReach(p) > all[len(all)-1] {
				return errno.EACCES // what lies behind the record's members is text (trace_event_get_offsets)
			}
		}
		var bad errno.Errno
		if e.unhook, bad = e.s.m.Event(e.name).Attach(p, cookie); bad != 0 {
			return bad
		}
	}
	e.prog, e.link = p, l
	return 0
}

// leave detaches what is attached. The caller holds e.mu.
func (e *PerfEvent) leave() {
	if e.unhook != nil {
		e.unhook()
		e.unhook = nil
	}
}

// unset detaches what a link attached.
func (e *PerfEvent) unset(l *Link) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.link == l {
		e.leave()
		e.prog, e.link = nil, nil
	}
}

// perfQuery follows perf_event_query_prog_array: the ids of the programs at the event's tracepoint.
//
//	{ids_len u32, prog_cnt u32, ids [ids_len]u32}
func (c *call) perfQuery(e *PerfEvent, addr uint64) errno.Errno {
	if !c.who.can(CapPerfmon) {
		return errno.EPERM
	}
	if e.kind != perfTracepoint {
		return errno.EINVAL
	}
	b, bad := c.read(addr, 4)
	if bad != 0 {
		return bad
	}
	room := u32at(b, 0)
	if room > 64 { // BPF_TRACE_MAX_PROGS
		return errno.E2BIG
	}
	var ids []byte
	for _, id := range c.s.m.Event(e.name).Programs() {
		ids = append(ids, u32bytes(id)...)
	}
	if bad := c.write(addr+4, u32bytes(uint32(len(ids)/4))); bad != 0 {
		return bad
	}
	if int(room)*4 < len(ids) {
		return errno.ENOSPC
	}
	return c.write(addr+8, ids)
}

// attached is the program that an event runs, as bpf_get_perf_event_info tells of it.
func (e *PerfEvent) attached() (prog, kind uint32, offset uint64, bad errno.Errno) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.prog == nil:
		return 0, 0, 0, errno.ENOENT
	case e.kind == perfTracepoint:
		return e.prog.ID(), taskTracepoint, 0, 0
	case e.kind == perfUprobe:
		return e.prog.ID(), taskUprobe, e.attr.Config2, 0
	case e.kind == perfUretprobe:
		return e.prog.ID(), taskUretprobe, e.attr.Config2, 0
	}
	return 0, 0, 0, errno.EOPNOTSUPP
}

// perfUpdate puts an event into a map (bpf_fd_array_map_update_elem, perf_event_fd_array_get_ptr).
func (c *call) perfUpdate(m *maps.PerfEventArray, by *File, key, value []byte, flags uint64) errno.Errno {
	i := u32at(key, 0)
	switch {
	case flags != catalog.UpdateAny:
		return errno.EINVAL
	case i >= m.Def().MaxEntries:
		return errno.E2BIG
	}
	e, f, bad := open[*PerfEvent](c, int32(u32at(value, 0)))
	if bad != 0 {
		return errno.EBADF
	}
	defer f.Put()
	if e.kind != perfOutput {
		return errno.EINVAL
	}
	e.Acquire()
	return asNumber(m.Put(i, e.buf, maps.PerfOwner{By: by, Release: e.Close}))
}

// linkPerf follows bpf_perf_link_attach.
func (c *call) linkPerf(a *linkCreate, p *run.Program) (int32, errno.Errno) {
	if a.Flags != 0 {
		return 0, errno.EINVAL
	}
	e, f, bad := open[*PerfEvent](c, a.TargetFd)
	if bad != 0 {
		if f, none := c.who.Files.File(a.TargetFd); none == 0 && f == nil {
			c.s.unserved("", "a program at a perf event of the kernel's")
		} else if f != nil {
			f.Put()
		}
		return 0, errno.EBADF
	}
	defer f.Put()
	l := &Link{typ: LinkPerfEvent, attach: catalog.AttachPerfEvent, cookie: u64at(a.Extra[:], 0), perf: e}
	if bad := e.set(p, l); bad != 0 {
		return 0, bad
	}
	if bad := c.s.newLink(l, p); bad != 0 {
		e.unset(l)
		return 0, bad
	}
	e.Acquire()
	return c.install(l)
}

// perfInfo is the part of struct bpf_link_info for an event (bpf_perf_link_fill_link_info).
func (c *call) perfInfo(in, out *linkInfo, l *Link) errno.Errno {
	put32, put64 := binary.NativeEndian.PutUint32, binary.NativeEndian.PutUint64
	e := l.perf
	put32(out.U[0:], uint32(e.kind))
	if e.kind == perfOutput {
		put64(out.U[8:], e.attr.Config)
		put32(out.U[16:], e.attr.Type)
		put64(out.U[24:], l.cookie)
		return 0
	}
	to, room := u64at(in.U[:], 8), u32at(in.U[:], 16)
	if (to == 0) != (room == 0) {
		return errno.EINVAL
	}
	put64(out.U[8:], to)
	put32(out.U[16:], room)
	put64(out.U[24:], l.cookie)
	if e.kind != perfTracepoint {
		put32(out.U[20:], uint32(e.attr.Config2))
		put64(out.U[32:], e.attr.Config>>perfRefCtrShift)
	}
	if to == 0 {
		put32(out.U[16:], uint32(len(e.name)+1))
		return 0
	}
	name := e.name
	var late errno.Errno
	if room < uint32(len(name))+1 {
		name, late = name[:room-1], errno.ENOSPC
	} else {
		put32(out.U[16:], uint32(len(name)+1))
	}
	if bad := c.write(to, append([]byte(name), 0)); bad != 0 {
		return bad
	}
	return late
}
