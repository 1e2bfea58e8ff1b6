//go:build linux && (amd64 || arm64)

package serve

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// perfEventOpen serves the events that BPF programs write to or attach to; all others are the kernel's.
func (c *client) perfEventOpen(n *notif) answer {
	c.s.store.settle()
	who := c.caller()
	e, mine, err := c.s.sys.PerfOpen(&who, n.Args[0], int32(n.Args[1]), int32(n.Args[2]), n.Args[4])
	switch {
	case !mine:
		return pass
	case err != 0:
		return failed(unix.Errno(err))
	}
	fd, err := c.Install(bpfsys.NewFile(e))
	return answer{val: int64(fd), err: unix.Errno(err)}
}

// event is the perf event of ours behind a descriptor, with its file to put back; nil if it is none.
func (c *client) event(fd uint64) (*bpfsys.PerfEvent, *bpfsys.File) {
	f, e := c.File(int32(fd))
	if e != 0 || f == nil {
		return nil, nil
	}
	if ev, ok := f.Object().(*bpfsys.PerfEvent); ok {
		return ev, f
	}
	f.Put()
	return nil, nil
}

// mmap makes a perf event's buffer where it is mapped; the mapping itself is then the kernel's to make.
func (c *client) mmap(n *notif) answer {
	if x, f := c.xsk(n.Args[4]); x != nil {
		defer f.Put()
		return c.xskMmap(x, f, n)
	}
	e, f := c.event(n.Args[4])
	if e == nil {
		return pass
	}
	defer f.Put()
	if n.Args[5] != 0 {
		return failed(unix.EINVAL)
	}
	size := int(n.Args[1])
	err := e.Map(size, n.Args[2]&unix.PROT_WRITE != 0, func() ([]byte, func(), errno.Errno) {
		// Sealed, the file cannot lose the pages that the server writes to.
		fd := int(e.File().Fd())
		if err := unix.Ftruncate(fd, int64(size)); err != nil {
			return nil, nil, number(err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
			return nil, nil, number(err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Size != int64(size) {
			return nil, nil, errno.EINVAL
		}
		b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, nil, number(err)
		}
		return b, func() { unix.Munmap(b) }, 0
	})
	if err != 0 {
		return failed(unix.Errno(err))
	}
	return pass
}

// perfIoctl serves requests on perf events of ours.
func (c *client) perfIoctl(n *notif) answer {
	e, f := c.event(n.Args[0])
	if e == nil {
		if uint32(n.Args[1]) == bpfsys.PerfSetBPF {
			c.s.sys.Unserved("attaching a program to a perf event of the kernel's", "skep run, which runs it on a context")
		}
		return pass
	}
	defer f.Put()
	who := c.caller()
	return failed(unix.Errno(c.s.sys.PerfIoctl(&who, e, uint32(n.Args[1]), n.Args[2])))
}

// tracepoints numbers those that clients have asked for, by "group/name".
type tracepoints struct {
	mu  sync.Mutex
	ids map[string]uint64
}

// Where the kernel shows its tracepoints.
var tracefs = []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}

// tracepointFile is what events/GROUP/NAME/id and, of events that happen here, …/format say, for paths like that; "" for one
// that there is none of.
func (s *server) tracepointFile(p string) (string, bool) {
	for _, dir := range tracefs {
		rest, ok := strings.CutPrefix(p, dir+"/events/")
		if !ok {
			continue
		}
		name, file := path.Split(path.Clean(rest))
		name = strings.TrimSuffix(name, "/")
		row := catalog.EventByName(path.Base(name))
		if strings.Count(name, "/") != 1 || file != "id" && (file != "format" || row == nil) {
			return "", false
		}
		if !s.sys.HasTracepoint(name) {
			return "", true
		}
		t := &s.traced
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.ids[name] == 0 {
			t.ids[name] = uint64(len(t.ids) + 1)
		}
		if file == "format" {
			return row.Format(t.ids[name]), true
		}
		return fmt.Sprintln(t.ids[name]), true
	}
	return "", false
}

// Tracepoint is a name by its number (bpfsys.Places).
func (c *client) Tracepoint(id uint64) (string, bool) {
	t := &c.s.traced
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, n := range t.ids {
		if n == id {
			return path.Base(name), true
		}
	}
	return "", false
}

// UprobeType is the type that the kernel gives probes (bpfsys.Places).
func (*client) UprobeType() uint32 {
	b, err := os.ReadFile("/sys/bus/event_source/devices/uprobe/type")
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	return uint32(n)
}

// Regular finds a file of the client's (bpfsys.Places).
func (c *client) Regular(name string) (string, int64, errno.Errno) {
	switch rest, own := strings.CutPrefix(name, "/proc/self/"); {
	case own:
		name = fmt.Sprintf("/proc/%d/%s", c.tgid(), rest)
	case !strings.HasPrefix(name, "/"):
		name = fmt.Sprintf("/proc/%d/cwd/%s", c.pid, name)
	}
	st, err := os.Stat(name)
	if err != nil {
		return "", 0, number(err)
	}
	if !st.Mode().IsRegular() {
		return "", 0, errno.EINVAL
	}
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	return name, st.Size(), 0
}

// Alive reports whether there is a process (bpfsys.Places).
func (*client) Alive(pid int32) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil && pid >= 0
}

// Memory makes a file for a perf buffer (bpfsys.Places).
func (*client) Memory() (*os.File, errno.Errno) {
	fd, err := unix.MemfdCreate("perf", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, number(err)
	}
	return os.NewFile(uintptr(fd), "perf"), 0
}

// NetNS is the number of a network namespace (bpfsys.Places).
func (c *client) NetNS(fd int32) uint64 {
	link := fmt.Sprintf("/proc/%d/ns/net", c.pid)
	if fd >= 0 {
		link = fmt.Sprintf("/proc/%d/fd/%d", c.pid, fd)
	}
	name, _ := os.Readlink(link)
	if rest, ok := strings.CutPrefix(name, "net:["); ok {
		n, _ := strconv.ParseUint(strings.TrimSuffix(rest, "]"), 10, 64)
		return n
	}
	return 0
}
