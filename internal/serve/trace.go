package serve

import (
	"context"
	"fmt"
	"os"
	"slices"
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
	// readers are given lines as they come, the first all of them.
	readers []*traceReader
}

// traceReader is somebody who has the pipe open as a file.
type traceReader struct {
	// write takes a line at once, or says why not.
	write func(line string) traceWritten
}

// traceWritten is what became of a line.
type traceWritten int

const (
	traceTaken traceWritten = iota
	traceFull               // there is no room now
	traceGone               // nobody reads
)

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
	t.push()
	if len(t.lines) == 1 {
		close(t.more)
		t.more = make(chan struct{})
	}
}

// attach has a reader take lines from now on, those that wait first.
func (t *TracePipe) attach(r *traceReader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readers = append(t.readers, r)
	t.push()
}

// detach ends that.
func (t *TracePipe) detach(r *traceReader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readers = slices.DeleteFunc(t.readers, func(other *traceReader) bool { return other == r })
	t.push()
}

// pushed gives readers what waits and reports whether there is room for more.
func (t *TracePipe) pushed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.push()
}

// push is pushed for who holds the lock.
func (t *TracePipe) push() bool {
	for len(t.readers) > 0 && len(t.lines) > 0 {
		text := t.lines[0].Format(os.Getpid()) + "\n"
		if t.lost > 0 {
			text = lostLine(t.lost) + "\n" + text
		}
		switch t.readers[0].write(text) {
		case traceTaken:
			t.lines, t.lost = t.lines[1:], 0
		case traceFull:
			return false
		case traceGone:
			t.readers = t.readers[1:]
		}
	}
	return true
}

// waiting is a channel that is closed when a line finds no reader, or no room.
func (t *TracePipe) waiting() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.more
}

// lostLine says that lines found no room.
func lostLine(n int) string { return fmt.Sprintf("CPU:0 [LOST %d EVENTS]", n) }

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

// Text is the lines as the trace pipe has them.
func (r *TraceReply) Text() (lines []string) {
	if r.Lost > 0 {
		lines = append(lines, lostLine(r.Lost))
	}
	for _, l := range r.Lines {
		lines = append(lines, l.Format(r.PID))
	}
	return lines
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
