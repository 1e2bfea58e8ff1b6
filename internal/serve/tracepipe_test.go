//go:build linux && (amd64 || arm64)

package serve

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/oracle"
)

// tracer traces the first word of what it is run on.
func tracer() (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadAbs(0, asm.Word),
		asm.Mov.Reg(asm.R3, asm.R0),
		asm.StoreImm(asm.RFP, -8, 'n'|' '<<8|'%'<<16|'d'<<24, asm.Word), // "n %d"
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, -8),
		asm.Mov.Imm(asm.R2, 8),
		asm.FnTracePrintk.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}})
}

func init() {
	clients["trace"] = func() error {
		prog, err := tracer()
		if err != nil {
			return err
		}
		run := func(n int) error {
			data := make([]byte, 64)
			data[14+2], data[14+3] = byte(n>>8), byte(n)
			_, err := prog.Run(&ebpf.RunOptions{Data: data})
			return err
		}
		open := func(flags int) (*os.File, error) {
			fd, err := unix.Open("/sys/kernel/tracing/trace_pipe", unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
			if err != nil {
				return nil, err
			}
			return os.NewFile(uintptr(fd), "trace_pipe"), nil
		}
		// A line is there when the run that traced it is over.
		now, err := open(unix.O_NONBLOCK)
		if err != nil {
			return err
		}
		if n, err := unix.Read(int(now.Fd()), make([]byte, 100)); !errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("an empty pipe: %d, %w", n, err)
		}
		if err := run(7); err != nil {
			return err
		}
		buf := make([]byte, 1000)
		n, err := unix.Read(int(now.Fd()), buf)
		if err != nil || !strings.HasSuffix(string(buf[:n]), ": bpf_trace_printk: n 7\n") {
			return fmt.Errorf("%q, %w", buf[:max(n, 0)], err)
		}
		now.Close()
		if fd, err := unix.Open("/sys/kernel/tracing/trace_pipe", unix.O_WRONLY, 0); !errors.Is(err, unix.EACCES) {
			return fmt.Errorf("opened to write: %d, %w", fd, err)
		}
		// What finds no room in the pipe comes when there is some, in order.
		all, err := open(0)
		if err != nil {
			return err
		}
		const lines = 3000
		for i := range lines {
			if err := run(i); err != nil {
				return err
			}
		}
		in := bufio.NewScanner(all)
		for i := range lines {
			if !in.Scan() || !strings.HasSuffix(in.Text(), fmt.Sprintf(": n %d", i)) {
				return fmt.Errorf("line %d is %q, %w", i, in.Text(), in.Err())
			}
		}
		all.Close()
		return nil
	}
}

// The kernel's trace pipe is the machine's for served programs.
func TestTracePipe(t *testing.T) {
	oracle.Need(t, "interception of system calls", Available())
	sys, code := serveClient(t, "trace")
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	empty(t, sys)
}

// A reader ends when its end of the pipe is closed, and when the server ends.
func TestTraceReadersEnd(t *testing.T) {
	for _, closed := range []bool{true, false} {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		unix.SetNonblock(ends[1], true)
		s := &server{trace: NewTracePipe(), ended: make(chan struct{})}
		w := os.NewFile(uintptr(ends[1]), "trace_pipe")
		r := &traceReader{write: func(line string) traceWritten { return writeLine(w, line) }}
		s.trace.attach(r)
		if closed {
			defer unix.Close(ends[0])
			close(s.ended)
		} else {
			unix.Close(ends[0])
		}
		s.feed(w, r)
		s.trace.Add(TraceLine{Text: "nobody reads this"})
		if lines, _, _ := s.trace.take(); len(lines) != 1 {
			t.Errorf("who has gone has read %d lines", 1-len(lines))
		}
	}
}
