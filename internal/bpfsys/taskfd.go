package bpfsys

import (
	"encoding/binary"
	"unsafe"

	"github.com/skep-bpf/skep/internal/errno"
)

// taskFDQuery follows bpf_task_fd_query.
func (c *call) taskFDQuery() (int32, errno.Errno) {
	a := as[taskFDQuery](&c.attr)
	if !c.who.can(CapSysAdmin) {
		return 0, errno.EPERM
	}
	if a.Flags != 0 {
		return 0, errno.EINVAL
	}
	if c.who.Places == nil {
		return 0, errno.ENOENT
	}
	f, e := c.who.Places.FileOf(a.Pid, a.Fd)
	if e != 0 {
		return 0, e
	}
	if f == nil {
		return 0, errno.ENOTSUPP
	}
	defer f.Put()
	switch o := f.Object().(type) {
	case *PerfEvent:
		prog, kind, offset, e := o.attached()
		if e != 0 {
			return 0, e
		}
		return 0, c.tellTaskFD(a, prog, kind, o.name, offset)
	case *Link:
		if p := o.program(); o.typ == LinkRawTracepoint && p != nil {
			return 0, c.tellTaskFD(a, p.ID(), taskRawTracepoint, o.name, 0)
		}
	}
	return 0, errno.ENOTSUPP
}

// Of enum bpf_task_fd_type (uapi).
const (
	taskRawTracepoint = 0
	taskTracepoint    = 1
	taskUprobe        = 4
	taskUretprobe     = 5
)

// tellTaskFD follows bpf_task_fd_query_copy: the name as far as there is room for it.
func (c *call) tellTaskFD(a *taskFDQuery, prog, kind uint32, name string, offset uint64) errno.Errno {
	if e := c.put(unsafe.Offsetof(a.BufLen), u32bytes(uint32(len(name)))); e != 0 {
		return e
	}
	var late errno.Errno
	if room := int(a.BufLen); room > 0 && a.Buf != 0 {
		if len(name)+1 > room {
			name, late = name[:room-1], errno.ENOSPC
		}
		if e := c.write(a.Buf, append([]byte(name), 0)); e != 0 {
			return e
		}
	}
	var tail [24]byte
	binary.NativeEndian.PutUint32(tail[0:], prog)
	binary.NativeEndian.PutUint32(tail[4:], kind)
	binary.NativeEndian.PutUint64(tail[8:], offset)
	if e := c.put(unsafe.Offsetof(a.ProgId), tail[:]); e != 0 {
		return e
	}
	return late
}
