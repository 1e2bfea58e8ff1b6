package skep

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

// TestUIDOfLoader: a program says which user has loaded it. It is asked of a process of root's and of one of nobody's.
func TestUIDOfLoader(t *testing.T) {
	m, err := NewMachine(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	coll, err := m.LoadCollection(&image.Image{Name: "test", ByteOrder: binary.NativeEndian, License: "GPL", Programs: []*image.Program{
		{Name: "p", Type: XDP, Insns: []isa.Instruction{isa.Mov64Imm(isa.R0, 2), isa.ExitInsn()}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	if got := coll.Programs["p"].p.About.UID; got != uint32(os.Getuid()) {
		t.Errorf("loaded by user %d, this is %d", got, os.Getuid())
	}
	const nobody = 65534
	if os.Getuid() == nobody {
		return
	}
	if os.Getuid() != 0 {
		oracle.Need(t, "a process of another user", os.ErrPermission)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "") // go test's own is closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	test, err := os.ReadFile(exe)
	exe = filepath.Join(dir, "test")
	if err := errors.Join(err, os.WriteFile(exe, test, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestUIDOfLoader$")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("of nobody's: %v\n%s", err, out)
	}
}
