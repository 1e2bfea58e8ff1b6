package linux

import (
	"runtime"
	"unsafe"

	"github.com/skep-bpf/skep/internal/catalog"
)

// linkCreateAttr is the part of union bpf_attr that LINK_CREATE reads, for the
// kinds of links made here.
type linkCreateAttr struct {
	progFD, targetFD  uint32
	attachType, flags uint32
	extra             unsafe.Pointer // of iterators: iterInfo; of others nothing
	extraLen          uint32
	_                 uint32
	_                 [4]uint32
}

// LinkOptions say where a link attaches a program to.
type LinkOptions struct {
	Target uint32 // a descriptor or the number of a device, by the kind of link
	Flags  uint32
	// Map is what an iterator walks; nil: what its kind walks by itself.
	Map *Map
}

// Link attaches a program as long as the object that it returns, or a name of it, lives.
func (p *LoadedProg) Link(t catalog.AttachType, o LinkOptions) (*Object, error) {
	attr := linkCreateAttr{progFD: uint32(p.fd), targetFD: o.Target, attachType: uint32(t), flags: o.Flags}
	var walk [4]uint32 // union bpf_iter_link_info: the map's descriptor comes first
	if o.Map != nil {
		walk[0] = uint32(o.Map.fd)
		attr.extra, attr.extraLen = unsafe.Pointer(&walk), uint32(unsafe.Sizeof(walk))
	}
	fd, err := bpf(cmdLinkCreate, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(p)
	runtime.KeepAlive(o.Map)
	if err != nil {
		return nil, err
	}
	return &Object{fd, KindLink}, nil
}

// Link registers what a map implements as long as the object that it returns, or a name of it, lives.
func (m *Map) Link(t catalog.AttachType) (*Object, error) {
	attr := linkCreateAttr{progFD: uint32(m.fd), attachType: uint32(t)} // map_fd has its place there
	fd, err := bpf(cmdLinkCreate, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(m)
	if err != nil {
		return nil, err
	}
	return &Object{fd, KindLink}, nil
}

type rawTracepointAttr struct {
	name   unsafe.Pointer
	progFD uint32
	_      uint32
	cookie uint64
}

// Open attaches a program to the tracepoint of a name, or, with none, to what it was loaded for.
func (p *LoadedProg) Open(name string) (*Object, error) {
	attr := rawTracepointAttr{progFD: uint32(p.fd)}
	if name != "" {
		text := append([]byte(name), 0)
		attr.name = unsafe.Pointer(&text[0])
	}
	fd, err := bpf(cmdRawTracepointOpen, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(p)
	if err != nil {
		return nil, err
	}
	return &Object{fd, KindLink}, nil
}

type progAttachAttr struct {
	targetFD, progFD  uint32
	attachType, flags uint32
	replaceFD, relFD  uint32
	revision          uint64
}

// ProgAttach puts a program at a place until it is taken away: target is the
// descriptor of a map or control group, or the number of a device, by the type.
func ProgAttach(prog, target int, t catalog.AttachType, flags uint32) error {
	attr := progAttachAttr{targetFD: uint32(target), progFD: uint32(prog), attachType: uint32(t), flags: flags}
	_, err := bpf(cmdProgAttach, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// ProgDetach takes a program away from a place.
func ProgDetach(prog, target int, t catalog.AttachType) error {
	attr := progAttachAttr{targetFD: uint32(target), progFD: uint32(prog), attachType: uint32(t)}
	_, err := bpf(cmdProgDetach, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

type progQueryAttr struct {
	target, attachType, queryFlags, attachFlags uint32
	progIDs                                     unsafe.Pointer
	count                                       uint32
	_                                           uint32
	progFlags, linkIDs, linkFlags               unsafe.Pointer
	revision                                    uint64
}

// Attached is what is attached at a place.
type Attached struct {
	ProgIDs []uint32
	LinkIDs []uint32 // 0: not by a link; nil where nobody says
	Flags   uint32   // BPF_F_ALLOW_*
}

// QueryEffective asks for what runs, that of places above included.
const QueryEffective = 1

// maxAttached is how many programs are asked for at one place.
const maxAttached = 1024

// Query asks what is attached at a place: target is as in [ProgAttach]. links
// asks for links too, which places of devices know.
func Query(target int, t catalog.AttachType, flags uint32, links bool) (*Attached, error) {
	progs, ids := make([]uint32, maxAttached), make([]uint32, maxAttached)
	attr := progQueryAttr{
		target: uint32(target), attachType: uint32(t), queryFlags: flags,
		progIDs: unsafe.Pointer(&progs[0]), count: maxAttached,
	}
	if links {
		attr.linkIDs = unsafe.Pointer(&ids[0])
	}
	if _, err := bpf(cmdProgQuery, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return nil, err
	}
	n := min(attr.count, maxAttached)
	a := &Attached{ProgIDs: progs[:n], Flags: attr.attachFlags}
	if links {
		a.LinkIDs = ids[:n]
	}
	return a, nil
}

// EnableStats has run times and counts kept until the function it returns is called.
func EnableStats() (stop func() error, err error) {
	attr := struct{ what uint32 }{0} // BPF_STATS_RUN_TIME
	fd, err := bpf(cmdEnableStats, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return nil, err
	}
	return func() error { return closeFD(fd) }, nil
}

// Bind has a program keep a map that it does not use.
func (p *LoadedProg) Bind(m *Map) error {
	attr := struct{ prog, m, flags uint32 }{uint32(p.fd), uint32(m.fd), 0}
	_, err := bpf(cmdProgBindMap, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(p)
	runtime.KeepAlive(m)
	return err
}

// TaskFD is what a descriptor of a process has a program attached to.
type TaskFD struct {
	ProgID       uint32
	Type         uint32 // enum bpf_task_fd_type
	Name         string // of a tracepoint, function or file
	Offset, Addr uint64 // of a probe
}

type taskFDAttr struct {
	pid, fd, flags, bufLen uint32
	buf                    unsafe.Pointer
	progID, fdType         uint32
	offset, addr           uint64
}

// QueryTaskFD asks what a descriptor of a process has a program attached to.
func QueryTaskFD(pid, fd int) (*TaskFD, error) {
	buf := make([]byte, 4096)
	attr := taskFDAttr{pid: uint32(pid), fd: uint32(fd), bufLen: uint32(len(buf)), buf: unsafe.Pointer(&buf[0])}
	if _, err := bpf(cmdTaskFDQuery, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return nil, err
	}
	return &TaskFD{ProgID: attr.progID, Type: attr.fdType, Name: cString(buf), Offset: attr.offset, Addr: attr.addr}, nil
}
