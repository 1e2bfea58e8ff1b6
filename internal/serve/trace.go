package serve

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/skep-bpf/skep/internal/run"
)

// TraceLine is what a machine's trace pipe holds: a line a program has traced, or an event.
type TraceLine struct {
	CPU   int
	Time  uint64 // monotonic clock, nanoseconds
	Event string // bpf_trace_printk, xdp_exception
	Text  string // without the newline
}

// Format prints a line as the kernel's trace pipe does; pid is the server's.
func (l TraceLine) Format(pid int) string {
	return fmt.Sprintf("%16s-%-7d [%03d] ..... %5d.%06d: %s: %s", "skep", pid, l.CPU, l.Time/1e9, l.Time/1e3%1e6, l.Event, l.Text)
}

// tracePipeSize is how many lines wait for a reader; then the oldest go.
const tracePipeSize = 16384

// TracePipe keeps what programs trace until it is read, once, as the kernel's trace_pipe.
type TracePipe struct {
	mu    sync.Mutex
	lines []TraceLine
	lost  int
	more  chan struct{} // closed when there is more to read
}

// NewTracePipe makes an empty one.
func NewTracePipe() *TracePipe { return &TracePipe{more: make(chan struct{})} }

// program takes a line of bpf_trace_printk.
func (t *TracePipe) program(l run.TraceLine) {
	text := string(l.Text)
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	t.Add(TraceLine{CPU: l.CPU, Time: l.Time, Event: "bpf_trace_printk", Text: text})
}

// Add puts a line into the pipe.
func (t *TracePipe) Add(l TraceLine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == tracePipeSize {
		t.lines = append(t.lines[:0], t.lines[tracePipeSize/4:]...)
		t.lost += tracePipeSize / 4
	}
	t.lines = append(t.lines, l)
	if len(t.lines) == 1 {
		close(t.more)
		t.more = make(chan struct{})
	}
}

// take returns what is there, or a channel that is closed when there is more.
func (t *TracePipe) take() ([]TraceLine, int, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines, lost := t.lines, t.lost
	t.lines, t.lost = nil, 0
	return lines, lost, t.more
}

// TraceVerb is the verb of the trace pipe; its values are TraceReplies, without end.
const TraceVerb = "trace"

// TraceReply is some lines.
type TraceReply struct {
	PID   int // the server's
	Lost  int `json:",omitempty"` // lines that found no room, before these
	Lines []TraceLine
}

// TraceRequest asks for the trace pipe.
type TraceRequest struct {
	// Now asks only for what is there already.
	Now bool
}

// Serve is the verb.
func (t *TracePipe) Serve(ctx context.Context, r *Request, send func(any) error) error {
	var q TraceRequest
	if err := r.Decode(&q); err != nil {
		return err
	}
	for {
		lines, lost, more := t.take()
		if len(lines) > 0 {
			if err := send(TraceReply{os.Getpid(), lost, lines}); err != nil {
				return err
			}
		}
		if q.Now {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
	}
}
