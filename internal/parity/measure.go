package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/verifier"
)

// An answer is what one verifier said of a program.
type answer struct {
	accept bool
	errno  string
	msg    string // of a refusal: its reason
	log    string
	insns  int
	took   time.Duration
}

// A finding is a row with the answers to it.
type finding struct {
	row
	ours   answer
	live   *answer // the kernel's here and now; nil: not asked
	wanted []string
}

// kernels is the kernel's side: by the live kernel's answer, else the table's.
func (f *finding) kernel() answer {
	if f.live != nil {
		return *f.live
	}
	return answer{accept: f.accept, errno: f.errno, insns: f.insns}
}

func (f *finding) unsound() bool    { return f.ours.accept && !f.kernel().accept }
func (f *finding) incomplete() bool { return !f.ours.accept && f.kernel().accept }

// measurer verifies the programs of objects.
type measurer struct {
	dir    string
	kernel *btf.Spec
	cpus   int
	live   bool

	object struct { // the one loaded last
		path string
		o    *object
		err  error
	}
	liveObject *liveObject
	// missing counts rows whose object or program is not there, by reason.
	missing map[string]int
}

// measure answers one row; ok is false if its program is not there.
func (m *measurer) measure(r row) (f finding, ok bool) {
	path := filepath.Join(m.dir, r.tree, r.object+".o")
	if path != m.object.path {
		m.object.path = path
		m.object.o, m.object.err = loadObject(path, m.kernel, m.cpus)
		m.liveObject.close()
		m.liveObject = nil
	}
	if m.object.err != nil {
		m.missing[m.object.err.Error()]++
		return f, false
	}
	o := m.object.o
	p := o.progs[r.program]
	if p == nil {
		m.missing["no such program in "+path]++
		return f, false
	}
	f = finding{row: r}
	if r.mode == "priv" {
		f.wanted = o.messages[r.program]
	}
	f.ours = verify(o.program(p, m.kernel), p.Err, r.mode != "priv", m.cpus)
	if m.live && r.mode == "priv" && p.Err == nil {
		if m.liveObject == nil {
			m.liveObject = newLiveObject(o, m.kernel)
		}
		a, err := m.liveObject.load(p, o.flags[p.Name])
		if err != nil {
			m.missing["live kernel: "+err.Error()]++
		} else {
			f.live = &a
		}
	}
	return f, true
}

func verify(p *verifier.Program, imageErr error, unprivileged bool, cpus int) (a answer) {
	if imageErr != nil {
		return answer{errno: "image", msg: imageErr.Error()}
	}
	defer func() {
		if r := recover(); r != nil {
			a = answer{errno: "panic", msg: fmt.Sprint("panic: ", r)}
		}
	}()
	start := time.Now()
	res, err := verifier.Verify(p, verifier.Options{Unprivileged: unprivileged, CapBPF: unprivileged, CPUs: cpus})
	a.took = time.Since(start)
	if err == nil {
		a.accept, a.insns = true, res.Stats.InsnProcessed
		return a
	}
	var ve *verifier.Error
	if errors.As(err, &ve) {
		a.errno, a.msg, a.log = ve.Errno.Name(), ve.Msg, strings.Join(ve.Lines, "\n")
	}
	return a
}
