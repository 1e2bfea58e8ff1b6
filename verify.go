package skep

import (
	"errors"
	"fmt"
	"time"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/verifier"
)

// VerifierResult is what the verifier learned about a program it accepted.
type VerifierResult = verifier.Result

// VerifierTrace is the record of how the verifier went through a program.
type VerifierTrace = verifier.Trace

// Verification is what the verifier says of one program.
type Verification struct {
	Program *image.Program
	// Err says why the program is refused, nil if it is not: a [*VerifierError],
	// or that it never got to the verifier ([image.Program.Err]).
	Err    error
	Result *VerifierResult // nil if refused
	Stats  VerifierStats
	// Visits counts how often each slot was processed.
	Visits []uint32
	Trace  *VerifierTrace // nil but for [Machine.Explore]
	Took   time.Duration  // by the machine's real clock
}

// Verify asks the verifier about programs of an image, each by itself, without
// keeping them: also those whose maps or helpers there are none of in user space.
// Names are those of the programs; none means all of them. The error is for
// images whose maps nobody could make.
func (m *Machine) Verify(img *image.Image, names ...string) ([]Verification, error) {
	return m.verify(img, verifier.Options{}, names)
}

// VerifyLog is Verify with a log, as far as the bits of its level ask for it: see
// [CollectionOptions.LogLevel].
func (m *Machine) VerifyLog(img *image.Image, level uint32, names ...string) ([]Verification, error) {
	return m.verify(img, verifier.Options{LogLevel: level}, names)
}

// Explore is Verify with a record of the paths the verifier followed. Of each
// program that takes more than so many steps, the most telling ones are kept.
func (m *Machine) Explore(img *image.Image, steps int, names ...string) ([]Verification, error) {
	return m.verify(img, verifier.Options{Trace: steps}, names)
}

func (m *Machine) verify(img *image.Image, opts verifier.Options, names []string) ([]Verification, error) {
	l := loader{m: m, img: img, coll: &Collection{Maps: map[string]*Map{}}}
	if len(names) != 0 {
		l.opts.Programs = names
	}
	defer func() { l.coll.Close() }()
	if err := image.CheckOrder(img); err != nil {
		return nil, err
	}
	if err := l.defineMaps(); err != nil {
		return nil, err
	}
	opts.Unprivileged, opts.Visits = m.opts.Unprivileged, true
	var list []Verification
	for _, ip := range img.Programs {
		if len(names) == 0 || l.wanted(ip) {
			list = append(list, l.verify(ip, opts))
		}
	}
	return list, nil
}

// defineMaps makes the maps of the image. Of those that user space has not, and
// of those that the object leaves sizes of to its tool, it says what they would
// be: the verifier asks for no more.
func (l *loader) defineMaps() error {
	l.gpl = run.GPLCompatible(l.img.License)
	l.defs = make([]*catalog.MapDef, len(l.img.Maps))
	for i, im := range l.img.Maps {
		err := l.createMap(im)
		if err == nil {
			continue
		}
		whole := *im
		whole.Complete()
		if !errors.Is(err, errors.ErrUnsupported) {
			trial, failed := l.m.m.NewMap(*whole.Def(l.m.CPUs()))
			if failed != nil && !errors.Is(failed, errors.ErrUnsupported) {
				return fmt.Errorf("map %s: %w", im.Name, err)
			}
			if failed == nil {
				trial.Close()
			}
		}
		l.maps = append(l.maps[:i], nil)
		l.defs[i] = whole.Made(l.m.CPUs())
	}
	for _, im := range l.img.Maps {
		if err := l.fillMaps(im); err != nil {
			return fmt.Errorf("map %s: %w", im.Name, err)
		}
	}
	return nil
}

// VerifierHistory is the path that led to a refusal; package verify explains it.
type VerifierHistory = verifier.History

// VerifierHistory verifies a program of an image once more and returns how it
// came to be refused; nil if it is accepted, or never gets to the verifier.
func (m *Machine) VerifierHistory(img *image.Image, name string) (*VerifierHistory, error) {
	ip := img.Program(name)
	if ip == nil || loadable(ip) != nil {
		return nil, nil
	}
	l := loader{m: m, img: img, coll: &Collection{Maps: map[string]*Map{}}, opts: CollectionOptions{Programs: []string{name}}}
	defer func() { l.coll.Close() }()
	if err := l.defineMaps(); err != nil {
		return nil, err
	}
	return verifier.HistoryOf(l.verifierProgram(ip), verifier.Options{Unprivileged: m.opts.Unprivileged}), nil
}

// verify asks about one program.
func (l *loader) verify(ip *image.Program, opts verifier.Options) Verification {
	v := Verification{Program: ip}
	if v.Err = loadable(ip); v.Err != nil {
		return v
	}
	vp := l.verifierProgram(ip)
	start := time.Now()
	v.Result, v.Err = verifier.Verify(vp, opts)
	v.Took = time.Since(start)
	v.Err = l.refused(ip, v.Err)
	if refusal := (*VerifierError)(nil); errors.As(v.Err, &refusal) {
		v.Stats, v.Visits, v.Trace = refusal.Stats, refusal.Visits, refusal.Trace
	} else if v.Err == nil {
		v.Stats, v.Visits, v.Trace = v.Result.Stats, v.Result.Visits, v.Result.Trace
	}
	return v
}
