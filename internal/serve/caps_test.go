//go:build linux && (amd64 || arm64)

package serve

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/oracle"
)

func init() {
	// caps drops capabilities and takes them back.
	clients["caps"] = func() error {
		runtime.LockOSThread()
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var all, got [2]unix.CapUserData
		if err := unix.Capget(&hdr, &all[0]); err != nil {
			return err
		}
		attach := func() error { // wants CAP_BPF and CAP_PERFMON
			p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.Kprobe, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
			if err == nil {
				p.Close()
			}
			return err
		}
		if err := attach(); err != nil {
			return fmt.Errorf("with all: %w", err)
		}
		less := all
		less[0].Effective, less[1].Effective = 0, 0
		if err := unix.Capset(&hdr, &less[0]); err != nil {
			return fmt.Errorf("dropping: %w", err)
		}
		if err := unix.Capget(&hdr, &got[0]); err != nil || got != less {
			return fmt.Errorf("%+v, want %+v, %w", got, less, err)
		}
		if err := attach(); !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("with none: %w", err)
		}
		if err := unix.Capset(&hdr, &all[0]); err != nil {
			return fmt.Errorf("taking back: %w", err)
		}
		if err := attach(); err != nil {
			return fmt.Errorf("with all again: %w", err)
		}
		none := [2]unix.CapUserData{}
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			return fmt.Errorf("giving up: %w", err)
		}
		if err := unix.Capset(&hdr, &all[0]); !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("taking back what is not permitted: %w", err)
		}
		if err := attach(); !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("in the end: %w", err)
		}
		return nil
	}
	// capsOwn is caps on a machine of its own.
	clients["capsOwn"] = func() error {
		sys, done, err := NewSystem(MachineOptions{}, os.Stderr)
		if err != nil {
			return err
		}
		defer done()
		code, err := Exec(&Options{System: sys, Caps: bpfsys.AllCaps, Args: []string{"/proc/self/exe"},
			Env: append(os.Environ(), "SERVE_CLIENT=caps"), Stdout: os.Stdout, Stderr: os.Stderr})
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d", code)
		}
		return err
	}
}

// A program can drop the capabilities it is taken to have, as root and as nobody.
func TestCapabilities(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	for _, uid := range []uint32{uint32(os.Getuid()), 65534} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), "SERVE_CLIENT=capsOwn")
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		}
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("user %d: %v: %s", uid, err, out)
		}
	}
}
