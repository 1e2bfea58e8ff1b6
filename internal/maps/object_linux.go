package maps

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// ObjectAt tells which task or inode a descriptor of a process is of, and of a
// task when it began. EBADF: of none; ENOENT: of a task that has ended.
func ObjectAt(pid int, kind catalog.MapOwners, fd int32) (id Identity, born uint64, e errno.Errno) {
	id.Kind = kind
	switch kind {
	case catalog.OwnersInodes:
		var st unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/fd/%d", pid, fd), &st) != nil {
			return id, 0, errno.EBADF
		}
		id.ID, id.Dev = st.Ino, uint64(st.Dev)
		return id, 0, 0
	case catalog.OwnersTasks:
		info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))
		if err != nil {
			return id, 0, errno.EBADF
		}
		task, ok := pidOf(info)
		if !ok {
			return id, 0, errno.EBADF
		}
		if born = started(task); born == 0 {
			return id, 0, errno.ENOENT
		}
		id.ID = uint64(task)
		return id, born, 0
	}
	return id, 0, errno.EBADF
}

// pidOf finds the process in what fdinfo says of a pidfd; a negative one has ended.
func pidOf(info []byte) (pid int, ok bool) {
	for line := range bytes.Lines(info) {
		if rest, found := bytes.CutPrefix(line, []byte("Pid:")); found {
			pid, err := strconv.Atoi(string(bytes.TrimSpace(rest)))
			return pid, err == nil
		}
	}
	return 0, false
}

// started is when a task began, in ticks since the system did; 0: there is none.
func started(pid int) uint64 {
	if pid <= 0 {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The command's name stands in parentheses, and may contain some; 20 fields come between it and the start.
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 20 || f[0][0] == 'X' {
		return 0
	}
	n, err := strconv.ParseUint(string(f[19]), 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 1)
}

// taskAlive reports whether a task is the one it was when it was told of.
func taskAlive(o *Object) bool {
	return o.Kind != catalog.OwnersTasks || o.Born == 0 || started(int(o.ID)) == o.Born
}
