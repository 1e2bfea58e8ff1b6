package verify

import "github.com/skep-bpf/skep/internal/catalog"

// Kernel is a release of Linux: 5.10. Distributions' kernels may have more than
// the release they are named after: what is said here is of Linux as released.
type Kernel = catalog.KernelRelease

// ParseKernel reads "5.10", "v5.10" or the output of uname -r. Releases before
// 3.19 and after the newest that skep knows are errors.
func ParseKernel(s string) (Kernel, error) { return catalog.ParseRelease(s) }

// LongTerm lists the releases that are, or long were, maintained for years.
func LongTerm() []Kernel {
	return []Kernel{{Major: 4, Minor: 19}, {Major: 5, Minor: 4}, {Major: 5, Minor: 10}, {Major: 5, Minor: 15},
		{Major: 6, Minor: 1}, {Major: 6, Minor: 6}, {Major: 6, Minor: 12}, {Major: 6, Minor: 18}}
}

// Answer says whether a kernel loads a program.
type Answer string

// Answers.
const (
	Loads   Answer = "yes"
	Likely  Answer = "likely"  // it has all that is needed; its verifier may know less of some number
	Lacks   Answer = "no"      // something is missing
	Refused Answer = "refused" // by the verifier of the newest kernel, whatever the kernel
)

// Verdict is an answer with its reason.
type Verdict struct {
	Kernel Kernel
	Answer Answer
	// Missing is the first thing the kernel lacks, in the order of the program, or
	// that makes the answer Likely; nil if there is none.
	Missing *Need
}

// OK reports whether the program loads, or likely does.
func (v Verdict) OK() bool { return v.Answer == Loads || v.Answer == Likely }

// On says whether a kernel loads the program. Guards that choose code by the
// kernel they run on (CO-RE, LINUX_KERNEL_VERSION) are taken as the types and
// the version decided that the object was read with.
func (p *Program) On(k Kernel) Verdict {
	v := Verdict{Kernel: k, Answer: Loads}
	if p.Err != nil {
		v.Answer = Refused
		return v
	}
	for i := range p.Needs {
		n := &p.Needs[i]
		switch {
		case k.Compare(n.Since) >= 0:
		case !n.Likely:
			return Verdict{Kernel: k, Answer: Lacks, Missing: n}
		case v.Missing == nil:
			v.Answer, v.Missing = Likely, n
		}
	}
	return v
}

// LoadsOn reports whether a kernel ("5.10") loads the program, or likely does.
// It is false for what is no release of Linux.
func (p *Program) LoadsOn(release string) bool {
	k, err := ParseKernel(release)
	return err == nil && p.On(k).OK()
}

// MinKernel returns the oldest kernel that loads the program, or likely does;
// ok is false if none does.
func (p *Program) MinKernel() (v Verdict, ok bool) {
	if p.Err != nil {
		return Verdict{Answer: Refused}, false
	}
	k := catalog.OldestRelease
	for i := range p.Needs {
		if n := &p.Needs[i]; !n.Likely && n.Since.Compare(k) > 0 {
			k = n.Since
		}
	}
	return p.On(k), true
}

// LoadsOn reports whether a kernel loads all programs of the report, or likely does.
func (r *Report) LoadsOn(release string) bool {
	for _, p := range r.Programs {
		if !p.LoadsOn(release) {
			return false
		}
	}
	return true
}

// MinKernel returns the oldest kernel that loads all programs, or likely does;
// ok is false if none does.
func (r *Report) MinKernel() (k Kernel, ok bool) {
	k = catalog.OldestRelease
	for _, p := range r.Programs {
		v, ok := p.MinKernel()
		if !ok {
			return Kernel{}, false
		}
		if v.Kernel.Compare(k) > 0 {
			k = v.Kernel
		}
	}
	return k, true
}
