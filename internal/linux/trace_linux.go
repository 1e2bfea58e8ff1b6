package linux

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// traceDir is where tracefs is mounted (Documentation/trace/ftrace.rst).
const traceDir = "/sys/kernel/tracing"

// traceEvent is the tracepoint behind bpf_trace_printk.
const traceEvent = "bpf_trace_printk"

// Trace collects what programs print with bpf_trace_printk and its kin, in a
// tracing instance of its own: readers of the common trace_pipe lose nothing.
// Only programs that run on the given thread are heard.
type Trace struct {
	dir  string
	pipe *os.File
	rest string // a line not yet complete
}

// OpenTrace starts to collect from the thread tid. It needs tracefs.
func OpenTrace(tid int) (*Trace, error) {
	dir, err := os.MkdirTemp(filepath.Join(traceDir, "instances"), "skep-")
	if err != nil {
		return nil, fmt.Errorf("tracefs: %w", err)
	}
	t := &Trace{dir: dir}
	if err := t.start(tid); err != nil {
		t.Close()
		return nil, fmt.Errorf("tracefs: %w", err)
	}
	return t, nil
}

func (t *Trace) start(tid int) error {
	for _, set := range []struct{ file, value string }{
		{"set_event_pid", fmt.Sprint(tid)},
		{"events/bpf_trace/" + traceEvent + "/enable", "1"},
	} {
		if err := os.WriteFile(filepath.Join(t.dir, set.file), []byte(set.value), 0); err != nil {
			return err
		}
	}
	var err error
	t.pipe, err = os.OpenFile(filepath.Join(t.dir, "trace_pipe"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	return err
}

// Lines returns what was printed since the last call, without the tracer's
// prefix (task, CPU, time).
//
//	skep-4684    [000] b..11  2232.965613: bpf_trace_printk: port 0
func (t *Trace) Lines() ([]string, error) {
	raw, err := t.pipe.SyscallConn()
	if err != nil {
		return nil, err
	}
	var lines []string
	buf := make([]byte, 64<<10)
	for {
		var n int
		var rerr error
		// Control, not Read: an empty pipe must answer EAGAIN, not wait.
		if err := raw.Control(func(fd uintptr) { n, rerr = syscall.Read(int(fd), buf) }); err != nil {
			return lines, err
		}
		if rerr == syscall.EINTR {
			continue
		}
		if rerr == syscall.EAGAIN || n <= 0 {
			return lines, nil
		}
		if rerr != nil {
			return lines, rerr
		}
		text := t.rest + string(buf[:n])
		for {
			line, rest, whole := strings.Cut(text, "\n")
			if !whole {
				t.rest = text
				break
			}
			if _, message, ok := strings.Cut(line, ": "+traceEvent+": "); ok {
				lines = append(lines, message)
			} else if line != "" && !strings.HasPrefix(line, "CPU:") {
				// A message's second line; not the empty one that a message's own
				// newline makes, and not the "CPU:1 [LOST 3 EVENTS]" of the tracer.
				lines = append(lines, line)
			}
			text = rest
		}
	}
}

// Close ends the collection and removes the instance.
func (t *Trace) Close() error {
	if t.pipe != nil {
		t.pipe.Close()
	}
	return os.Remove(t.dir)
}
