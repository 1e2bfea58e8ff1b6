// Package verify answers what developers of BPF programs ask besides "is it
// safe": which kernels load it, and how far it is from the verifier's limits.
//
//	r, err := verify.Load("firewall.o", nil)
//	r.LoadsOn("5.10")                        // all programs
//	r.Program("firewall").Budget() < 0.6     // of a million instructions
//	r.Program("firewall").On(k).Missing      // what k lacks first, and where
//
// The programs are verified by skep, with the rules of Linux 6.18; what older
// kernels lack is read from tables that cite the commit each feature came with
// (docs/reference/since.md). No kernel is asked, and none is needed.
package verify

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
)

// Limit is how many instructions the verifier processes before it gives up.
const Limit = 1_000_000

// Options say how to verify. The zero value is what a loader with all
// capabilities does on a machine with this one's kernel types.
type Options struct {
	// Programs names the programs to look at; nil: all.
	Programs []string
	// KernelBTF are the kernel types to relocate against; nil: this machine's.
	KernelBTF *btf.Spec
	// Unprivileged applies the rules for callers without capabilities.
	Unprivileged bool
	// Trace asks for Program.Trace, with at most about so many steps of each
	// program kept; 0: none.
	Trace int
	// Explain asks for Program.Explanation of programs that are refused.
	Explain bool
}

// Report is what there is to say of an object's programs.
type Report struct {
	Object   string // file name
	Programs []*Program
}

// Program is what there is to say of one program.
type Program struct {
	Name, Section, Type string

	Insns int // slots of 8 bytes
	// Err is the verifier's refusal, or says why the program did not get that far;
	// nil: accepted. Use errors.As with *skep.VerifierError for the instruction.
	Err error
	// Explanation says why in words for people; nil unless asked for, and of accepted programs.
	Explanation *Explanation
	Stats       Stats
	// Needs lists what a kernel must have to load the program, each once, where
	// it is first needed, in the order of the program.
	Needs []Need
	// Visits counts for each slot how often the verifier processed it; nil if it never got that far.
	Visits []uint32
	// Facts is what the verifier learned of an accepted program; nil if refused.
	Facts *skep.VerifierResult
	// Trace is how the verifier went through the program, if Options.Trace asked for it.
	Trace *skep.VerifierTrace

	prog *image.Program
}

// Stats are the figures of a verification, as the kernel counts them.
type Stats struct {
	Processed        int // instructions, on all paths
	TotalStates      int
	PeakStates       int
	MaxStatesPerInsn int
	StackDepth       int // bytes, of the deepest function's frame
	Time             time.Duration
}

// Load verifies the programs of an object file. A refused program is no error:
// it is in the report.
func Load(path string, o *Options) (*Report, error) {
	var opts image.Options
	if o != nil && o.KernelBTF != nil {
		opts.TargetBTF = func() (*btf.Spec, error) { return o.KernelBTF, nil }
	}
	img, err := image.LoadFile(path, &opts)
	if err != nil {
		return nil, err
	}
	r, err := Image(img, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.Object = filepath.Base(path)
	return r, nil
}

// Image verifies the programs of an image.
func Image(img *image.Image, o *Options) (*Report, error) {
	if o == nil {
		o = new(Options)
	}
	for _, name := range o.Programs {
		if img.Program(name) == nil {
			return nil, fmt.Errorf("no program %s", name)
		}
	}
	m, err := skep.NewMachine(&skep.MachineOptions{CPUs: 1, KernelBTF: o.KernelBTF, Unprivileged: o.Unprivileged})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	list, err := m.Explore(img, o.Trace, o.Programs...)
	if err != nil {
		return nil, err
	}
	r := &Report{Object: img.Name + ".o"}
	for i := range list {
		p := newProgram(img, &list[i])
		if o.Explain && p.Err != nil {
			if p.Explanation, err = explanation(m, img, p); err != nil {
				return nil, err
			}
		}
		r.Programs = append(r.Programs, p)
	}
	return r, nil
}

func newProgram(img *image.Image, v *skep.Verification) *Program {
	ip := v.Program
	p := &Program{
		Name: ip.Name, Section: ip.Section, Type: ip.Type.String(), Insns: len(ip.Insns), Err: v.Err,
		Stats: Stats{
			Processed: v.Stats.InsnProcessed, TotalStates: v.Stats.TotalStates, PeakStates: v.Stats.PeakStates,
			MaxStatesPerInsn: v.Stats.MaxStatesPerInsn, Time: v.Took,
		},
		Visits: v.Visits, Facts: v.Result, Trace: v.Trace, prog: ip,
	}
	if len(v.Stats.StackDepth) > 0 {
		p.Stats.StackDepth = slices.Max(v.Stats.StackDepth)
	}
	if v.Result != nil {
		p.Needs = needs(img, ip, v.Result)
	}
	return p
}

// Program returns the program of that name, or nil.
func (r *Report) Program(name string) *Program {
	for _, p := range r.Programs {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Budget returns the share of the verifier's limit the program uses up: 1 is all of it.
func (p *Program) Budget() float64 { return float64(p.Stats.Processed) / Limit }

// place finds the source line of a slot.
func place(ip *image.Program, slot int) Place {
	at := Place{Insn: slot}
	i, exact := slices.BinarySearchFunc(ip.Lines, slot, func(l image.LineInfo, slot int) int { return cmp.Compare(l.Slot, slot) })
	if !exact {
		i--
	}
	if slot >= 0 && i >= 0 {
		l := &ip.Lines[i]
		at.File, at.Line, at.Column, at.Source = l.File, l.LineNo, l.Column, l.Line
	}
	return at
}

// Hot is a source line and what it costs the verifier.
type Hot struct {
	Place
	Visits uint64  // instructions processed that belong to it
	Share  float64 // of all the program's
}

// Hot returns the source lines (or, without line information, the instructions)
// that use up most of the verifier's budget, the most expensive first, at most n.
func (p *Program) Hot(n int) []Hot {
	type key struct {
		file string
		line int
	}
	var list []Hot
	index := map[key]int{}
	var total uint64
	for slot, visits := range p.Visits {
		if visits == 0 {
			continue
		}
		total += uint64(visits)
		at := place(p.prog, slot)
		k := key{at.File, at.Line}
		if at.File == "" {
			k = key{"", slot}
		}
		i, known := index[k]
		if !known {
			i = len(list)
			index[k] = i
			list = append(list, Hot{Place: at})
		}
		list[i].Visits += uint64(visits)
	}
	for i := range list {
		list[i].Share = float64(list[i].Visits) / float64(total)
	}
	slices.SortStableFunc(list, func(a, b Hot) int { return cmp.Compare(b.Visits, a.Visits) })
	return list[:min(n, len(list))]
}
