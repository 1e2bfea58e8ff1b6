//go:build linux

package pin

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

// bpfObj is BPF_OBJ_PIN or BPF_OBJ_GET; the result of the latter is closed at once.
func bpfObj(cmd uintptr, path string, fd int) error {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	attr := struct {
		path  unsafe.Pointer
		fd    uint32
		flags uint32
	}{unsafe.Pointer(name), uint32(fd), 0}
	r, _, e := unix.Syscall(unix.SYS_BPF, cmd, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if e != 0 {
		return e
	}
	if cmd == unix.BPF_OBJ_GET {
		unix.Close(int(r))
	}
	return nil
}

func number(err error) errno.Errno {
	var s syscall.Errno
	var e errno.Errno
	switch {
	case errors.As(err, &s):
		return errno.Errno(s)
	case errors.As(err, &e):
		return e
	}
	return 0
}

// TestAgainstKernel does random things to a tree and to a mounted BPF file system.
func TestAgainstKernel(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	dir := t.TempDir()
	oracle.Need(t, "a BPF file system", unix.Mount("bpf", dir, "bpf", 0, ""))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	m, err := linux.NewMap(&catalog.MapDef{Type: catalog.MapArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	f := New(dir)
	var o counted
	r := rand.New(rand.NewPCG(1, 2))
	name := func() string {
		names := []string{"a", "b", "d", "e", "a.b", ".x"}
		p := dir
		for range 1 + r.IntN(3) {
			p += "/" + names[r.IntN(len(names))*r.IntN(4)/3]
		}
		if r.IntN(100) == 0 {
			p += strings.Repeat("n", 256)
		}
		return p
	}
	done := map[string]int{}
	for range 4000 {
		p, q := name(), name()
		var what string
		var ours, kern error
		switch r.IntN(6) {
		case 0, 1:
			what, ours, kern = "pin "+p, f.Pin(p, &o), bpfObj(unix.BPF_OBJ_PIN, p, m.FD())
		case 2:
			got, err := f.Get(p)
			if err == nil {
				got.Close()
			}
			what, ours, kern = "get "+p, err, bpfObj(unix.BPF_OBJ_GET, p, 0)
		case 3:
			what, ours, kern = "mkdir "+p, f.Mkdir(p), unix.Mkdir(p, 0o700)
		case 4:
			if r.IntN(3) == 0 {
				what, ours, kern = "remove "+p, f.Remove(p), os.Remove(p)
			}
		case 5:
			what, ours, kern = "rename "+p+" "+q, f.Rename(p, q), unix.Rename(p, q)
		}
		if a, b := number(ours), number(kern); a != b {
			t.Fatalf("%s: %v, kernel says %v", strings.ReplaceAll(what, dir, ""), a, b)
		}
		done[fmt.Sprint(strings.Fields(what + " -")[0], number(ours))]++
	}
	if len(done) < 15 {
		t.Errorf("few outcomes were seen: %v", done)
	}
	f.Close()
	if n := o.refs.Load(); n != 0 {
		t.Errorf("%d references left", n)
	}
}
