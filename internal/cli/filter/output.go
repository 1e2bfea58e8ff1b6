package filter

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/klauspost/compress/zstd"

	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/cli/ui"
)

// errOutput marks errors of the output, which are no fault of the input they
// come up in.
var errOutput = errors.New("cannot write")

// output is the file, or the files, that matching packets go to.
type output struct {
	name  string
	turns *rotation // nil: one file
	live  bool      // what is written shows at once, under its own name

	file  io.WriteCloser // nil before the first packet's file is known
	temp  string         // its name until it is whole, "" where it has its own
	pack  io.WriteCloser // nil for a plain file
	buf   *bufio.Writer
	bytes int64 // in the current file, unpacked

	kind     format
	header   []byte // what every file begins with: of pcapng, the section's blocks so far
	link     uint32 // of a pcap file
	raw      bool   // records of the current input are written as they are
	from     source
	started  bool
	run      []byte // records in a row, not yet written
	scratch  []byte
	sections map[uint32]uint32 // link type → interface, of packets that become blocks
}

// newOutput makes an output of that name; stdout stands for "-".
func newOutput(name string, turns *rotation, live bool, stdout io.Writer) *output {
	o := &output{name: name, turns: turns, live: live}
	if name == "-" {
		o.file = nopCloser{stdout}
	}
	return o
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func (o *output) fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w %s: %w", errOutput, o.name, err)
}

// plainName is the output's name without what says how it is packed.
func (o *output) plainName() string {
	return strings.TrimSuffix(strings.TrimSuffix(o.name, ".gz"), ".zst")
}

// begin prepares for the records of another input. The first one decides the
// kind of file unless the output's name does.
func (o *output) begin(in source, link uint32) error {
	if o.from = in; !o.started {
		switch ext := filepath.Ext(o.plainName()); {
		case ext == ".pcapng":
			o.kind = formatPcapNG
		case pcapNames[ext] || in.format() == formatLive:
			o.kind = formatPcap
		default:
			o.kind = in.format()
		}
		if o.kind == formatPcap {
			o.link = link
			if o.header = in.header(); in.format() == formatPcapNG {
				o.header = appendPcapHeader(nil, true, capture.MaxPacket, link)
			}
		}
		o.started = true
		if err := o.open(); err != nil {
			return err
		}
	}
	switch {
	case o.kind != in.format():
		o.raw = false
	case o.kind == formatPcapNG:
		o.raw = true
	default:
		// Same magic, so same byte order and units; what follows are records.
		o.raw = bytes.Equal(o.header[:4], in.header()[:4])
	}
	if o.kind == formatPcapNG && !o.raw {
		o.header, o.sections = appendSection(nil), map[uint32]uint32{}
		return o.write(o.header)
	}
	return nil
}

// open begins a file.
func (o *output) open() error {
	if o.name != "-" {
		path := o.name
		if o.turns != nil {
			path = o.turns.path(o.name)
		}
		st, err := os.Stat(path)
		own := o.live || o.turns != nil || err == nil && !st.Mode().IsRegular()
		o.temp = ""
		if !own {
			o.temp = filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x", filepath.Base(path), rand.Uint32()))
			path = o.temp
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
		if err != nil {
			o.started = false // nothing is there to complete, or to remove
			return o.fail(ui.Cause(err))
		}
		o.file = f
	}
	o.buf = bufio.NewWriterSize(o.file, 256<<10)
	switch filepath.Ext(o.name) {
	case ".gz":
		o.pack = gzip.NewWriter(o.buf)
	case ".zst":
		z, err := zstd.NewWriter(o.buf, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return o.fail(err)
		}
		o.pack = z
	}
	o.bytes = 0
	return o.write(o.header)
}

// write writes bytes of the current file.
func (o *output) write(b []byte) error {
	o.bytes += int64(len(b))
	var w io.Writer = o.buf
	if o.pack != nil {
		w = o.pack
	}
	_, err := w.Write(b)
	return o.fail(err)
}

// packet writes a record that holds a packet; snap is the most to keep of it.
func (o *output) packet(r *record, snap int) error {
	if o.turns != nil {
		sec, _ := o.from.time(r)
		if turn, err := o.turns.due(sec, o.bytes+int64(len(o.run))); err != nil {
			return err
		} else if turn {
			if err := o.next(); err != nil {
				return err
			}
		}
	}
	if err := o.put(r, snap); err != nil {
		return err
	}
	if o.live {
		return o.flush()
	}
	return nil
}

func (o *output) put(r *record, snap int) error {
	if o.raw && (o.kind == formatPcapNG || r.link == o.link) {
		if snap < len(r.data) {
			if err := o.flushRun(); err != nil {
				return err
			}
			return o.write(o.from.cut(r, snap))
		}
		return o.add(r.raw)
	}
	sec, nsec := o.from.time(r)
	data := r.data[:min(len(r.data), snap)]
	if o.kind == formatPcapNG {
		return o.block(r.link, sec, nsec, data, r.wire)
	}
	if r.link != o.link {
		return o.fail(fmt.Errorf("its packets are of link type %d, this one is of %d: a .pcapng file can hold both", o.link, r.link))
	}
	if o.nano() {
		o.scratch = appendPcapRecord(o.scratch[:0], sec, nsec, data, r.wire)
	} else {
		o.scratch = appendPcapRecord(o.scratch[:0], sec, nsec/1000, data, r.wire)
	}
	if !o.native() {
		swapWords(o.scratch[:pcapRecord])
	}
	return o.write(o.scratch)
}

// nano and native look at the magic of the pcap file that is written.
func (o *output) nano() bool {
	magic := binary.LittleEndian.Uint32(o.header)
	return magic == magicNano || magic == magicNanoSwapped
}

func (o *output) native() bool {
	magic := binary.NativeEndian.Uint32(o.header)
	return magic == magicNano || magic == magicMicro
}

func swapWords(b []byte) {
	for ; len(b) >= 4; b = b[4:] {
		binary.BigEndian.PutUint32(b, binary.LittleEndian.Uint32(b))
	}
}

// add appends a record to the run it follows in memory, or begins another run.
func (o *output) add(raw []byte) error {
	if n := len(o.run); n > 0 && n+len(raw) <= cap(o.run) && unsafe.SliceData(o.run[n:n+1]) == unsafe.SliceData(raw) {
		// Two slices of one array: what follows the run in it is the record.
		o.run = o.run[:n+len(raw)]
		return nil
	}
	if err := o.flushRun(); err != nil {
		return err
	}
	o.run = raw
	return nil
}

// flushRun writes the run, before its bytes go.
func (o *output) flushRun() error {
	if len(o.run) == 0 {
		return nil
	}
	err := o.write(o.run)
	o.run = nil
	return err
}

// passBlock passes on a block that holds no packet.
func (o *output) passBlock(r *record) error {
	if !o.raw || o.kind != formatPcapNG {
		return nil
	}
	switch p := o.from.(*pcapngFile); {
	case binary.LittleEndian.Uint32(r.raw) == blockSection:
		o.header = bytes.Clone(r.raw)
	case p.order.Uint32(r.raw) == blockInterface:
		o.header = append(o.header, r.raw...)
	}
	return o.add(r.raw)
}

// takesBlocks reports whether blocks without packets belong into the output.
func (o *output) takesBlocks() bool {
	return o.started && o.kind == formatPcapNG || !o.started && !pcapNames[filepath.Ext(o.plainName())]
}

// pcapNames are the endings of names of pcap files.
var pcapNames = map[string]bool{".pcap": true, ".cap": true, ".dmp": true}

// block writes a packet of a pcap file into a pcapng file.
func (o *output) block(link uint32, sec, nsec int64, data []byte, wire int) error {
	iface, ok := o.sections[link]
	if !ok {
		iface = uint32(len(o.sections))
		o.sections[link] = iface
		b := appendInterface(nil, link)
		o.header = append(o.header, b...)
		if err := o.write(b); err != nil {
			return err
		}
	}
	o.scratch = appendEnhanced(o.scratch[:0], iface, sec, nsec, data, wire)
	return o.write(o.scratch)
}

func (o *output) flush() error {
	if err := o.flushRun(); err != nil {
		return err
	}
	return o.fail(o.buf.Flush())
}

// next ends the current file and begins another.
func (o *output) next() error {
	if err := o.finish(); err != nil {
		return err
	}
	return o.open()
}

// finish completes the current file.
func (o *output) finish() error {
	err := o.flushRun()
	if o.pack != nil && err == nil {
		err = o.fail(o.pack.Close())
	}
	if err == nil {
		err = o.fail(o.buf.Flush())
	}
	if cerr := o.file.Close(); err == nil {
		err = o.fail(cerr)
	}
	if o.temp != "" && err == nil {
		err = o.fail(ui.Cause(os.Rename(o.temp, o.name)))
	}
	if o.temp != "" && err != nil {
		os.Remove(o.temp)
	}
	o.pack, o.temp = nil, ""
	return err
}

// close completes the output, of which nothing is there if no input began.
func (o *output) close() error {
	if !o.started {
		return nil
	}
	o.started = false
	return o.finish()
}

// abort gives the output up.
func (o *output) abort() {
	if !o.started {
		return
	}
	o.started = false
	o.file.Close()
	if o.temp != "" {
		os.Remove(o.temp)
	}
}
