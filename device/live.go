package device

import (
	"errors"
	"fmt"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/packet"
)

// LiveRun is a test run whose frames are live.
type LiveRun struct {
	Data   []byte // metadata of XDP's, if there is any, and a packet of at least its Ethernet header
	Meta   int    // bytes of the former: a multiple of 4, at most 216
	Repeat uint32 // frames; 0: one
	Batch  uint32 // how many are received at a time, at most 256; 0: 64
}

// What a batch is, if nothing is said, and may be at most, in frames.
const (
	liveBatch = 64  // NAPI_POLL_WEIGHT
	maxBatch  = 256 // TEST_XDP_MAX_BATCH
)

// ErrLiveRun is the error of a LiveRun that the kernel would not take.
var ErrLiveRun = errors.New("device: no such live run")

// RunLive runs p on frames as if they had come in on the device's first queue, and does with them what it
// says (BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES): XDP_PASS goes into the device's stack, through
// generic XDP and tc; XDP_TX and XDP_REDIRECT leave by a device, a CPU or a socket; all else is dropped, without an
// exception. The device's own native program does not run.
//
// Frames are used again: what p writes into one is there when a later run gets it. RunLive returns the mean time of a
// run when all frames have gone where they go, but for those of cpumaps.
func (d *Device) RunLive(p *skep.Program, r LiveRun) (time.Duration, error) {
	if p.Type() != skep.XDP {
		return 0, fmt.Errorf("%w: program %s is of type %s", ErrLiveRun, p.Name(), p.Type())
	}
	if r.Batch == 0 {
		r.Batch = liveBatch
	}
	if r.Batch > maxBatch {
		return 0, fmt.Errorf("%w: a batch of %d frames, at most %d are taken", ErrLiveRun, r.Batch, maxBatch)
	}
	pool, err := packet.NewPool(r.Data, r.Meta, int(r.Batch))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrLiveRun, err)
	}
	defer pool.Free()
	n := d.net
	if !n.begin() {
		return 0, ErrNotRunning
	}
	defer n.finished()
	w := newWorker(n, int(d.index)%n.mach.CPUs())
	h, err := hook.NewXDP(n.mach, p, &hook.XDPOptions{CPU: w.id, Held: w.cpu, Live: true})
	if err != nil {
		return 0, err
	}
	l := live{w: w, d: d, h: h, pool: pool, meta: r.Meta}
	total := max(r.Repeat, 1)
	start := time.Now()
	for left := total; left > 0; {
		n := min(left, r.Batch)
		left -= n
		if err := l.batch(n); err != nil {
			return 0, err
		}
		if d.net.ending() {
			return 0, ErrNotRunning
		}
	}
	return time.Since(start) / time.Duration(total), nil
}

// live is a live run under way.
type live struct {
	w    *worker
	d    *Device
	h    *hook.XDP
	pool *packet.Pool
	meta int

	// Of the batch: frames for the stack, and the pages of all that go on, which are back when it is done.
	passed [][]byte
	gone   []packet.Page
}

// batch runs n frames: what was redirected leaves before what was passed comes up (xdp_test_run_batch).
func (l *live) batch(n uint32) error {
	w := l.w
	if err := w.enter(); err != nil {
		return err
	}
	for range n {
		if w.failed(l.frame()) {
			break
		}
	}
	w.drain()
	w.flush()
	for _, f := range l.passed {
		if p := w.enqueue(l.d, f, injected); p != nil {
			p.meta = hook.Meta{}
		}
	}
	for _, pg := range l.gone {
		l.pool.Put(pg)
	}
	l.passed, l.gone = l.passed[:0], l.gone[:0]
	return w.leave()
}

// frame runs one frame.
func (l *live) frame() error {
	pg, err := l.pool.Get()
	if err != nil {
		return err
	}
	f, head := l.pool.Frame(pg)
	_, deliveries, err := l.h.Run(f, hook.Meta{Ifindex: l.d.index, InPlace: head, Metadata: l.meta})
	if err != nil {
		return err
	}
	sent := false
	for i := range deliveries {
		del := &deliveries[i]
		switch del.To {
		case hook.ToStack:
			l.passed = append(l.passed, del.Packet)
			sent = true
			continue
		case hook.ToDevice:
			to := l.w.net.Device(del.Ifindex)
			if to == nil || !to.sendsFrames() || !to.takes(len(del.Packet)) {
				count(&l.w.counted(l.d).rxDropped, 1)
				continue
			}
			sent = true
		}
		l.w.deliver(l.d, 0, Native, del, &hook.Meta{})
	}
	if sent {
		l.gone = append(l.gone, pg)
	} else {
		l.pool.Put(pg)
	}
	return nil
}
