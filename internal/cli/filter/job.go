package filter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"sync/atomic"
	"time"

	"github.com/skep-bpf/skep/classic"
	"github.com/skep-bpf/skep/internal/capture"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/sweep"
	"github.com/skep-bpf/skep/lang/pcap"
)

// job is one run on its way.
type job struct {
	s       *ui.Streams
	o       *Options
	out     *output  // nil without --write
	printer *printer // nil with --write or --count

	links   map[uint32]*classic.VM // compiled, by LINKTYPE_*
	packets uint64
	matched uint64
	dropped *uint64 // by the kernel, of an interface's packets; nil where nobody counts
	begun   bool    // the output knows of the current file
	aux     classic.Aux
	rec     record         // that matches
	sweeper *sweep.Sweeper // of the current file, nil where it is swept in Go

	// For the progress bar, which looks on from another goroutine.
	current atomic.Pointer[input]
	before  atomic.Int64 // bytes of the files done with
	size    int64        // of all files, 0 when not known
	start   time.Time
}

func newJob(s *ui.Streams, o *Options) *job {
	return &job{s: s, o: o, links: map[uint32]*classic.VM{}, start: time.Now()}
}

// inputError is a fault of a capture: what matched before it is kept.
type inputError struct{ error }

func (e *inputError) Unwrap() error { return e.error }

// files reads all captures.
func (j *job) files(ctx context.Context) error {
	names := j.o.Inputs
	if len(names) == 0 {
		names = []string{"-"}
	}
	if j.o.linkGiven {
		// A wrong expression is better told before the first file is read.
		if _, err := j.o.compile(j.s, j.o.link, &pcap.Options{Source: pcap.File}); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := j.file(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) file(ctx context.Context, name string) error {
	in, err := open(name, j.s.In)
	if err != nil {
		return err
	}
	defer in.close()
	j.current.Store(in)
	defer func() {
		j.current.Store(nil)
		j.before.Add(in.read.Load())
	}()
	if j.out != nil {
		in.window.moving = j.out.flushRun
	}
	j.begun = false
	if p, ok := in.source.(*pcapFile); ok {
		if _, err := j.vm(p.link); err != nil {
			return err
		}
		if err := j.begin(in, p.link); err != nil {
			return err
		}
	}
	err = j.records(ctx, in)
	if j.out != nil {
		// The next file's bytes lie elsewhere.
		err = errors.Join(err, j.out.flushRun())
	}
	return err
}

// begin prepares the output for the file's records, once for each file.
func (j *job) begin(in *input, link uint32) error {
	if j.out == nil || j.begun {
		return nil
	}
	j.begun = true
	return j.out.begin(in.source, link)
}

// records filters a file's records.
func (j *job) records(ctx context.Context, in *input) error {
	var r record
	var vm *classic.VM
	link := uint32(0)
	file, isPcap := in.source.(*pcapFile)
	if isPcap {
		native, err := j.native(file)
		if err != nil {
			return err
		}
		if native != nil {
			defer native.Close()
		}
		j.sweeper = native
	}
	for n := 1; ; n++ {
		if isPcap && vm != nil {
			sweep := j.sweep
			if j.sweeper != nil {
				sweep = j.sweepNative
			}
			if err := sweep(in, file, vm); err != nil {
				return err
			}
			n, link = 0, file.link
			if ctx.Err() != nil {
				return &inputError{fmt.Errorf("%s: interrupted after %d packets", in.name, in.packets)}
			}
		}
		err := in.next(&r)
		switch {
		case errors.Is(err, io.EOF):
			return j.begin(in, linkEthernet) // of a file without packets
		case errors.Is(err, errOutput):
			return err
		case err != nil:
			return &inputError{err}
		}
		if r.data == nil {
			if err := j.block(in, &r); err != nil {
				return err
			}
			continue
		}
		if vm == nil || r.link != link {
			if vm, err = j.vm(r.link); err != nil {
				return err
			}
			if err := j.begin(in, r.link); err != nil {
				return err
			}
			link = r.link
		}
		j.packets++
		j.aux.Length = r.wire
		if vm.Run(r.data, &j.aux) != 0 {
			if err := j.match(in.source, &r); err != nil {
				return err
			}
		}
		if n%4096 == 0 && ctx.Err() != nil {
			return &inputError{fmt.Errorf("%s: interrupted after %d packets", in.name, in.packets)}
		}
	}
}

// sweep filters the records of a pcap file that lie whole in its window, which
// is all but one in some hundred: what takes the time of a large file.
func (j *job) sweep(in *input, file *pcapFile, vm *classic.VM) error {
	w := in.window
	for {
		b := w.buf[w.start:w.end]
		if len(b) < pcapRecord {
			return nil
		}
		captured, wire := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
		if file.swap {
			captured, wire = bits.ReverseBytes32(captured), bits.ReverseBytes32(wire)
		}
		if captured > capture.MaxPacket || int(captured) > len(b)-pcapRecord {
			return nil // for next to judge
		}
		n := pcapRecord + int(captured)
		w.start += n
		w.offset += int64(n)
		in.packets++
		j.packets++
		j.aux.Length = int(wire)
		if vm.Run(b[pcapRecord:n], &j.aux) == 0 {
			continue
		}
		// Its capacity reaches on, so that a run can grow over the next.
		j.rec = record{raw: b[:n:cap(b)], data: b[pcapRecord:n], wire: int(wire), link: file.link}
		if err := j.match(file, &j.rec); err != nil {
			return err
		}
	}
}

// native makes the native code of what sweep does where records that match are
// only written as they are, or counted; else it returns nil.
func (j *job) native(file *pcapFile) (*sweep.Sweeper, error) {
	plain := j.o.Count || j.out != nil && j.out.raw && j.out.link == file.link && j.out.turns == nil && !j.out.live
	if !plain || j.o.Limit > 0 || j.o.Snaplen < capture.MaxPacket {
		return nil, nil
	}
	prog, err := j.program(file.link)
	if err != nil {
		return nil, err
	}
	s, err := sweep.New(prog, file.swap, capture.MaxPacket)
	if errors.Is(err, sweep.ErrUnfit) {
		return nil, nil
	}
	return s, err
}

// sweepNative is sweep in native code.
func (j *job) sweepNative(in *input, _ *pcapFile, _ *classic.VM) error {
	w := in.window
	for {
		r, err := j.sweeper.Sweep(w.buf[:w.end], w.start)
		if err != nil {
			return err
		}
		moved := r.Next - w.start
		w.start = r.Next
		w.offset += int64(moved)
		in.packets += r.Packets
		j.packets += uint64(r.Packets)
		j.matched += uint64(r.Matched)
		if moved == 0 {
			return nil
		}
		if j.out != nil && r.End > r.Start {
			if err := j.out.add(w.buf[r.Start:r.End]); err != nil {
				return err
			}
		}
	}
}

// block passes a block without a packet on, where the output is made of blocks.
func (j *job) block(in *input, r *record) error {
	if j.out == nil || !j.out.takesBlocks() {
		return nil
	}
	if err := j.begin(in, linkEthernet); err != nil {
		return err
	}
	return j.out.passBlock(r)
}

// match writes, prints or counts a packet.
func (j *job) match(from source, r *record) error {
	j.matched++
	switch {
	case j.out != nil:
		if err := j.out.packet(r, j.o.Snaplen); err != nil {
			j.matched--
			return err
		}
	case j.printer != nil:
		sec, nsec := from.time(r)
		if err := j.printer.print(sec, nsec, r, j.packets); err != nil {
			return err
		}
	}
	if j.matched == j.o.Limit {
		return errEnough
	}
	return nil
}

// vm returns the filter for packets of a link type.
func (j *job) vm(link uint32) (*classic.VM, error) {
	if vm := j.links[link]; vm != nil {
		return vm, nil
	}
	prog, err := j.program(link)
	if err != nil {
		return nil, err
	}
	vm, err := classic.NewVM(prog, classic.Libpcap)
	if err != nil {
		return nil, err
	}
	j.links[link] = vm
	return vm, nil
}

// program compiles the expression for packets of a link type.
func (j *job) program(link uint32) ([]classic.Instruction, error) {
	l := pcap.FromFile(link)
	if j.o.linkGiven {
		l = j.o.link
	}
	return j.o.compile(j.s, l, &pcap.Options{Source: pcap.File})
}

// finish completes the output and says what was done.
func (j *job) finish() error {
	if j.printer != nil {
		if err := j.printer.flush(); err != nil {
			return err
		}
	}
	if j.out != nil {
		if err := j.out.close(); err != nil {
			return err
		}
	}
	if j.o.Count {
		_, err := fmt.Fprintln(j.s.Out, j.matched)
		return err
	}
	took := time.Since(j.start)
	line := fmt.Sprintf("%s of %s packets match", ui.Count(j.matched), ui.Count(j.packets))
	if j.dropped != nil {
		line += fmt.Sprintf("; %s dropped for want of room", ui.Count(*j.dropped))
	}
	if n := j.before.Load(); n > 0 {
		line += fmt.Sprintf("; %s in %v, %s", ui.Bytes(n), took.Round(10*time.Microsecond), rate(n, took))
	}
	if j.out != nil && j.o.Out != "-" {
		_, err := fmt.Fprintln(j.s.Out, line)
		return err
	}
	if j.s.Interactive() { // among packets, or behind a pipe's, it would be in the way
		fmt.Fprintln(j.s.Err, line)
	}
	return nil
}

// startProgress shows how much of the files is read; the returned function ends it.
func (j *job) startProgress() (stop func()) {
	for _, name := range j.o.Inputs {
		st, err := os.Stat(name)
		if name == "-" || err != nil || !st.Mode().IsRegular() {
			j.size = 0
			break
		}
		j.size += st.Size()
	}
	if j.printer != nil || j.size == 0 {
		return func() {}
	}
	p := j.s.NewProgress(func() (int64, int64) {
		done := j.before.Load()
		if in := j.current.Load(); in != nil {
			done += in.read.Load()
		}
		return done, j.size
	})
	return p.Stop
}
