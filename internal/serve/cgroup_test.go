//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

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
	clients["keeper"] = keepValues
}

// keepValues keeps values with tasks, control groups and files, and with a place a program is attached to.
func keepValues() error {
	g, err := newCgroups(filepath.Join(os.TempDir(), fmt.Sprint("unused-", os.Getpid())))
	if err != nil {
		return err
	}
	defer os.Remove(g.root)
	dir := filepath.Join(g.mount, fmt.Sprint("skep-test-", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	group, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer group.Close()
	task, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	child := exec.Command("true")
	if err := child.Start(); err != nil {
		return err
	}
	gone, err := unix.PidfdOpen(child.Process.Pid, 0)
	if err != nil {
		return err
	}
	child.Wait()
	for typ, fd := range map[ebpf.MapType]int32{ebpf.TaskStorage: int32(task), ebpf.CgroupStorage: int32(group.Fd()), ebpf.InodeStorage: 0} {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: typ, KeySize: 4, ValueSize: 8, Flags: 1,
			Key: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}, Value: &btf.Int{Name: "long", Size: 8}})
		if err != nil {
			return fmt.Errorf("%s: %w", typ, err)
		}
		defer m.Close()
		var v uint64
		if err := errors.Join(m.Put(fd, uint64(7)), m.Lookup(fd, &v)); err != nil || v != 7 {
			return fmt.Errorf("%s: %d, %w", typ, v, err)
		}
		if err := m.Lookup(int32(900), &v); !errors.Is(err, unix.EBADF) {
			return fmt.Errorf("%s of no descriptor: %w", typ, err)
		}
		if typ == ebpf.TaskStorage {
			if err := m.Put(int32(gone), v); !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("a value of a task that has ended: %w", err)
			}
		}
		if err := m.Delete(fd); err != nil {
			return fmt.Errorf("%s: %w", typ, err)
		}
	}
	groups, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.CGroupArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer groups.Close()
	if err := groups.Put(uint32(0), int32(group.Fd())); err != nil {
		return err
	}
	if err := groups.Put(uint32(0), int32(task)); !errors.Is(err, unix.EBADF) {
		return fmt.Errorf("a task in an array of control groups: %w", err)
	}
	storage, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.PerCPUCGroupStorage, KeySize: 8, ValueSize: 8})
	if err != nil {
		return err
	}
	defer storage.Close()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress, License: "GPL",
		Instructions: asm.Instructions{asm.LoadMapPtr(asm.R1, storage.FD()), asm.Mov.Imm(asm.R2, 0), asm.FnGetLocalStorage.Call(),
			asm.Mov.Imm(asm.R1, 5), asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord), asm.LoadMem(asm.R0, asm.R0, 0, asm.DWord),
			asm.And.Imm(asm.R0, 3), asm.Return()}})
	if err != nil {
		return err
	}
	defer prog.Close()
	ret, _, err := prog.Test(make([]byte, 60))
	if err != nil || ret != 1 {
		return fmt.Errorf("a run with a storage of its own: %d, %w", ret, err)
	}
	var each []uint64
	if err := storage.Lookup(inode(dir), &each); !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("a storage without a program: %w", err)
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: dir, Attach: ebpf.AttachCGroupInetEgress, Program: prog})
	if err != nil {
		return err
	}
	if err := storage.Lookup(inode(dir), &each); err != nil || each[0] != 0 {
		return fmt.Errorf("a storage of an attached program: %v, %w", each, err)
	}
	l.Close()
	id := inode(dir)
	if err := os.Remove(dir); err != nil {
		return err
	}
	if err := storage.Lookup(id, &each); !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("a storage whose group is gone: %w", err)
	}
	return nil
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

// Values kept with what a client's descriptors are of.
func TestKeepers(t *testing.T) {
	sys, code := serveClient(t, "keeper")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	empty(t, sys)
}
