package main

import (
	"path/filepath"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/corpus"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/verifier"
)

// A finding is a row with the answers to it.
type finding struct {
	row
	ours   corpus.Answer
	took   time.Duration  // of ours
	live   *corpus.Answer // the kernel's here and now; nil: not asked
	load   time.Duration  // of the kernel's, without a log
	wanted []string
}

// kernels is the kernel's side: by the live kernel's answer, else the table's.
func (f *finding) kernel() corpus.Answer {
	if f.live != nil {
		return *f.live
	}
	return corpus.Answer{Accept: f.accept, Errno: f.errno, Insns: f.insns}
}

func (f *finding) unsound() bool    { return f.ours.Accept && !f.kernel().Accept }
func (f *finding) incomplete() bool { return !f.ours.Accept && f.kernel().Accept }

// measurer verifies the programs of objects.
type measurer struct {
	dir    string
	kernel *btf.Spec
	cpus   int
	live   bool
	// symbols are those whose addresses the running kernel knows.
	symbols map[string]bool
	plain   bool // the objects are no selftests: no flags but the sections'

	object struct { // the one loaded last
		path  string
		o     *corpus.Object
		notes *annotations
		err   error
		live  *corpus.Live
		lerr  error
	}
	// missing counts rows whose object or program is not there, by reason.
	missing map[string]int
}

func (m *measurer) path(r *row) string { return filepath.Join(m.dir, r.tree, r.object+".o") }

// open makes the object at path the current one.
func (m *measurer) open(path string) {
	c := &m.object
	if path == c.path {
		return
	}
	c.live.Close()
	c.path, c.live, c.lerr, c.notes = path, nil, nil, newAnnotations()
	if c.o, c.err = corpus.Open(path, m.kernel, m.cpus); c.err != nil {
		return
	}
	c.o.HasSymbol = func(name string) bool { return m.symbols[name] }
	if !m.plain {
		c.notes = readAnnotations(c.o)
		c.o.Flags = c.notes.flags
	}
}

// close ends the use of the current object.
func (m *measurer) close() { m.object.live.Close() }

// measure answers one row; ok is false if its program is not there.
func (m *measurer) measure(r row) (f finding, ok bool) {
	m.open(m.path(&r))
	if m.object.err != nil {
		m.missing[m.object.err.Error()]++
		return f, false
	}
	o := m.object.o
	p := o.Progs[r.program]
	if p == nil {
		m.missing["no such program in "+m.object.path]++
		return f, false
	}
	f = finding{row: r}
	opts := verifier.Options{CPUs: m.cpus}
	if r.mode == "priv" {
		f.wanted = m.object.notes.messages[r.program]
	} else {
		opts.Unprivileged, opts.CapBPF = true, true
	}
	start := time.Now()
	f.ours = o.Verify(p, opts)
	f.took = time.Since(start)
	if m.live && r.mode == "priv" && p.Err == nil {
		if err := m.ask(&f, p); err != nil {
			m.missing["live kernel: "+err.Error()]++
			return f, !m.plain
		}
	}
	return f, !m.plain || f.live != nil
}

// ask has the live kernel answer; the time is of a second load, without a log.
func (m *measurer) ask(f *finding, p *image.Program) error {
	c := &m.object
	if c.live == nil && c.lerr == nil {
		c.live, c.lerr = c.o.Live()
	}
	if c.lerr != nil {
		return c.lerr
	}
	a, err := c.live.Load(p)
	if err != nil {
		return err
	}
	f.live = &a
	if a.Accept {
		lp := c.live.Prog(p)
		start := time.Now()
		if k, err := linux.Load(lp); err == nil {
			f.load = time.Since(start)
			k.Close()
		}
	}
	return nil
}
