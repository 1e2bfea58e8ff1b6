//go:build linux && (amd64 || arm64)

package serve

import (
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/errno"
)

// sysctlOf returns the row behind a path below /proc/sys, nil for others.
func sysctlOf(p string) *bpfsys.Sysctl {
	if !strings.HasPrefix(p, "/proc/sys/") {
		return nil
	}
	return bpfsys.SysctlByName(strings.TrimPrefix(path.Clean(p), "/proc/sys/"))
}

// openSysctl opens a setting's file for the client. What is written counts when
// the file is closed; a bad value is told on standard error, as write(2) is the kernel's.
func (c *client) openSysctl(row *bpfsys.Sysctl, flags uint64) answer {
	c.s.store.settle() // what was written before
	write := flags&unix.O_ACCMODE != unix.O_RDONLY
	if admin := c.caps()&bpfsys.CapSysAdmin != 0; !admin && (write || row.Mode&0o004 == 0) {
		return failed(unix.EACCES)
	}
	text := fmt.Sprintln(c.s.sys.Sysctl(row))
	if !write {
		return c.giveText(text)
	}
	m, err := unix.MemfdCreate("sysctl", unix.MFD_CLOEXEC)
	if err != nil {
		return failed(unix.ENOMEM)
	}
	defer unix.Close(m)
	f, err := os.Open(procFD(m)) // for the server to read
	if err != nil {
		return failed(unix.ENOMEM)
	}
	if flags&unix.O_ACCMODE == unix.O_RDWR {
		unix.Write(m, []byte(text))
	}
	caps := c.caps()
	e := c.s.store.onClose(m, func() {
		defer f.Close()
		written, _ := io.ReadAll(io.LimitReader(f, 4096))
		if len(written) == 0 {
			return
		}
		if e := c.s.sys.SetSysctl(row, string(written), caps); e != 0 {
			c.s.sys.Unserved(fmt.Sprintf("%s = %q: %v", row.Name, strings.TrimSpace(string(written)), e), "")
		}
	})
	if e != 0 {
		f.Close()
		return failed(unix.Errno(e))
	}
	fd, err := unix.Open(procFD(m), int(flags&unix.O_ACCMODE)|unix.O_CLOEXEC, 0) // inotify does not see the first descriptor
	if err != nil {
		return failed(unix.ENOMEM)
	}
	defer unix.Close(fd)
	return c.giveFD(fd)
}

// onClose has f called when the last descriptor of a file is closed that may be written.
func (st *store) onClose(fd int, f func()) errno.Errno {
	st.mu.Lock()
	defer st.mu.Unlock()
	wd, err := unix.InotifyAddWatch(st.wfd, procFD(fd), unix.IN_CLOSE_WRITE)
	if err != nil {
		return errno.ENOMEM
	}
	st.closing[int32(wd)] = f
	return 0
}
