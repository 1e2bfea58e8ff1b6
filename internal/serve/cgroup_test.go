//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/skep-bpf/skep/internal/oracle"
)

func init() {
	// grouped attaches to a control group that it makes, which goes away under its link.
	clients["grouped"] = func() error {
		g, err := newCgroups(filepath.Join(os.TempDir(), fmt.Sprint("unused-", os.Getpid())))
		if err != nil {
			return err
		}
		defer os.Remove(g.root)
		dir := filepath.Join(g.mount, fmt.Sprint("skep-test-", os.Getpid()))
		sub := filepath.Join(dir, "sub")
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(sub, 0o755)); err != nil {
			return err
		}
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}})
		if err != nil {
			return err
		}
		for _, at := range []string{g.mount, sub} { // the system's, and our own
			l, err := link.AttachCgroup(link.CgroupOptions{Path: at, Attach: ebpf.AttachCGroupInetEgress, Program: prog})
			if err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			defer l.Close()
			in, err := l.Info()
			if err != nil {
				return err
			}
			if id := in.Cgroup().CgroupId; id != inode(at) {
				return fmt.Errorf("%s: control group %d, want %d", at, id, inode(at))
			}
			f, err := os.Open(sub)
			if err != nil {
				return err
			}
			defer f.Close()
			q, err := link.QueryPrograms(link.QueryOptions{Target: int(f.Fd()), Attach: ebpf.AttachCGroupInetEgress, QueryFlags: 1})
			if n := 1; err != nil || at == sub && len(q.Programs) != 2 || at != sub && len(q.Programs) != n {
				return fmt.Errorf("%s: %v, %w", at, q, err)
			}
			if at != sub {
				continue
			}
			if err := os.Remove(sub); err != nil {
				return err
			}
			if in, err = l.Info(); err != nil || in.Cgroup().CgroupId != 0 {
				return fmt.Errorf("a link whose group is gone: %v, %w", in, err)
			}
		}
		return os.Remove(dir)
	}
}

// Control groups that a client makes are there for nobody else; programs attach to them and to the system's.
func TestClientControlGroups(t *testing.T) {
	g, err := newCgroups(filepath.Join(t.TempDir(), "g"))
	if err != nil {
		t.Fatal(err)
	}
	if g.mount == "" {
		oracle.Need(t, "a mounted cgroup2 file system", os.ErrNotExist)
	}
	sys, code := serveClient(t, "grouped")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	empty(t, sys)
}
