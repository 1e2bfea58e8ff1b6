//go:build linux && (amd64 || arm64)

package serve

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Clients that do what a well-behaved program does not.

func init() {
	for name, f := range map[string]func() error{
		"storm": storm, "killer": killer, "threads": threads, "signals": signals, "chain": chain, "crowd": crowd,
		"traced": traced, "pinsOver": pinsOver, "whoami": whoami,
	} {
		clients[name] = f
	}
}

var hashSpec = &ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 64, MaxEntries: 256}

// storm does this and that until it is killed. Values are one number all over.
func storm() error {
	shared, err := ebpf.LoadPinnedMap("/sys/fs/bpf/shared", nil)
	if err != nil {
		return err
	}
	fmt.Println("begun")
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 0))
	keys, values := make([]uint32, 64), make([][64]byte, 64)
	for n := 0; ; n++ {
		for i := range keys {
			keys[i] = uint32(r.IntN(200))
			for j := range values[i] {
				values[i][j] = byte(n)
			}
		}
		switch n % 6 {
		case 0, 1:
			for i := range keys {
				if err := shared.Put(keys[i], values[i]); err != nil {
					return err
				}
			}
		case 2:
			if _, err := shared.BatchUpdate(keys, values, nil); err != nil {
				return err
			}
		case 3:
			m, err := ebpf.NewMap(hashSpec)
			if err != nil {
				return err
			}
			name := fmt.Sprintf("/sys/fs/bpf/storm-%d-%d", os.Getpid(), n)
			if err := m.Pin(name); err != nil {
				return err
			}
			if err := os.Remove(name); err != nil {
				return err
			}
			m.Close()
		case 4:
			p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL",
				Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}})
			if err != nil {
				return err
			}
			if l, err := link.AttachRawLink(link.RawLinkOptions{Target: 1, Program: p, Attach: ebpf.AttachXDP}); err == nil { // only one can
				l.Close()
			}
			p.Close()
		case 5:
			m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 4096})
			if err != nil {
				return err
			}
			rd, err := ringbuf.NewReader(m)
			if err != nil {
				return err
			}
			rd.SetDeadline(time.Now())
			if _, err := rd.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("an empty ring: %w", err)
			}
			rd.Close()
			m.Close()
		}
	}
}

// killer kills storms, each at another moment, and looks at what they leave: names
// that had no time to go, and nothing else.
func killer() error {
	shared, err := ebpf.NewMap(hashSpec)
	if err != nil {
		return err
	}
	if err := shared.Pin("/sys/fs/bpf/shared"); err != nil {
		return err
	}
	defer os.Remove("/sys/fs/bpf/shared")
	times, err := strconv.Atoi(os.Getenv("TIMES"))
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	failed := make(chan error, 4)
	for w := range 2 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for range times / 2 {
				cmd := exec.Command("/proc/self/exe")
				cmd.Env = append(os.Environ(), "SERVE_CLIENT=storm")
				cmd.Stderr = os.Stderr
				out, err := cmd.StdoutPipe()
				if err == nil {
					err = cmd.Start()
				}
				if err == nil {
					_, err = bufio.NewReader(out).ReadString('\n')
				}
				if err != nil {
					failed <- err
					return
				}
				time.Sleep(time.Duration(r.IntN(20000)) * time.Microsecond) // a moment, whichever
				cmd.Process.Kill()
				if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
					failed <- fmt.Errorf("a storm ended by itself: %w", err)
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	var key uint32
	var value [64]byte
	it, n := shared.Iterate(), 0
	for it.Next(&key, &value) {
		if slices.ContainsFunc(value[:], func(b byte) bool { return b != value[0] }) {
			return fmt.Errorf("key %d has half of a value: %x", key, value)
		}
		n++
	}
	if it.Err() != nil || n == 0 {
		return fmt.Errorf("%d elements were set: %w", n, it.Err())
	}
	left, err := filepath.Glob("/sys/fs/bpf/storm-*")
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	id, err := ebpf.MapGetNextID(0)
	if err != nil {
		return err
	}
	if next, err := ebpf.MapGetNextID(id); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("map %d is left: %w", next, err)
	}
	if id, err := ebpf.ProgramGetNextID(0); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("program %d is left: %w", id, err)
	}
	return nil
}

// counts has goroutines count in an element each of a map, by reading and writing.
func counts(m *ebpf.Map, goroutines, turns int) error {
	var all sync.WaitGroup
	failed := make(chan error, goroutines)
	for g := range uint32(goroutines) {
		all.Go(func() {
			runtime.LockOSThread()
			for n := range uint64(turns) {
				var v uint64
				if err := m.Lookup(g, &v); err != nil || v != n {
					failed <- fmt.Errorf("element %d is %d, want %d: %w", g, v, n, err)
					return
				}
				if err := m.Put(g, n+1); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

func array(n uint32) (*ebpf.Map, error) {
	return ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: n})
}

// threads calls from many threads at once.
func threads() error {
	m, err := array(16)
	if err != nil {
		return err
	}
	return counts(m, 16, 200)
}

// signals makes calls while signals come all the time: none is made twice, none is lost.
func signals() error {
	got := make(chan os.Signal, 1)
	signal.Notify(got, unix.SIGALRM, unix.SIGUSR1)
	every := unix.Itimerval{Interval: unix.Timeval{Usec: 200}, Value: unix.Timeval{Usec: 200}}
	if _, err := unix.Setitimer(unix.ITIMER_REAL, every); err != nil {
		return err
	}
	m, err := ebpf.NewMap(hashSpec)
	if err != nil {
		return err
	}
	value := make([]byte, 64)
	for n := range uint32(1500) {
		if err := m.Update(n%256, value, ebpf.UpdateNoExist); err != nil {
			return fmt.Errorf("turn %d: %w", n, err)
		}
		if err := m.Delete(n % 256); err != nil {
			return fmt.Errorf("turn %d: %w", n, err)
		}
	}
	<-got
	return nil
}

// chain becomes itself again and again, and still has the map it made.
func chain() error {
	depth, _ := strconv.Atoi(os.Getenv("DEPTH"))
	if depth == 0 {
		m, err := array(1)
		if err != nil {
			return err
		}
		fd, err := unix.Dup(m.FD()) // which exec does not close
		if err != nil {
			return err
		}
		os.Setenv("MAP", strconv.Itoa(fd))
	}
	fd, _ := strconv.Atoi(os.Getenv("MAP"))
	kept, err := unix.Dup(fd)
	if err != nil {
		return err
	}
	m, err := ebpf.NewMapFromFD(kept)
	if err != nil {
		return err
	}
	var n uint64
	if err := m.Lookup(uint32(0), &n); err != nil || n != uint64(depth) {
		return fmt.Errorf("%d after %d: %w", n, depth, err)
	}
	if err := m.Put(uint32(0), n+1); err != nil {
		return err
	}
	if depth == 10 {
		return nil
	}
	os.Setenv("DEPTH", strconv.Itoa(depth+1))
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}

// crowd has many children at once, whose calls are intercepted too.
func crowd() error {
	n, err := strconv.Atoi(os.Getenv("TIMES"))
	if err != nil {
		return err
	}
	var all []*exec.Cmd
	for range n {
		cmd := exec.Command("cat") // until its input ends
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("process %d: %w", len(all), err)
		}
		defer in.Close()
		all = append(all, cmd)
	}
	m, err := array(4)
	if err != nil {
		return err
	}
	if err := counts(m, 4, 50); err != nil {
		return err
	}
	for _, cmd := range all {
		cmd.Process.Kill()
		cmd.Wait()
	}
	return m.Put(uint32(0), uint64(1))
}

// traced has its child followed by ptrace(2), which stops at each of its system calls.
func traced() error {
	runtime.LockOSThread()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SERVE_CLIENT=pinsOver")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	pid, options := cmd.Process.Pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
		return err
	}
	if err := unix.PtraceSetOptions(pid, options); err != nil {
		return err
	}
	stops := 0
	for next := pid; ; {
		unix.PtraceSyscall(next, int(forChild(ws)))
		who, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		if err != nil {
			return err
		}
		if who == pid && ws.Exited() {
			if ws.ExitStatus() != 0 || stops == 0 {
				return fmt.Errorf("exit status %d after %d stops", ws.ExitStatus(), stops)
			}
			return nil
		}
		if ws.Exited() || ws.Signaled() {
			ws = 0
		}
		stops++
		next = who
	}
}

// forChild is the signal that a stopped process is to get: the one it was stopped by, unless that was for us.
func forChild(ws unix.WaitStatus) unix.Signal {
	if sig := ws.StopSignal(); ws.Stopped() && sig != unix.SIGTRAP && sig != unix.SIGTRAP|0x80 && sig != unix.SIGSTOP {
		return sig
	}
	return 0
}

// pinsOver pins over a name that is taken, which stays what it is.
func pinsOver() error {
	m, err := array(1)
	if err != nil {
		return err
	}
	other, err := array(2)
	if err != nil {
		return err
	}
	const name = "/sys/fs/bpf/named"
	if err := m.Pin(name); err != nil {
		return err
	}
	if err := other.Pin(name); !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("over a name: %w", err)
	}
	again, err := ebpf.LoadPinnedMap(name, nil)
	if err != nil {
		return err
	}
	if again.MaxEntries() != 1 {
		return errors.New("the name leads to the other map")
	}
	return os.Remove(name)
}

// whoami says who it is, with whose rights it was started.
func whoami() error {
	fmt.Print(os.Geteuid())
	return nil
}

// times is how often a test does what it does.
func times(t *testing.T, long, short int) {
	if testing.Short() {
		long = short
	}
	t.Setenv("TIMES", strconv.Itoa(long))
}

// Clients that are killed in the middle of things leave nothing behind, in their server either.
func TestKilledMidway(t *testing.T) {
	times(t, 60, 8)
	serveWell(t, "killer")
}

func TestManyThreads(t *testing.T)   { serveWell(t, "threads") }
func TestManySignals(t *testing.T)   { serveWell(t, "signals") }
func TestExecChain(t *testing.T)     { serveWell(t, "chain") }
func TestTraced(t *testing.T)        { serveWell(t, "traced") }
func TestPinOverName(t *testing.T)   { serveWell(t, "pinsOver") }
func TestManyProcesses(t *testing.T) { times(t, 1000, 100); serveWell(t, "crowd") }

// serveWell runs a client that has to succeed and to leave nothing.
func serveWell(t *testing.T, name string) {
	before := files(t)
	sys, code := serveClient(t, name)
	if code != 0 {
		t.Errorf("%s: exit code %d", name, code)
	}
	empty(t, sys)
	if after := files(t); after > before+3 {
		t.Errorf("%s: %d descriptors open, %d before", name, after, before)
	}
}
