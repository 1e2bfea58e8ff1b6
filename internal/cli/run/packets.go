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
	bulk     *bulk           // nil where packets are run one by one
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
// reader that keeps up would. It is also how many packets at most are run together.
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
	if w.bulk, err = w.newBulk(); err != nil {
		return err
	}
	if w.bulk != nil {
		defer w.bulk.Close()
	}
	if len(w.o.Pcaps) == 0 {
		if err := w.packet("", 1, capture.Packet{Data: make([]byte, 64), Length: 64, LinkType: capture.Ethernet}); err != nil {
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
		if w.o.Limit > 0 && w.total.Packets+w.waiting() == w.o.Limit {
			if err := w.flush(); err != nil {
				return err
			}
			return errLimit
		}
		p, err := r.Next()
		if err != nil {
			if flushed := w.flush(); flushed != nil || errors.Is(err, io.EOF) {
				return flushed
			}
			return &inputError{err}
		}
		if err := w.packet(name, n, p); err != nil {
			return err
		}
		if n%traceEvery == 0 {
			if err := errors.Join(w.flush(), w.traced()); err != nil {
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

// packet runs the program on one packet, number n of a file, and counts the outcome, or
// lets it wait for others.
func (w *work) packet(name string, n int, p capture.Packet) error {
	frame, err := p.Frame(w.frame)
	if err != nil {
		return errors.Join(w.flush(), atPacket(name, n, &inputError{err}))
	}
	if p.LinkType != capture.Ethernet {
		w.frame = frame
	}
	now := waiting{file: name, number: n, time: p.Time, size: len(frame), cut: p.Length - len(p.Data)}
	var res engine.Result
	if w.bulk != nil {
		err = w.bulk.add(now, frame)
	} else {
		res, err = w.prog.Run(frame, p.Time)
	}
	switch {
	case errors.Is(err, engine.ErrNotRun):
		w.total.add(notRun, len(frame), 0)
		return nil
	case err != nil:
		return errors.Join(w.flush(), atPacket(name, n, err))
	case w.bulk != nil:
		return nil
	}
	return atPacket(name, n, w.outcome(&now, res, frame))
}

// atPacket says which packet an error belongs to.
func atPacket(name string, n int, err error) error {
	if err == nil || name == "" {
		return err
	}
	return fmt.Errorf("%s: packet %d: %w", ui.InputName(name), n, err)
}

// outcome counts what became of a packet, and writes it out if it passed. frame is
// the packet as it was, which only filters need.
func (w *work) outcome(p *waiting, res engine.Result, frame []byte) error {
	v := w.verdicts(res.Ret, p.size)
	w.total.add(v, p.size, res.Took)
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
	return w.out.Write(capture.Packet{Time: p.time, Length: len(res.Data) + p.cut}, data)
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
