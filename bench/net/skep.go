package main

import (
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/bench/measure"
	"github.com/skep-bpf/skep/device"
	"github.com/skep-bpf/skep/hook"
)

// generator is a port that receives as many frames as it is told to.
type generator struct {
	frame []byte
	left  atomic.Int64
	more  chan struct{}
	done  chan struct{}
}

func (*generator) Queues() int { return 1 }

func (g *generator) Receive(_ int, frames [][]byte) (int, error) {
	for g.left.Load() <= 0 {
		select {
		case <-g.more:
		case <-g.done:
			return 0, io.EOF
		}
	}
	for i := range frames {
		frames[i] = frames[i][:copy(frames[i], g.frame)]
	}
	g.left.Add(-int64(len(frames)))
	return len(frames), nil
}

func (*generator) Transmit(frames [][]byte) (int, error) { return len(frames), nil }

func (g *generator) Close() error { close(g.done); return nil }

type skepWay struct {
	mach *skep.Machine
	coll *skep.Collection
	net  *device.Network
	gen  *generator
	last *device.Device // where packets end
	sent uint64
}

func newSkep(mode hookMode, drop bool) (way, error) {
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1})
	if err != nil {
		return nil, err
	}
	w := &skepWay{mach: m, gen: &generator{frame: frame(), more: make(chan struct{}, 1), done: make(chan struct{})}}
	w.net = device.New(m, nil)
	first, err := w.net.Add("first", w.gen)
	if err != nil {
		return nil, err
	}
	a, b, err := w.net.AddPair("a", "b")
	if err != nil {
		return nil, err
	}
	img, err := skep.FromCollectionSpec(programs(int32(a.Index())), nil)
	if err != nil {
		return nil, err
	}
	if w.coll, err = m.LoadCollection(img); err != nil {
		return nil, err
	}
	name := map[bool]string{false: "redirect", true: "drop"}[drop]
	switch mode {
	case tc:
		_, err = first.Ingress().Add(hook.Filter{Program: w.coll.Programs["tc_"+name], Direct: true})
	case xdpGeneric:
		err = first.SetXDP(w.coll.Programs["xdp_"+name], device.Generic)
	default:
		err = first.SetXDP(w.coll.Programs["xdp_"+name], device.Native)
	}
	if err != nil {
		return nil, err
	}
	if mode == xdpNative {
		err = b.SetXDP(w.coll.Programs["xdp_drop"], device.Native)
	} else {
		_, err = b.Ingress().Add(hook.Filter{Program: w.coll.Programs["tc_drop"], Direct: true})
	}
	if err != nil {
		return nil, err
	}
	if w.last = b; drop {
		w.last = first
	}
	return w, w.net.Start()
}

func (w *skepWay) send(n int) (time.Duration, error) {
	return measure.Process(func() error {
		w.sent += uint64(n)
		w.gen.left.Store(int64(n))
		w.gen.more <- struct{}{}
		for w.last.Stats().RxPackets < w.sent {
			time.Sleep(20 * time.Microsecond) // which costs the process next to nothing
		}
		if d := w.last.Stats().RxDropped; d != w.sent {
			return fmt.Errorf("%d of %d packets were dropped at the end", d, w.sent)
		}
		runtime.KeepAlive(w)
		return nil
	})
}

func (w *skepWay) close() {
	w.net.Stop()
	w.coll.Close()
	w.mach.Close()
}
