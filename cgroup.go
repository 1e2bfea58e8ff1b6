package skep

import (
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/sockrun"
)

// CgroupProgram is a program attached to a control group: which group, by its number, and for what. There
// it finds the values of its maps of types CGroupStorage and PerCPUCGroupStorage, once [CgroupProgram.MakeStorages] has made them.
type CgroupProgram struct {
	Program *Program
	Group   uint64
	At      AttachType
}

func (p CgroupProgram) place() maps.GroupPlace {
	return maps.GroupPlace{Group: p.Group, Attach: uint32(p.At)}
}

// NewCgroup numbers a control group below another, or, with 0, a root: the machine's first is 1.
func (m *Machine) NewCgroup(parent uint64) uint64 { return m.m.NewGroup(parent) }

// CgroupGone takes away what maps keep for a control group that is no more.
func (m *Machine) CgroupGone(group uint64) {
	m.m.GroupGone(group)
	sockrun.CgroupGone(m.m, group)
}

// MakeStorages makes the values that maps of the program keep for where it is about to
// be attached. They stay when it is detached, as in Linux.
func (p CgroupProgram) MakeStorages() error {
	if p.Program.done.Load() {
		return p.Program.wrap(ErrClosed)
	}
	if e := sockrun.MakeStorages(p.Program.p, p.place()); e != 0 {
		return p.Program.wrap(e)
	}
	return nil
}

// CgroupRun is what came of programs of a control group: what the call is to return, and what they said besides.
type CgroupRun = sockrun.CgroupRun

// Flags of a [CgroupRun].
const (
	CgroupCongestion = sockrun.CgroupCongestion
	CgroupAnyPort    = sockrun.CgroupAnyPort
)

// CgroupSockAddr is a socket's call that names an address, or gives one back.
type CgroupSockAddr = sockrun.SockAddr

// CgroupPacket runs programs of type cgroup_skb, one after the other, on the CPU's packet.
func (c *CPU) CgroupPacket(progs []CgroupProgram) (CgroupRun, error) {
	list, err := attached(progs)
	if err != nil {
		return CgroupRun{}, err
	}
	return sockrun.CgroupPacket(c.c, list)
}

// CgroupSock runs programs of type cgroup_sock on a socket.
func (c *CPU) CgroupSock(progs []CgroupProgram, s *Socket) (CgroupRun, error) {
	list, err := attached(progs)
	if err != nil {
		return CgroupRun{}, err
	}
	return sockrun.CgroupSock(c.c, list, s)
}

// CgroupSockAddr runs programs of type cgroup_sock_addr on a call, and leaves in it what they made of its addresses.
func (c *CPU) CgroupSockAddr(progs []CgroupProgram, a *CgroupSockAddr) (CgroupRun, error) {
	list, err := attached(progs)
	if err != nil {
		return CgroupRun{}, err
	}
	return a.Run(c.c, list)
}

// CgroupDevice runs programs of type cgroup_device: kind and access are BPF_DEVCG_DEV_* and BPF_DEVCG_ACC_*.
func (c *CPU) CgroupDevice(progs []CgroupProgram, kind, access uint16, major, minor uint32) (CgroupRun, error) {
	list, err := attached(progs)
	if err != nil {
		return CgroupRun{}, err
	}
	return sockrun.CgroupDevice(c.c, list, kind, access, major, minor)
}

// CgroupSysctl is a sysctl being read or written.
type CgroupSysctl = sockrun.Sysctl

// CgroupSysctl runs programs of type cgroup_sysctl, and leaves in s what they made of the new value and the position.
func (c *CPU) CgroupSysctl(progs []CgroupProgram, s *CgroupSysctl) (CgroupRun, error) {
	list, err := attached(progs)
	if err != nil {
		return CgroupRun{}, err
	}
	return s.Run(c.c, list)
}

// CgroupSockopt is a socket's option being set or read.
type CgroupSockopt = sockrun.Sockopt

// CgroupSetsockopt runs programs of type cgroup_sockopt before an option is set, and leaves in o what they made of it.
func (c *CPU) CgroupSetsockopt(progs []CgroupProgram, s *Socket, o *CgroupSockopt) (CgroupRun, error) {
	list, err := attached(progs)
	if err != nil {
		return CgroupRun{}, err
	}
	return o.Set(c.c, list, s)
}

// CgroupGetsockopt runs programs of type cgroup_sockopt after an option was read: who asks has room
// for so many bytes, and would be returned retval.
func (c *CPU) CgroupGetsockopt(progs []CgroupProgram, s *Socket, o *CgroupSockopt, room int, retval int32) (CgroupRun, error) {
	list, err := attached(progs)
	if err != nil {
		return CgroupRun{}, err
	}
	return o.Get(c.c, list, s, room, retval)
}

// attached is what stands behind programs, unless one was closed.
func attached(progs []CgroupProgram) ([]sockrun.CgroupProg, error) {
	list := make([]sockrun.CgroupProg, len(progs))
	for i, p := range progs {
		if p.Program.done.Load() {
			return nil, p.Program.wrap(ErrClosed)
		}
		list[i] = sockrun.CgroupProg{Prog: p.Program.p, At: p.place()}
	}
	return list, nil
}

// TCPOps is a TCP connection, or a request for one, whose programs of type [SockOps] are told what happens to it.
type TCPOps = sockrun.SockOps

// NewTCPOps begins with a socket.
func NewTCPOps(s *Socket) *TCPOps { return sockrun.NewSockOps(s) }

// TCPOpsCall is one thing that happens to a connection.
type TCPOpsCall = sockrun.SockOpsCall

// TCPOpsReply is what programs made of it.
type TCPOpsReply = sockrun.SockOpsReply

// SockOps runs programs of type sock_ops.
func (c *CPU) SockOps(progs []CgroupProgram, o *TCPOps, call *TCPOpsCall) (TCPOpsReply, error) {
	list, err := attached(progs)
	if err != nil {
		return TCPOpsReply{}, err
	}
	return o.Call(c.c, list, call)
}
