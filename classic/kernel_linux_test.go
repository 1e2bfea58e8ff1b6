package classic

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/oracle"
)

// attach gives a socket a classic program as the kernel's own filter.
func attach(fd int, prog []Instruction) error {
	var pin runtime.Pinner
	defer pin.Unpin()
	fprog := unix.SockFprog{Len: uint16(len(prog))}
	if len(prog) > 0 {
		pin.Pin(&prog[0])
		// Instruction is laid out as struct sock_filter.
		fprog.Filter = (*unix.SockFilter)(unsafe.Pointer(&prog[0]))
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog)
}

// pair is two connected datagram sockets; filters sit on the second.
func pair(t testing.TB) (send, receive int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	oracle.Need(t, "a socket pair", err)
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	return fds[0], fds[1]
}

func TestKernelAgreesWhatIsValid(t *testing.T) {
	_, fd := pair(t)
	g := &generator{Rand: rand.New(rand.NewPCG(5, 1)), machine: Socket, size: 64}
	accepted := 0
	for n := range 20_000 {
		g.wild = 3 + n%40
		prog := g.program(1 + g.IntN(24))
		ours, theirs := Check(prog, Socket), attach(fd, prog)
		if (ours == nil) != (theirs == nil) || theirs != nil && !errors.Is(theirs, unix.EINVAL) {
			t.Fatalf("program %d: skep says %v, the kernel %v\n%s", n, ours, theirs, AppendProgram(nil, prog, Assembly))
		}
		if ours == nil {
			accepted++
		}
	}
	if accepted < 2000 || accepted > 18_000 {
		t.Errorf("%d of 20000 programs are valid: the draw is lopsided", accepted)
	}
}

// checkCases are programs on the rules' edges.
var checkCases = []struct {
	name string
	prog []Instruction
	want error
}{
	{"nothing", nil, ErrLength},
	{"longest", longProgram(MaxInstructions), nil},
	{"too long", longProgram(MaxInstructions + 1), ErrLength},
	{"no ret", []Instruction{{Code: LD | IMM}}, ErrUnfinished},
	{"ret x", []Instruction{{Code: RET | X}}, ErrCode},
	{"code beyond a byte", []Instruction{{Code: 0x116}, {Code: RET | A}}, ErrCode},
	{"code", []Instruction{{Code: LD | 0x18}, {Code: RET | A}}, ErrCode},
	{"division", []Instruction{{Code: ALU | DIV | K}, {Code: RET | A}}, ErrDivision},
	{"modulo", []Instruction{{Code: ALU | MOD | K}, {Code: RET | A}}, ErrDivision},
	{"shift by 31", []Instruction{{Code: ALU | LSH | K, K: 31}, {Code: RET | A}}, nil},
	{"shift by 32", []Instruction{{Code: ALU | RSH | K, K: 32}, {Code: RET | A}}, ErrShift},
	{"last slot", []Instruction{{Code: ST, K: 15}, {Code: RET | A}}, nil},
	{"no slot", []Instruction{{Code: STX, K: 16}, {Code: RET | A}}, ErrScratch},
	{"unwritten", []Instruction{{Code: LD | MEM}, {Code: RET | A}}, ErrUnwritten},
	{"written on one way", []Instruction{
		{JMP | JEQ | K, 0, 1, 0}, {Code: ST}, {Code: LDX | MEM}, {Code: RET | A}}, ErrUnwritten},
	{"written on both ways", []Instruction{
		{JMP | JEQ | K, 0, 2, 0}, {Code: ST}, {Code: JMP | JA, K: 1}, {Code: STX}, {Code: LDX | MEM}, {Code: RET | A}}, nil},
	{"behind ret", []Instruction{{Code: RET | A}, {Code: LD | MEM}, {Code: RET | A}}, ErrUnwritten},
	{"behind ja", []Instruction{{Code: JMP | JA, K: 1}, {Code: LD | MEM}, {Code: RET | A}}, nil},
	{"ja to the end", []Instruction{{Code: JMP | JA, K: 1}, {Code: RET | A}}, ErrJump},
	{"ja back", []Instruction{{Code: LD | IMM}, {Code: JMP | JA, K: 0xfffffffe}, {Code: RET | A}}, ErrJump},
	{"jt to the end", []Instruction{{JMP | JEQ | K, 1, 0, 0}, {Code: RET | A}}, ErrJump},
	{"jf to the end", []Instruction{{JMP | JEQ | K, 0, 1, 0}, {Code: RET | A}}, ErrJump},
	{"ancillary", []Instruction{{Code: LD | B | ABS, K: Random.K()}, {Code: RET | A}}, nil},
	{"between ancillaries", []Instruction{{Code: LD | B | ABS, K: AncillaryOffset + 2}, {Code: RET | A}}, ErrAncillary},
	{"behind ancillaries", []Instruction{{Code: LD | B | ABS, K: AncillaryOffset + 64}, {Code: RET | A}}, ErrAncillary},
	{"link header", []Instruction{{Code: LD | B | ABS, K: LinkOffset}, {Code: RET | A}}, nil},
	{"indirect ancillary", []Instruction{{Code: LD | B | IND, K: AncillaryOffset + 2}, {Code: RET | A}}, nil},
	{"unused fields", []Instruction{{ALU | NEG, 255, 255, 0xffffffff}, {RET | A, 255, 255, 1}}, nil},
}

func longProgram(n int) []Instruction {
	prog := make([]Instruction, n) // ld #0
	prog[n-1].Code = RET | A
	return prog
}

func TestCheck(t *testing.T) {
	_, fd := pair(t)
	for _, c := range checkCases {
		err := Check(c.prog, Socket)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if kernel := attach(fd, c.prog); (kernel == nil) != (c.want == nil) && !errors.Is(kernel, unix.ENOMEM) {
			t.Errorf("%s: the kernel says %v, want %v", c.name, kernel, c.want)
		}
	}
}

// seccompJudge asks the kernel whether it takes a filter without letting it
// take effect: one thread has a filter of its own, so that installing another
// for all threads (SECCOMP_FILTER_FLAG_TSYNC) fails, after the program has been
// judged, and names that thread.
type seccompJudge struct{ ask func([]Instruction) error }

const (
	seccompSetModeFilter   = 1
	seccompFilterFlagTsync = 1
)

func newSeccompJudge(t *testing.T) *seccompJudge {
	allow := []Instruction{{Code: RET | K, K: uint32(Allow)}}
	ready, done := make(chan error), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its filter
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			_, err = installSeccomp(allow, 0)
		}
		ready <- err
		<-done
	})
	err := <-ready
	t.Cleanup(func() {
		close(done)
		wait.Wait()
	})
	oracle.Need(t, "seccomp(2)", err)
	return &seccompJudge{ask: func(prog []Instruction) error {
		result := make(chan error)
		go func() {
			runtime.LockOSThread()
			unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
			thread, err := installSeccomp(prog, seccompFilterFlagTsync)
			if err == nil && thread == 0 {
				panic("BUG: the filter was installed")
			}
			result <- err
		}()
		return <-result
	}}
}

func installSeccomp(prog []Instruction, flags uintptr) (int, error) {
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(prog)))}
	n, _, errno := unix.Syscall(unix.SYS_SECCOMP, seccompSetModeFilter, flags, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func TestKernelAgreesWhatSeccompTakes(t *testing.T) {
	judge := newSeccompJudge(t)
	ask := func(name string, prog []Instruction) bool {
		ours, theirs := Check(prog, Seccomp), judge.ask(prog)
		if (ours == nil) != (theirs == nil) || theirs != nil && !errors.Is(theirs, unix.EINVAL) {
			t.Fatalf("%s: skep says %v, the kernel %v\n%s", name, ours, theirs, AppendProgram(nil, prog, Assembly))
		}
		return ours == nil
	}
	for _, r := range Rows {
		if r.K != Divisor && r.Form != FormMem {
			ask(r.Doc, []Instruction{{Code: r.Code}, {Code: RET | A}, {Code: RET | A}})
		}
	}
	for _, k := range []uint32{1, 2, 4, 60, 62, 64, 0xfffff000} {
		ask("offset", []Instruction{{Code: LD | W | ABS, K: k}, {Code: RET | A}})
	}
	g := &generator{Rand: rand.New(rand.NewPCG(5, 2)), machine: Seccomp, size: 64}
	accepted := 0
	for n := range 2000 {
		g.wild = 3 + n%60
		if ask("random", g.program(1+g.IntN(16))) {
			accepted++
		}
	}
	if accepted < 200 || accepted > 1800 {
		t.Errorf("%d of 2000 programs are valid: the draw is lopsided", accepted)
	}
}
