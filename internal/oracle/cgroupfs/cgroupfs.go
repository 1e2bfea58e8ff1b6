// Package cgroupfs gives tests control groups of their own on the live kernel. What
// it cannot have is a missing oracle (package oracle).
package cgroupfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/cgroup"
	"github.com/skep-bpf/skep/internal/oracle"
)

// Mount is where control groups are mounted.
func Mount(t testing.TB) string {
	t.Helper()
	root, err := cgroup.Mount()
	oracle.Need(t, "a mounted cgroup2 file system", err)
	return root
}

// New makes a control group, which is removed with the test.
func New(t testing.TB) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp(Mount(t), "skep-test-")
	oracle.Need(t, "control groups that can be made", err)
	removeAfter(t, dir)
	return dir
}

// Nested makes n control groups, each below the one before.
func Nested(t testing.TB, n int) []string {
	t.Helper()
	dirs := []string{New(t)}
	for len(dirs) < n {
		dir := filepath.Join(dirs[len(dirs)-1], "sub")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		removeAfter(t, dir)
		dirs = append(dirs, dir)
	}
	return dirs
}

func removeAfter(t testing.TB, dir string) {
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
	})
}

// Join has the process be in a control group until the test ends.
func Join(t testing.TB, dir string) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/cgroup")
	oracle.Need(t, "a control group of this process", err)
	own := Mount(t)
	for line := range strings.Lines(string(self)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			own = filepath.Join(own, strings.TrimSpace(path))
		}
	}
	join := func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0)
	}
	oracle.Need(t, "a control group that can be joined", join(dir))
	t.Cleanup(func() {
		if err := join(own); err != nil {
			t.Error(err)
		}
	})
}
