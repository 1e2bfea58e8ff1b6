package skep

import (
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/sockrun"
)

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
func (c *CPU) CgroupPacket(progs []*Program) (CgroupRun, error) {
	list, err := opened(progs)
	if err != nil {
		return CgroupRun{}, err
	}
	return sockrun.CgroupPacket(c.c, list)
}

// CgroupSock runs programs of type cgroup_sock on a socket.
func (c *CPU) CgroupSock(progs []*Program, s *Socket) (CgroupRun, error) {
	list, err := opened(progs)
	if err != nil {
		return CgroupRun{}, err
	}
	return sockrun.CgroupSock(c.c, list, s)
}

// CgroupSockAddr runs programs of type cgroup_sock_addr on a call, and leaves in it what they made of its addresses.
func (c *CPU) CgroupSockAddr(progs []*Program, a *CgroupSockAddr) (CgroupRun, error) {
	list, err := opened(progs)
	if err != nil {
		return CgroupRun{}, err
	}
	return a.Run(c.c, list)
}

// CgroupDevice runs programs of type cgroup_device: kind and access are BPF_DEVCG_DEV_* and BPF_DEVCG_ACC_*.
func (c *CPU) CgroupDevice(progs []*Program, kind, access uint16, major, minor uint32) (CgroupRun, error) {
	list, err := opened(progs)
	if err != nil {
		return CgroupRun{}, err
	}
	return sockrun.CgroupDevice(c.c, list, kind, access, major, minor)
}

// opened is what stands behind programs, unless one was closed.
func opened(progs []*Program) ([]*run.Program, error) {
	list := make([]*run.Program, len(progs))
	for i, p := range progs {
		if p.done.Load() {
			return nil, p.wrap(ErrClosed)
		}
		list[i] = p.p
	}
	return list, nil
}
