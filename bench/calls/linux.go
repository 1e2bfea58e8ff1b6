package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/skep-bpf/skep/bench/measure"
)

// linuxEngine is the kernel that runs, through BPF_PROG_TEST_RUN.
//
// The kernel's own figure is in whole nanoseconds. That of the calling thread's
// processor time is finer, and does not hold the some 16 ms that a repeated XDP run waits
// for others. What such a run costs before its first turn, some 0.2 ms, is
// measured beside it and taken off.
type linuxEngine struct {
	objects map[string]*ebpf.Collection
}

func newLinux() (*linuxEngine, error) {
	e := &linuxEngine{objects: map[string]*ebpf.Collection{}}
	for _, o := range objects {
		if err := e.load(o); err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
	}
	return e, nil
}

func (e *linuxEngine) load(o object) error {
	elf, err := o.bytes()
	if err != nil {
		return err
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		return err
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return err
	}
	e.objects[o.name] = coll
	return o.fill(linuxLoaded{coll})
}

func (e *linuxEngine) open(w *workload) (contender, error) {
	coll := e.objects[w.object]
	p := coll.Programs[w.program]
	drain := func() error { return nil }
	if w.events != "" {
		r, err := ringbuf.NewReader(coll.Maps[w.events])
		if err != nil {
			return contender{}, err
		}
		drain = func() error { return drainLinux(r) }
	}
	first := func() (uint32, error) { return p.Run(&ebpf.RunOptions{Data: w.packet}) }
	repeat := func(n int) (time.Duration, error) {
		return measure.Thread(func() error {
			_, err := p.Run(&ebpf.RunOptions{Data: w.packet, Repeat: uint32(n)})
			return err
		})
	}
	run := func(n int) (time.Duration, error) {
		fixed, err := repeat(2)
		if err != nil {
			return 0, err
		}
		d, err := repeat(n + 2)
		return d - fixed, errors.Join(err, drain())
	}
	return contender{first: first, run: run}, nil
}

func drainLinux(r *ringbuf.Reader) error {
	r.SetDeadline(time.Now())
	var rec ringbuf.Record
	for {
		if err := r.ReadInto(&rec); err != nil {
			return unlessDrained(err)
		}
	}
}

type linuxLoaded struct{ c *ebpf.Collection }

func (l linuxLoaded) put(name string, key, value any) error {
	return l.c.Maps[name].Put(key, value)
}

func (l linuxLoaded) putAll(name string, keys, values any) error {
	_, err := l.c.Maps[name].BatchUpdate(keys, values, nil)
	return err
}

func (l linuxLoaded) program(name string) any { return l.c.Programs[name] }
