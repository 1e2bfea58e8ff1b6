package capture

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/klauspost/compress/zstd"
)

// Writer writes Ethernet frames to a capture file. The file appears under its
// name when Commit succeeds and not before: a run that fails leaves nothing
// there, and an older file of that name stays what it was.
type Writer struct {
	name   string
	file   *os.File // nil for a caller's stream
	rename bool     // file is temporary and becomes name
	buf    *bufio.Writer
	pack   io.WriteCloser // nil for a plain file
	packet func(gopacket.CaptureInfo, []byte) error
	flush  func() error // nil where the format keeps nothing back
}

// Create starts the capture file name in the format its ending asks for:
// .pcapng, else pcap with nanoseconds; .gz or .zst behind it packs.
func Create(name string) (*Writer, error) {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real // a link stays one
	}
	st, err := os.Stat(name)
	if err == nil && st.IsDir() {
		return nil, fmt.Errorf("%s: is a directory", name)
	}
	device := err == nil && !st.Mode().IsRegular() // or a pipe: nothing to rename
	path := name
	if !device {
		path = filepath.Join(filepath.Dir(name), fmt.Sprintf(".%s.%08x", filepath.Base(name), rand.Uint32()))
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, reason(err))
	}
	w, err := NewWriter(name, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	w.file, w.rename = f, !device
	return w, nil
}

// reason is what is wrong, without the temporary file's name.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// NewWriter writes to a stream in the format that name asks for.
func NewWriter(name string, stream io.Writer) (*Writer, error) {
	w := &Writer{name: name, buf: bufio.NewWriterSize(stream, bufferSize)}
	var to io.Writer = w.buf
	plain := name
	switch filepath.Ext(name) {
	case ".gz":
		w.pack = gzip.NewWriter(to)
		plain = strings.TrimSuffix(name, ".gz")
	case ".zst":
		z, err := zstd.NewWriter(to, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, w.fail(err)
		}
		w.pack = z
		plain = strings.TrimSuffix(name, ".zst")
	}
	if w.pack != nil {
		to = w.pack
	}
	if filepath.Ext(plain) == ".pcapng" {
		ng, err := pcapgo.NewNgWriterInterface(to,
			pcapgo.NgInterface{LinkType: Ethernet, SnapLength: MaxPacket},
			pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "skep"}})
		if err != nil {
			return nil, w.fail(err)
		}
		w.packet, w.flush = ng.WritePacket, ng.Flush
		return w, nil
	}
	p := pcapgo.NewWriterNanos(to)
	if err := p.WriteFileHeader(MaxPacket, Ethernet); err != nil {
		return nil, w.fail(err)
	}
	w.packet = p.WritePacket
	return w, nil
}

// fail names the file in an error of the stream below.
func (w *Writer) fail(err error) error { return fmt.Errorf("%s: %w", w.name, err) }

// Write appends data as one packet with p's time; p.Length is at least len(data)
// or counts as len(data).
func (w *Writer) Write(p Packet, data []byte) error {
	if len(data) > MaxPacket {
		return w.fail(fmt.Errorf("a packet of %d bytes, more than the %d a capture can have", len(data), MaxPacket))
	}
	ci := gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(data), Length: max(p.Length, len(data))}
	if ci.Timestamp.IsZero() { // pcapgo would take today's
		ci.Timestamp = time.Unix(0, 0)
	}
	if err := w.packet(ci, data); err != nil {
		return w.fail(err)
	}
	return nil
}

// Commit completes the file and gives it its name.
func (w *Writer) Commit() error {
	err := w.finish()
	if w.file == nil {
		return err
	}
	if cerr := w.file.Close(); err == nil && cerr != nil {
		err = w.fail(cerr)
	}
	if err == nil && w.rename {
		err = os.Rename(w.file.Name(), w.name)
	}
	if err != nil {
		w.remove()
	}
	w.file = nil
	return err
}

func (w *Writer) remove() {
	if w.rename {
		os.Remove(w.file.Name())
	}
}

func (w *Writer) finish() error {
	if w.flush != nil {
		if err := w.flush(); err != nil {
			return w.fail(err)
		}
	}
	if w.pack != nil {
		if err := w.pack.Close(); err != nil {
			return w.fail(err)
		}
	}
	if err := w.buf.Flush(); err != nil {
		return w.fail(err)
	}
	return nil
}

// Abort drops the file; behind Commit it does nothing.
func (w *Writer) Abort() {
	if w.file == nil {
		return
	}
	w.file.Close()
	w.remove()
	w.file = nil
}
