package classic

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/oracle"
)

// nativeArch is this machine's AUDIT_ARCH_*.
var nativeArch = map[string]uint32{"amd64": 0xc000003e, "arm64": 0xc00000b7}[runtime.GOARCH]

// underFilters calls getpriority(2), which nothing here needs, with the
// arguments on a thread of its own that has the filters, and returns its errno.
func underFilters(t *testing.T, filters [][]Instruction, args [3]uintptr) unix.Errno {
	t.Helper()
	type outcome struct {
		err   error
		errno unix.Errno
	}
	result := make(chan outcome)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its filters
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		for _, f := range filters {
			if err == nil {
				_, err = installSeccomp(f, 0)
			}
		}
		var errno unix.Errno
		if err == nil {
			var r uintptr
			r, _, errno = unix.RawSyscall(unix.SYS_GETPRIORITY, args[0], args[1], args[2])
			if r == ^uintptr(maxErrno-1) { // which Go takes for a result
				errno = maxErrno
			}
		}
		result <- outcome{err, errno}
	}()
	o := <-result
	oracle.Need(t, "seccomp(2)", o.err)
	return o.errno
}

// guarded makes a filter of a program that ends with "ret a": for getpriority
// it returns ERRNO and 12 bits of A, from bit shift on, of any other call
// ALLOW.
func guarded(prog []Instruction, shift uint32) []Instruction {
	head := []Instruction{
		{Code: LD | W | ABS, K: 0},
		{JMP | JEQ | K, 1, 0, unix.SYS_GETPRIORITY},
		{Code: RET | K, K: uint32(Allow)},
		// What the program finds in A is what it would find at its start.
		{Code: LD | IMM},
	}
	return append(append(head, prog[:len(prog)-1]...),
		Instruction{Code: ALU | RSH | K, K: shift},
		Instruction{Code: ALU | AND | K, K: 0x7ff},
		Instruction{Code: ALU | OR | K, K: uint32(Errno) | 0x800},
		Instruction{Code: RET | A})
}

func TestSeccompRunsAsInTheKernel(t *testing.T) {
	if nativeArch == 0 {
		t.Skip("system calls of " + runtime.GOARCH + " are not known here")
	}
	g := &generator{Rand: rand.New(rand.NewPCG(5, 8)), machine: Seccomp, size: 64}
	for n := range 60 {
		prog := g.program(2 + g.IntN(20))
		plain := true
		for _, i := range prog {
			// No early answer, and nothing that names an address of the thread.
			if i.Class() == RET && i.Code != RET|A || i.Code == LD|W|ABS && (i.K == 8 || i.K == 12 || i.K >= 40) || i.Code == ALU|DIV|X {
				plain = false
			}
		}
		if !plain {
			continue
		}
		args := [3]uintptr{uintptr(g.Uint64()), uintptr(g.Uint64()), uintptr(g.Uint64())}
		d := &SeccompData{NR: unix.SYS_GETPRIORITY, Arch: nativeArch}
		for i, a := range args {
			d.Args[i] = uint64(a)
		}
		for _, shift := range []uint32{0, 11, 22} {
			filter := guarded(prog, shift)
			vm, err := NewVM(filter, Seccomp)
			if err != nil {
				t.Fatal(err)
			}
			ours := RunSeccomp([]*VM{vm}, d)
			errno := underFilters(t, [][]Instruction{filter}, args)
			if ours.Kind() != Errno || ours.Data() != uint16(errno) {
				t.Fatalf("program %d: %v, the kernel gives errno %d\n%s", n, ours, uint16(errno), AppendProgram(nil, filter, Assembly))
			}
		}
	}
}

func TestSeccompPrecedence(t *testing.T) {
	if nativeArch == 0 {
		t.Skip("system calls of " + runtime.GOARCH + " are not known here")
	}
	answer := func(a Action) []Instruction {
		return []Instruction{
			{Code: LD | W | ABS, K: 0},
			{JMP | JEQ | K, 1, 0, unix.SYS_GETPRIORITY},
			{Code: RET | K, K: uint32(Allow)},
			{Code: RET | K, K: uint32(a)},
		}
	}
	// Of actions that let the thread live; without a tracer or a listener the
	// call fails with ENOSYS.
	actions := []Action{Allow, Log, Trace | 3, UserNotify, Errno | 5, Errno | 7, Errno | 5000, Errno}
	for _, a := range actions {
		for _, b := range actions {
			first, _ := NewVM(answer(a), Seccomp)
			second, _ := NewVM(answer(b), Seccomp)
			verdict := RunSeccomp([]*VM{first, second}, &SeccompData{NR: unix.SYS_GETPRIORITY})
			want := unix.Errno(0)
			switch verdict.Kind() {
			case Errno:
				want = unix.Errno(min(verdict.Data(), maxErrno))
			case Trace, UserNotify:
				want = unix.ENOSYS
			}
			if got := underFilters(t, [][]Instruction{answer(a), answer(b)}, [3]uintptr{}); got != want {
				t.Errorf("%v then %v: %v, which is errno %d; the kernel gives %d", a, b, verdict, want, got)
			}
		}
	}
	for _, order := range [][2]Action{{KillProcess, KillThread}, {KillThread, Trap}, {Trap, Errno}, {Errno, UserNotify},
		{UserNotify, Trace}, {Trace, Log}, {Log, Allow}} {
		if !order[0].Stricter(order[1]) || order[1].Stricter(order[0]) {
			t.Errorf("%v should win over %v", order[0], order[1])
		}
	}
}

func TestSeccompDataLayout(t *testing.T) {
	d := SeccompData{NR: -2, Arch: 0x01020304, InstructionPointer: 5, Args: [6]uint64{6, 7, 8, 9, 10, 1<<63 | 11}}
	big, little := d.Bytes(binary.BigEndian), d.Bytes(binary.LittleEndian)
	if got := binary.BigEndian.Uint64(big[56:]); got != 1<<63|11 {
		t.Errorf("args[5] is %#x", got)
	}
	if got := int32(binary.LittleEndian.Uint32(little[:])); got != -2 {
		t.Errorf("nr is %d", got)
	}
}
