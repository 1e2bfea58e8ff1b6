package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// Reader streams the packets of one capture file.
type Reader struct {
	name    string
	file    io.Closer // nil when the caller owns the stream
	raw     *counter  // the file as it lies on disk
	size    int64
	packed  bool
	unpack  io.Closer // nil for a plain file
	format  format
	packets int
	err     error // what ended the stream
}

// format is a file format's part of a Reader.
type format interface {
	// next returns the next packet; a fault is a *fault, the end io.EOF.
	next() (Packet, error)
	// offset is where the record or block that next reads begins.
	offset() int64
}

// fault is an Error before the Reader adds the file's name and the position.
type fault struct {
	err    error
	reason string
}

func (f *fault) Error() string { return f.reason }

func damaged(format string, args ...any) error {
	return &fault{ErrDamaged, fmt.Sprintf(format, args...)}
}

// counter counts the bytes read through it; progress reads it from another goroutine.
type counter struct {
	io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Open opens the capture file name.
func Open(name string) (*Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	size, err := Size(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	r, err := NewReader(name, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.file, r.size = f, size
	return r, nil
}

// Size returns how many bytes a file has, 0 where that is not known, as of a
// pipe. A directory is an error.
func Size(f *os.File) (int64, error) {
	st, err := f.Stat()
	switch {
	case err != nil:
		return 0, err
	case st.IsDir():
		return 0, fmt.Errorf("%s: is a directory", f.Name())
	case !st.Mode().IsRegular():
		return 0, nil
	}
	return st.Size(), nil
}

// bufferSize is how much of a file is read at a time, in bytes.
const bufferSize = 256 << 10

// NewReader reads a capture from a stream; name is for errors.
func NewReader(name string, stream io.Reader) (*Reader, error) {
	r := &Reader{name: name, raw: &counter{Reader: stream}}
	br := bufio.NewReaderSize(r.raw, bufferSize)
	br, err := r.unpacked(br)
	if err == nil {
		r.format, err = newFormat(br)
	}
	if err != nil {
		r.closeUnpacker()
		return nil, r.fail(err)
	}
	return r, nil
}

// Magic numbers, as they lie in the first four bytes read as little-endian.
const (
	magicMicro     = 0xa1b2c3d4
	magicNano      = 0xa1b23c4d
	magicMicroSwap = 0xd4c3b2a1
	magicNanoSwap  = 0x4d3cb2a1
	magicNG        = 0x0a0d0d0a
)

// newFormat chooses the format by the stream's first four bytes.
func newFormat(br *bufio.Reader) (format, error) {
	head, err := br.Peek(4)
	if len(head) < 4 {
		return nil, &fault{ErrFormat, shortReason(len(head), err)}
	}
	switch magic := binary.LittleEndian.Uint32(head); magic {
	case magicMicro, magicNano, magicMicroSwap, magicNanoSwap:
		return newPcap(br)
	case magicNG:
		return newPcapNG(br)
	default:
		return nil, &fault{ErrFormat, fmt.Sprintf("begins with % x", head)}
	}
}

func shortReason(n int, err error) string {
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	if n == 0 {
		return "it is empty"
	}
	return fmt.Sprintf("it has %d bytes", n)
}

// Next returns the next packet, io.EOF behind the last, or an *Error where the
// file is at fault; every call after that returns the same error.
func (r *Reader) Next() (Packet, error) {
	if r.err != nil {
		return Packet{}, r.err
	}
	p, err := r.format.next()
	if err != nil {
		r.err = r.fail(err)
		return Packet{}, r.err
	}
	r.packets++
	return p, nil
}

// fail makes the error a caller sees of what a format or the stream said.
func (r *Reader) fail(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	e := &Error{Name: r.name, Packed: r.packed, Packet: r.packets}
	if r.format != nil {
		e.Offset = r.format.offset()
	}
	var f *fault
	switch {
	case errors.As(err, &f):
		e.Err, e.Reason = f.err, f.reason
	case errors.Is(err, io.ErrUnexpectedEOF):
		e.Err, e.Reason = ErrTruncated, "it ends within the packet that begins here"
	default: // the disk's or the unpacker's own
		e.Err, e.Reason = ErrDamaged, err.Error()
	}
	return e
}

// Pos returns how many bytes of the file have been read. It may be called from any goroutine.
func (r *Reader) Pos() int64 { return r.raw.n.Load() }

// Size returns how many bytes the file has, 0 when that is not known (a pipe).
func (r *Reader) Size() int64 { return r.size }

// Close closes the file.
func (r *Reader) Close() error {
	r.closeUnpacker()
	if r.file != nil {
		return r.file.Close()
	}
	return nil
}

func (r *Reader) closeUnpacker() {
	if r.unpack != nil {
		r.unpack.Close()
		r.unpack = nil
	}
}
