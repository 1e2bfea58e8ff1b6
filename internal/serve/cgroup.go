//go:build linux && (amd64 || arm64)

package serve

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/cgroup"
)

// cgroups is what clients see of the control groups: those of the system, and
// over them those that clients make, which are directories of the server's.
// Programs attach to both; nothing but skep knows of that.
//
//	client: mkdir("/sys/fs/cgroup/a/b")  →  server: mkdir(root + "/a/b"), "a" being the system's
//	client: open("/sys/fs/cgroup/a")     →  kernel
type cgroups struct {
	mount string // where the system has cgroup2; "": nowhere
	root  string
}

func newCgroups(root string) (cgroups, error) {
	mount, _ := cgroup.Mount()
	return cgroups{mount: mount, root: root}, os.Mkdir(root, 0o700)
}

// real maps a client's path to the server's directory, if what it names, or is to be made, is there.
func (g *cgroups) real(p string, makes bool) (string, bool) {
	if g.mount == "" || !strings.HasPrefix(p, g.mount+"/") {
		return "", false
	}
	p = path.Clean(p)
	rest, ok := strings.CutPrefix(p, g.mount+"/")
	if !ok || exists(p) {
		return "", false
	}
	own := path.Join(g.root, rest)
	if makes && exists(path.Dir(p)) { // the first of the server's below one of the system's
		os.MkdirAll(path.Dir(own), 0o755)
	} else if !makes && !exists(own) {
		return "", false
	}
	return own, true
}

// ids are the numbers of a control group and those above it, for the path of an open
// file; nil if it is none.
func (g *cgroups) ids(p string) (all []uint64) {
	rest, ok := strings.CutPrefix(p, g.root)
	if !ok {
		rest, ok = strings.CutPrefix(p, g.mount)
	}
	if !ok || g.mount == "" {
		return nil
	}
	for rest = path.Clean("/" + rest); ; rest = path.Dir(rest) {
		id := inode(filepath.Join(g.mount, rest))
		if id == 0 {
			id = inode(filepath.Join(g.root, rest))
		}
		if all = append(all, id); rest == "/" {
			return all
		}
	}
}

// Cgroup returns the numbers of the control group that a directory stands for (bpfsys.Files).
func (c *client) Cgroup(fd int32) []uint64 {
	link := fmt.Sprintf("/proc/%d/fd/%d", c.pid, fd)
	p, err := os.Readlink(link)
	if err != nil {
		return nil
	}
	if st, err := os.Stat(link); err != nil || !st.IsDir() {
		return nil
	}
	return c.s.cg.ids(p)
}

func exists(p string) bool { return inode(p) != 0 }

// inode is a file's number, 0 if there is none.
func inode(p string) uint64 {
	var st unix.Stat_t
	if unix.Stat(p, &st) != nil {
		return 0
	}
	return st.Ino
}
