package filter

import (
	"errors"
	"fmt"
	"io"

	"github.com/skep-bpf/skep/internal/capture"
)

// Sizes of the window on a file, in bytes: what is read at a time, and the most
// one record or block may take.
const (
	windowSize = 256 << 10
	maxRecord  = 16 << 20
)

// window is a moving view of a stream. Records are looked at where they were
// read, so that those that pass can be written from there, many in one go.
//
//	 buf    start             end        cap
//	┌──────┬─────────────────┬──────────┐
//	│ done │ read, not yet   │ room     │
//	│      │ taken           │          │
//	└──────┴─────────────────┴──────────┘
type window struct {
	src        io.Reader
	buf        []byte
	start, end int
	offset     int64 // of buf[start] in the stream
	// moving is called before bytes that were taken change their place or go.
	moving func() error
}

func newWindow(src io.Reader) *window {
	return &window{src: src, buf: make([]byte, windowSize), moving: func() error { return nil }}
}

// peek returns at least n bytes from start on. At the end of the stream there
// are fewer, with io.EOF for none and io.ErrUnexpectedEOF for some.
func (w *window) peek(n int) ([]byte, error) {
	if w.end-w.start >= n {
		return w.buf[w.start:w.end], nil
	}
	return w.fill(n)
}

func (w *window) fill(n int) ([]byte, error) {
	if n > maxRecord {
		return nil, damaged("a record of %d bytes, more than any program writes", n)
	}
	if err := w.moving(); err != nil {
		return nil, err
	}
	to := w.buf
	if n > len(to) {
		to = make([]byte, n+windowSize)
	}
	w.end = copy(to, w.buf[w.start:w.end])
	w.buf, w.start = to, 0
	for w.end < n {
		m, err := w.src.Read(w.buf[w.end:])
		w.end += m
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) && w.end >= n {
			break
		}
		if errors.Is(err, io.EOF) && w.end > 0 {
			err = io.ErrUnexpectedEOF
		}
		return w.buf[:w.end], err
	}
	return w.buf[:w.end], nil
}

// take returns the next n bytes, which have been peeked at, and goes on behind
// them. They stay where they are until moving is called.
func (w *window) take(n int) []byte {
	b := w.buf[w.start : w.start+n : len(w.buf)]
	w.start += n
	w.offset += int64(n)
	return b
}

// fault is what is wrong with a file's content, without its name and place.
type fault struct {
	err    error // a sentinel of package capture
	reason string
}

func (f *fault) Error() string { return f.reason }

func damaged(format string, args ...any) error {
	return &fault{capture.ErrDamaged, fmt.Sprintf(format, args...)}
}
