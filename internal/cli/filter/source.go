package filter

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"github.com/skep-bpf/skep/internal/capture"
)

// format is a kind of capture file.
type format uint8

const (
	formatPcap format = iota
	formatPcapNG
	formatLive // packets of an interface, which are in no file
)

// linkEthernet is LINKTYPE_ETHERNET.
const linkEthernet = 1

// record is a record or block of a file, as it lies there.
type record struct {
	raw  []byte
	data []byte // the packet; nil for a block that has none
	wire int    // its length on the wire
	link uint32 // LINKTYPE_*
}

// source is a file of packets, read record by record. Slices are valid until
// its window moves.
type source interface {
	// next returns the next record; a fault of the content is a *fault, the end
	// of the file io.EOF, an end within a record io.ErrUnexpectedEOF.
	next(*record) error
	// seconds and nanoseconds since 1970 of a record with a packet.
	time(*record) (sec, nsec int64)
	// cut returns a copy of a record whose packet has at most snap bytes.
	cut(r *record, snap int) []byte
	format() format
	// header is what a file of the same kind and byte order begins with.
	header() []byte
}

// input is a file being read.
type input struct {
	name    string
	source  source
	window  *window
	packed  bool
	size    int64        // on disk, 0 if not known
	read    atomic.Int64 // of it, in bytes; looked at by the progress bar
	packets int
	closers []io.Closer
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// open opens a capture, "-" being stdin.
func open(name string, stdin io.Reader) (_ *input, err error) {
	in := &input{name: name}
	var file io.Reader = stdin
	if name == "-" {
		in.name = "stdin"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		in.closers = append(in.closers, f)
		if in.size, err = capture.Size(f); err != nil {
			in.close()
			return nil, err
		}
		file = f
	}
	defer func() {
		if err != nil {
			in.close()
		}
	}()
	in.window = newWindow(counted{file, &in.read})
	if err := in.unpack(); err != nil {
		return nil, in.fail(err)
	}
	head, err := in.window.peek(4)
	if err != nil {
		return nil, in.fail(notCapture(head, err))
	}
	switch magic := binary.LittleEndian.Uint32(head); magic {
	case magicMicro, magicNano:
		in.source, err = newPcapFile(in.window, binary.LittleEndian, magic == magicNano)
	case magicMicroSwapped, magicNanoSwapped:
		in.source, err = newPcapFile(in.window, binary.BigEndian, magic == magicNanoSwapped)
	case blockSection:
		in.source = &pcapngFile{w: in.window}
	default:
		err = &fault{capture.ErrFormat, fmt.Sprintf("begins with % x", head[:4])}
	}
	if err != nil {
		return nil, in.fail(err)
	}
	return in, nil
}

// Magic numbers of the first four bytes, read as little-endian.
const (
	magicMicro        = 0xa1b2c3d4
	magicNano         = 0xa1b23c4d
	magicMicroSwapped = 0xd4c3b2a1
	magicNanoSwapped  = 0x4d3cb2a1
	blockSection      = 0x0a0d0d0a
)

func notCapture(head []byte, err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if len(head) == 0 {
		return &fault{capture.ErrFormat, "it is empty"}
	}
	return &fault{capture.ErrFormat, fmt.Sprintf("it has %d bytes", len(head))}
}

// unpack puts an unpacker between file and window where the file is packed.
func (in *input) unpack() error {
	head, _ := in.window.peek(4)
	rest := func() io.Reader {
		seen := bytes.Clone(in.window.buf[in.window.start:in.window.end])
		return bufio.NewReaderSize(io.MultiReader(bytes.NewReader(seen), in.window.src), 256<<10)
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(rest())
		if err != nil {
			return err
		}
		in.closers = append(in.closers, z)
		in.window = newWindow(z)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(rest(), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return err
		}
		in.closers = append(in.closers, z.IOReadCloser())
		in.window = newWindow(z)
	default:
		return nil
	}
	in.packed = true
	return nil
}

func (in *input) close() {
	for i := len(in.closers) - 1; i >= 0; i-- {
		in.closers[i].Close()
	}
}

// next reads a record. Behind the last it returns io.EOF; faults are
// *capture.Errors.
func (in *input) next(r *record) error {
	err := in.source.next(r)
	if err != nil {
		return in.fail(err)
	}
	if r.data != nil {
		in.packets++
	}
	return nil
}

// fail makes the error a user sees.
func (in *input) fail(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	e := &capture.Error{Name: in.name, Packed: in.packed, Packet: in.packets, Offset: in.window.offset}
	var f *fault
	switch {
	case errors.As(err, &f):
		e.Err, e.Reason = f.err, f.reason
	case errors.Is(err, io.ErrUnexpectedEOF):
		e.Err, e.Reason = capture.ErrTruncated, "it ends within the record that begins here"
	case errors.Is(err, errOutput):
		return err
	default:
		e.Err, e.Reason = capture.ErrDamaged, err.Error()
	}
	return e
}
