package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// taskFuncs tell of the process a program runs in.
var taskFuncs = map[catalog.HelperID]Func{
	catalog.FnGetCurrentPidTgid:  getCurrentPidTgid,
	catalog.FnGetCurrentUidGid:   getCurrentUIDGID,
	catalog.FnGetCurrentComm:     getCurrentComm,
	catalog.FnGetCurrentCGroupID: func(e *Env, _, _, _, _, _ uint64) uint64 { return e.Host.Process().CGroupID },
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
