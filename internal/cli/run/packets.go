package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/cli/engine"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// work is one run on its way.
type work struct {
	o        *Options
	s        *ui.Streams
	img      *image.Image
	coll     engine.Collection
	prog     engine.Program
	verdicts func(uint32, int) verdict
	total    *totals
	out      *capture.Writer // nil without --out
	frame    []byte          // room for packets that are no Ethernet frames

	// For the progress bar, which looks on from another goroutine.
	reader atomic.Pointer[capture.Reader]
	before atomic.Int64 // bytes of the files done with
	size   int64        // of all files, 0 when not known
}

// inputError is a fault of a capture: packets before it were run.
type inputError struct{ error }

func (e *inputError) Unwrap() error { return e.error }

// traceEvery is after how many packets traced lines and events are fetched: as a
// reader that keeps up would.
const traceEvery = 64

// packets runs the program on all packets, and completes the output file when
// nothing went wrong.
func (w *work) packets(ctx context.Context) (err error) {
	if w.o.Out != "" {
		if w.out, err = w.create(); err != nil {
			return err
		}
		defer w.out.Abort()
	}
	if len(w.o.Pcaps) == 0 {
		if err := w.packet(capture.Packet{Data: make([]byte, 64), Length: 64, LinkType: capture.Ethernet}); err != nil {
			return err
		}
	}
	for _, name := range w.o.Pcaps {
		if err := w.file(ctx, name); errors.Is(err, errLimit) {
			break
		} else if err != nil {
			return errors.Join(err, w.traced())
		}
	}
	if err := w.traced(); err != nil {
		return err
	}
	if w.out != nil {
		return w.out.Commit()
	}
	return nil
}

// errLimit ends a run at --count packets.
var errLimit = errors.New("enough packets")

func (w *work) file(ctx context.Context, name string) error {
	r, err := w.open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	w.reader.Store(r)
	defer func() {
		w.reader.Store(nil)
		w.before.Add(r.Pos())
	}()
	for n := 1; ; n++ {
		if w.o.Limit > 0 && w.total.Packets == w.o.Limit {
			return errLimit
		}
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &inputError{err}
		}
		if err := w.packet(p); err != nil {
			return fmt.Errorf("%s: packet %d: %w", ui.InputName(name), n, err)
		}
		if n%traceEvery == 0 {
			if err := w.traced(); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return &inputError{fmt.Errorf("%s: interrupted after %d packets", ui.InputName(name), n)}
			}
		}
	}
}

// open and create take "-" for the standard streams.
func (w *work) open(name string) (*capture.Reader, error) {
	if name == "-" {
		return capture.NewReader("stdin", w.s.In)
	}
	return capture.Open(name)
}

func (w *work) create() (*capture.Writer, error) {
	if w.o.Out == "-" {
		return capture.NewWriter("stdout", w.s.Out)
	}
	return capture.Create(w.o.Out)
}

// packet runs the program on one packet and counts the outcome.
func (w *work) packet(p capture.Packet) error {
	frame, err := p.Frame(w.frame)
	if err != nil {
		return &inputError{err}
	}
	if p.LinkType != capture.Ethernet {
		w.frame = frame
	}
	res, err := w.prog.Run(frame, p.Time)
	if errors.Is(err, engine.ErrNotRun) {
		w.total.add(notRun, len(frame), 0)
		return nil
	}
	if err != nil {
		return err
	}
	v := w.verdicts(res.Ret, len(frame))
	w.total.add(v, len(frame), res.Took)
	if w.out == nil || !v.pass {
		return nil
	}
	data := res.Data
	if v.keep >= 0 {
		// Filters change nothing; a test run hands their packets back without the link header's bytes.
		data = frame[:min(v.keep, len(frame))]
		res.Data = frame
	}
	// What the capture had cut off is still missing.
	cut := p.Length - len(p.Data)
	return w.out.Write(capture.Packet{Time: p.Time, Length: len(res.Data) + cut}, data)
}

// traced fetches what the program printed and wrote to user space.
func (w *work) traced() error {
	lines, err := w.coll.Traced()
	if err != nil {
		return err
	}
	w.total.trace(lines, w.o.Max)
	return w.coll.Events(func(m *image.Map, record []byte, lost uint64) {
		w.total.event(m, record, lost, w.o.Max)
	})
}

// startProgress shows how much of the files is read; the returned function ends it.
func (w *work) startProgress() (stop func()) {
	w.size = totalSize(w.o.Pcaps)
	start := time.Now()
	p := w.s.NewProgress(func() (int64, int64) {
		done := w.before.Load()
		if r := w.reader.Load(); r != nil {
			done += r.Pos()
		}
		return done, w.size
	})
	return func() {
		p.Stop()
		w.total.Elapsed = time.Since(start)
	}
}

// totalSize is how many bytes the files have together, 0 when one cannot say.
func totalSize(names []string) int64 {
	var sum int64
	for _, name := range names {
		st, err := os.Stat(name)
		if name == "-" || err != nil || !st.Mode().IsRegular() {
			return 0
		}
		sum += st.Size()
	}
	return sum
}
