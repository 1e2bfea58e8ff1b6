package helpers

import (
	"slices"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
)

// taskFuncs tell of the process a program runs in.
var taskFuncs = map[catalog.HelperID]Func{
	catalog.FnGetCurrentPidTgid:  getCurrentPidTgid,
	catalog.FnGetCurrentUidGid:   getCurrentUIDGID,
	catalog.FnGetCurrentComm:     getCurrentComm,
	catalog.FnGetCurrentCGroupID: func(e *Env, _, _, _, _, _ uint64) uint64 { return e.Host.Process().CGroupID },

	catalog.FnCurrentTaskUnderCGroup:     currentTaskUnderCGroup,
	catalog.FnGetCurrentAncestorCGroupID: getCurrentAncestorCGroupID,
}

func getCurrentPidTgid(e *Env, _, _, _, _, _ uint64) uint64 {
	p := e.Host.Process()
	return uint64(p.TGID)<<32 | uint64(p.PID)
}

func getCurrentUIDGID(e *Env, _, _, _, _, _ uint64) uint64 {
	p := e.Host.Process()
	return uint64(p.GID)<<32 | uint64(p.UID)
}

// getCurrentComm writes the command name, cut to size and padded with zeros.
func getCurrentComm(e *Env, buf, size, _, _, _ uint64) uint64 {
	to := mem.Bytes(buf, int(uint32(size)))
	if len(to) == 0 {
		return errno.EINVAL.Ret()
	}
	clear(to)
	comm := &e.Host.Process().Comm
	copy(to[:len(to)-1], comm[:len(comm)-1])
	return 0
}

// groupAt returns the control group at an index of a cgroup_array.
func (e *Env) groupAt(m, index uint64) (uint64, errno.Errno) {
	array := maps.Unwrap(e.Host.Map(m)).(*maps.CGroupArray) // the verifier lets no other map in
	if uint32(index) >= array.Def().MaxEntries {
		return 0, errno.E2BIG
	}
	group, ok := array.Group(uint32(index))
	if !ok {
		return 0, errno.EAGAIN
	}
	return group, 0
}

func currentTaskUnderCGroup(e *Env, m, index, _, _, _ uint64) uint64 {
	group, no := e.groupAt(m, index)
	p := e.Host.Process()
	switch {
	case no != 0:
		return no.Ret()
	case group == p.CGroupID, slices.Contains(p.CGroupsAbove, group):
		return 1
	}
	return 0
}

// getCurrentAncestorCGroupID counts levels from the root, which is 0.
func getCurrentAncestorCGroupID(e *Env, level, _, _, _, _ uint64) uint64 {
	p := e.Host.Process()
	n := int32(level)
	switch above := int32(len(p.CGroupsAbove)); {
	case n == above:
		return p.CGroupID
	case n < 0 || n > above:
		return 0
	default:
		return p.CGroupsAbove[above-1-n]
	}
}
