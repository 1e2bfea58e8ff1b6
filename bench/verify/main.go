// Command verify compares the time this verifier takes for programs with the
// time the Linux kernel takes to load them, and the instructions both process.
//
//	verify [-rounds n] [-each] [-run regexp] [DIR]
//
// DIR holds sets of objects, DIR/SET/OBJECT.o; by default they are the examples.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/bench/measure"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/corpus"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/verifier"
)

func main() {
	rounds := flag.Int("rounds", 5, "interleaved rounds")
	each := flag.Bool("each", false, "print a row for every program as well, the slowest beside the kernel first")
	only := flag.String("run", "", "only the programs whose SET/OBJECT/NAME matches this `regexp`")
	flag.Parse()
	dir := "../examples"
	if flag.NArg() > 0 {
		dir = flag.Arg(0)
	}
	if err := run(os.Stdout, dir, *rounds, *each, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A sample is one program that both verifiers accept.
type sample struct {
	set, name   string
	insns       int     // processed here
	insnRatio   float64 // ÷ the kernel's
	ns          float64 // here
	load, check float64 // our time ÷ the kernel's, of the whole load and of its verifier alone
}

// A set is what was found in a directory of objects.
type set struct {
	samples        []sample
	programs, same int
	left           int // without a verdict of the kernel
}

func run(out io.Writer, dir string, rounds int, each bool, only string) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	if err := linux.Available(); err != nil {
		return fmt.Errorf("nothing to compare with: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.o"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no objects SET/OBJECT.o in %s", dir)
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return err
	}
	cpus, err := linux.PossibleCPUs()
	if err != nil {
		return err
	}
	sets := map[string]*set{}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		if sets[name] == nil {
			sets[name] = &set{}
		}
		o, err := corpus.Open(file, kernel, cpus)
		if err != nil {
			fmt.Fprintf(os.Stderr, "left out: %v\n", err)
			continue
		}
		prefix := name + "/" + strings.TrimSuffix(filepath.Base(file), ".o") + "/"
		if err := sets[name].object(o, prefix, match, cpus, rounds); err != nil {
			fmt.Fprintf(os.Stderr, "left out: %s: %v\n", file, err)
		}
	}
	return report(out, sets, rounds, each)
}

func (s *set) object(o *corpus.Object, prefix string, match *regexp.Regexp, cpus, rounds int) error {
	var wanted []*image.Program
	for _, p := range o.Image.Programs {
		if match.MatchString(prefix+p.Name) && p.Err == nil {
			wanted = append(wanted, p)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	live, err := o.Live()
	if err != nil {
		return err
	}
	defer live.Close()
	for _, p := range wanted {
		theirs, err := live.Load(p)
		if err != nil {
			s.left++
			continue
		}
		ours := o.Verify(p, verifier.Options{CPUs: cpus})
		s.programs++
		if ours.Accept == theirs.Accept {
			s.same++
		}
		if !ours.Accept || !theirs.Accept {
			continue
		}
		one, err := compare(o, live, p, cpus, rounds)
		if err != nil {
			return err
		}
		one.set, one.name, one.insns = strings.SplitN(prefix, "/", 2)[0], prefix+p.Name, ours.Insns
		one.insnRatio = float64(ours.Insns) / float64(max(theirs.Insns, 1))
		s.samples = append(s.samples, one)
	}
	return nil
}

// compare times one program in interleaved rounds: the processor time of this
// whole process, collecting garbage included, and the kernel's, whose load has
// its native code in it. What its verifier alone took it says itself, as time on
// the clock: the least of the rounds is the one that others disturbed least.
func compare(o *corpus.Object, live *corpus.Live, p *image.Program, cpus, rounds int) (sample, error) {
	vp, lp := o.Program(p), live.Prog(p)
	lp.LogLevel = 4 // one line of figures
	var ours, loads, checks []float64
	for range rounds {
		d, err := measure.Process(func() error {
			_, err := verifier.Verify(vp, verifier.Options{CPUs: cpus})
			return err
		})
		if err != nil {
			return sample{}, err
		}
		var log string
		l, err := measure.Process(func() error {
			k, err := linux.Load(lp)
			if err == nil {
				log = k.Log
				err = k.Close()
			}
			return err
		})
		if err != nil {
			return sample{}, err
		}
		c, err := verificationTime(log)
		if err != nil {
			return sample{}, err
		}
		ours, loads, checks = append(ours, float64(d)), append(loads, float64(l)), append(checks, float64(max(c, time.Microsecond)))
	}
	return sample{ns: measure.Median(ours), load: measure.Ratio(ours, loads), check: measure.Median(ours) / slices.Min(checks)}, nil
}

// verificationTime reads what a log at level 4 says.
func verificationTime(log string) (time.Duration, error) {
	var us int64
	if _, err := fmt.Sscanf(log[max(0, strings.Index(log, "verification time ")):], "verification time %d usec", &us); err != nil {
		return 0, errors.New("the kernel's log does not say how long it verified")
	}
	return time.Duration(us) * time.Microsecond, nil
}

func report(out io.Writer, sets map[string]*set, rounds int, each bool) error {
	fmt.Fprintf(out, "Medians of %d interleaved rounds of processor time; below 1 skep is faster.\n\n", rounds)
	t := measure.Table{Head: []string{"objects", "programs", "same verdict", "insns ÷ Linux", "most", "at most as many", "time ÷ load", "most", "above 1", "÷ verification", "sum ÷ sum"}}
	all := &set{}
	names := make([]string, 0, len(sets))
	for name, s := range sets {
		names = append(names, name)
		all.samples = append(all.samples, s.samples...)
		all.programs, all.same, all.left = all.programs+s.programs, all.same+s.same, all.left+s.left
	}
	slices.Sort(names)
	for _, name := range names {
		sets[name].row(&t, name)
	}
	all.row(&t, "all")
	if err := t.Write(out); err != nil {
		return err
	}
	if !each {
		return nil
	}
	slices.SortFunc(all.samples, func(a, b sample) int { return cmp.Compare(b.load, a.load) })
	t = measure.Table{Head: []string{"program", "insns", "insns ÷ Linux", "µs", "time ÷ load", "÷ verification"}}
	for _, s := range all.samples {
		t.Add(s.name, fmt.Sprint(s.insns), fmt.Sprintf("%.2f", s.insnRatio), measure.Number(s.ns/1e3), fmt.Sprintf("%.2f", s.load), fmt.Sprintf("%.2f", s.check))
	}
	return t.Write(out)
}

func (s *set) row(t *measure.Table, name string) {
	if len(s.samples) == 0 {
		t.Add(name, fmt.Sprint(s.programs), fmt.Sprint(s.same))
		return
	}
	var insns, load, check, ours, theirs float64
	most, slowest, few, slow := 0.0, 0.0, 0, 0
	for _, p := range s.samples {
		insns, load, check = insns+math.Log(p.insnRatio), load+math.Log(p.load), check+math.Log(p.check)
		most, slowest = max(most, p.insnRatio), max(slowest, p.load)
		ours, theirs = ours+p.ns, theirs+p.ns/p.load
		if p.insnRatio <= 1 {
			few++
		}
		if p.load > 1 {
			slow++
		}
	}
	n := float64(len(s.samples))
	mean := func(sum float64) string { return fmt.Sprintf("%.2f", math.Exp(sum/n)) }
	t.Add(name, fmt.Sprint(s.programs), fmt.Sprint(s.same), mean(insns), fmt.Sprintf("%.2f", most), fmt.Sprintf("%.1f %%", 100*float64(few)/n),
		mean(load), fmt.Sprintf("%.2f", slowest), fmt.Sprint(slow), mean(check), fmt.Sprintf("%.2f", ours/theirs))
}
