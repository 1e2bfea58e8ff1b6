package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/bench/measure"
	"github.com/skep-bpf/skep/ringbuf"
)

// skepEngine is a machine of one CPU, held for all runs.
type skepEngine struct {
	machine *skep.Machine
	cpu     *skep.CPU
	objects map[string]*skep.Collection
	// eachPacket brings the packet in anew before every run.
	eachPacket bool
}

func newSkep(jit skep.JIT) (*skepEngine, error) {
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1, JIT: jit})
	if err != nil {
		return nil, err
	}
	e := &skepEngine{machine: m, objects: map[string]*skep.Collection{}}
	for _, o := range objects {
		if err := e.load(o); err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
	}
	e.cpu = m.AcquireCPU()
	return e, nil
}

func (e *skepEngine) load(o object) error {
	elf, err := o.bytes()
	if err != nil {
		return err
	}
	img, err := e.machine.LoadImage(bytes.NewReader(elf), o.name)
	if err != nil {
		return err
	}
	coll, err := e.machine.LoadCollection(img)
	if err != nil {
		return err
	}
	e.objects[o.name] = coll
	return o.fill(skepLoaded{coll})
}

func (e *skepEngine) open(w *workload) (contender, error) {
	coll := e.objects[w.object]
	p := coll.Programs[w.program]
	pkt := e.cpu.Packet()
	drain := func() error { return nil }
	if w.events != "" {
		r, err := ringbuf.NewReader(coll.Maps[w.events])
		if err != nil {
			return contender{}, err
		}
		drain = func() error { return drainSkep(r) }
	}
	first := func() (uint32, error) {
		if err := pkt.SetXDP(w.packet, skep.XDPOptions{}); err != nil {
			return 0, err
		}
		return e.cpu.Run(p)
	}
	run := func(n int) (time.Duration, error) {
		if err := pkt.SetXDP(w.packet, skep.XDPOptions{}); err != nil {
			return 0, err
		}
		d, err := measure.Thread(func() error {
			for range n {
				if e.eachPacket {
					if err := pkt.SetXDP(w.packet, skep.XDPOptions{}); err != nil {
						return err
					}
				}
				if _, err := e.cpu.Run(p); err != nil {
					return err
				}
			}
			return nil
		})
		return d, errors.Join(err, drain())
	}
	return contender{first: first, run: run}, nil
}

// skepBatch is a skepEngine that runs on many packets by one call.
type skepBatch struct{ *skepEngine }

// bulk is how many packets a batch has, as many as drivers hand to XDP (NAPI_POLL_WEIGHT).
const bulk = 64

func (e *skepBatch) open(w *workload) (contender, error) {
	coll := e.objects[w.object]
	p := coll.Programs[w.program]
	b, err := e.machine.NewBatch(bulk)
	if err != nil {
		return contender{}, err
	}
	fill := func() error {
		for i := range bulk {
			if err := b.Packet(i).SetXDP(w.packet, skep.XDPOptions{}); err != nil {
				return err
			}
		}
		return nil
	}
	drain := func() error { return nil }
	if w.events != "" {
		r, err := ringbuf.NewReader(coll.Maps[w.events])
		if err != nil {
			return contender{}, err
		}
		drain = func() error { return drainSkep(r) }
	}
	first := func() (uint32, error) {
		err := fill()
		if err == nil {
			err = e.cpu.RunBatch(p, b, 1)
		}
		return b.Verdict(0), err
	}
	run := func(n int) (time.Duration, error) {
		if err := fill(); err != nil {
			return 0, err
		}
		d, err := measure.Thread(func() error {
			for ; n > 0; n -= bulk {
				if err := e.cpu.RunBatch(p, b, min(n, bulk)); err != nil {
					return err
				}
			}
			return nil
		})
		return d, errors.Join(err, drain())
	}
	return contender{first: first, run: run}, nil
}

func drainSkep(r *ringbuf.Reader) error {
	r.SetDeadline(time.Now())
	var rec ringbuf.Record
	for {
		if err := r.ReadInto(&rec); err != nil {
			return unlessDrained(err)
		}
	}
}

// unlessDrained is nil for the error that ends a read of all there is.
func unlessDrained(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

type skepLoaded struct{ c *skep.Collection }

func (l skepLoaded) put(name string, key, value any) error {
	return l.c.Maps[name].Put(key, value)
}

func (l skepLoaded) putAll(name string, keys, values any) error {
	_, err := l.c.Maps[name].BatchUpdate(keys, values, nil)
	return err
}

func (l skepLoaded) program(name string) any { return l.c.Programs[name] }
