//go:build amd64 || arm64

package run

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

// policies forbid something to the process; native says whether native code runs all the same.
var policies = map[string]struct {
	forbid func(t *testing.T)
	native bool
}{
	"executable memory":                        {forbidExec, false},
	"to make executable what could be written": {forbidExecGain, true},
}

const policy = "SKEP_TEST_POLICY"

// Where a policy forbids executable memory programs are interpreted, unless
// native code was asked for.
func TestForbidden(t *testing.T) {
	if name := os.Getenv(policy); name != "" {
		under(t, name)
		return
	}
	oracle.Need(t, "native code", jit.Available())
	if testing.Short() {
		t.Skip("an emulator needs itself what is forbidden")
	}
	for name := range policies {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run", "^TestForbidden$")
			cmd.Env = append(os.Environ(), policy+"="+name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func under(t *testing.T, name string) {
	p := policies[name]
	p.forbid(t)
	m, err := New(Options{CPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Native() != p.native {
		t.Errorf("native code: %v (%v), want %v", m.Native(), jit.Available(), p.native)
	}
	if r0 := runOn(t, m, program(t, m, nil, isa.Mov64Imm(isa.R0, 7), isa.ExitInsn())); r0 != 7 {
		t.Errorf("R0 = %d", r0)
	}
	switch m, err := New(Options{CPUs: 1, JIT: JITOn}); {
	case p.native && err != nil:
		t.Error(err)
	case !p.native && !errors.Is(err, errors.ErrUnsupported):
		t.Errorf("native code asked for: %v, want ErrUnsupported", err)
	case err == nil:
		m.Close()
	}
}

// forbidExecGain is what services under MemoryDenyWriteExecute have, where the kernel knows it.
func forbidExecGain(t *testing.T) {
	const setMDWE, refuseExecGain = 65, 1
	if err := unix.Prctl(setMDWE, refuseExecGain, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		t.Fatal(err)
	}
}

// forbidExec lets no thread map executable memory any more, as seccomp filters of
// sandboxes do.
func forbidExec(t *testing.T) {
	const prot = 16 + 8*2 // of seccomp_data: the third argument of mmap
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_MMAP, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: prot},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.PROT_EXEC, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		t.Fatal(errno)
	}
}
