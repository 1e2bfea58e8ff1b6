// Command calls compares what one run of a BPF program costs on skep, in the
// Linux kernel, as native code and as WebAssembly, and prints the ratios.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/bench/measure"
)

// contender is a workload on an engine; the zero value where the engine has no such thing.
type contender struct {
	first func() (uint32, error) // runs once and returns the verdict
	run   measure.Contender
}

type engine interface {
	open(*workload) (contender, error)
}

// Columns of the measurement.
const (
	call   = iota // skep from Go, CPU held
	copied        // the same with the packet brought in every time
	batch         // skep, many packets by one call
	interp        // skep's interpreter
	linux         // BPF_PROG_TEST_RUN
	native        // gcc -O2
	wasm          // wazero from Go
	columns
)

var names = [columns]string{"skep", "skep + packet", "skep batch", "skep interp", "Linux", "native", "wazero"}

func main() {
	rounds := flag.Int("rounds", 11, "interleaved rounds")
	slice := flag.Duration("slice", 20*time.Millisecond, "processor time per contender and round")
	only := flag.String("run", "", "only the workloads that match this `regexp`; if none does, only loading")
	flag.Parse()
	if err := run(os.Stdout, *rounds, *slice, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, rounds int, slice time.Duration, only string) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	engines, notes := openEngines()
	ratios := &measure.Table{Head: []string{"", "skep ÷ Linux", "skep ÷ native", "skep ÷ wazero",
		"batch ÷ Linux", "batch ÷ native", "batch ÷ wazero", "interp ÷ Linux"}}
	times := &measure.Table{Head: append([]string{"ns per run"}, names[:]...)}
	for _, w := range table {
		if !match.MatchString(w.name) {
			continue
		}
		ns, err := measureWorkload(engines, &w, rounds, slice)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		ratios.Add(w.name, ratio(ns[call], ns[linux]), ratio(ns[call], ns[native]), ratio(ns[call], ns[wasm]),
			ratio(ns[batch], ns[linux]), ratio(ns[batch], ns[native]), ratio(ns[batch], ns[wasm]), ratio(ns[interp], ns[linux]))
		row := []string{w.name}
		for _, t := range ns {
			row = append(row, median(t, max(w.turns, 1)))
		}
		times.Add(row...)
	}
	if len(ratios.Rows) == 0 {
		return loads(out, rounds, slice)
	}
	fmt.Fprintf(out, "Medians of %d interleaved rounds of %v processor time; below 1 skep is faster.\n\n", rounds, slice)
	if err := ratios.Write(out); err != nil {
		return err
	}
	if err := times.Write(out); err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintln(out, n)
	}
	fmt.Fprint(out, "ubpf and llvmbpf are left out: no package has them.\n\n")
	return loads(out, rounds, slice)
}

// openEngines starts every engine there is, and says why others are left out.
func openEngines() (engines [columns]engine, notes []string) {
	add := func(column int, e engine, err error) {
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s is left out: %v.", names[column], err))
			return
		}
		engines[column] = e
	}
	e, err := newSkep(skep.JITOn)
	add(call, e, err)
	if err == nil {
		with := *e
		with.eachPacket = true
		engines[copied] = &with
		engines[batch] = &skepBatch{e}
	}
	i, err := newSkep(skep.JITOff)
	add(interp, i, err)
	l, err := newLinux()
	add(linux, l, err)
	n, err := newNative()
	add(native, n, err)
	w, err := newWazero()
	add(wasm, w, err)
	return engines, notes
}

// measureWorkload returns the times of a workload on every engine that has it,
// after a look at whether they agree on the verdict.
func measureWorkload(engines [columns]engine, w *workload, rounds int, slice time.Duration) ([][]float64, error) {
	contenders := make([]measure.Contender, columns)
	verdicts := map[uint32]string{}
	for i, e := range engines {
		if e == nil {
			continue
		}
		c, err := e.open(w)
		if err != nil {
			return nil, err
		}
		if c.run == nil {
			continue
		}
		verdict, err := c.first()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", names[i], err)
		}
		if w.turns == 0 && !w.varies { // for a turn inside, native code does the work once
			verdicts[verdict] = names[i]
		}
		contenders[i] = c.run
		if w.events != "" {
			contenders[i] = inPieces(c.run, 100_000)
		}
	}
	if len(verdicts) > 1 {
		return nil, fmt.Errorf("the engines' verdicts differ: %v", verdicts)
	}
	return measure.Interleaved(contenders, rounds, slice)
}

// inPieces runs at most limit times in one go, so that a ring buffer is emptied before it is full.
func inPieces(c measure.Contender, limit int) measure.Contender {
	return func(n int) (sum time.Duration, err error) {
		for n > 0 {
			d, err := c(min(n, limit))
			if err != nil {
				return 0, err
			}
			sum += d
			n -= limit
		}
		return sum, nil
	}
}

func (o *object) bytes() ([]byte, error) {
	if o.file == "" {
		return o.elf, nil
	}
	return os.ReadFile(o.file)
}

func ratio(ours, theirs []float64) string {
	if ours == nil || theirs == nil {
		return "–"
	}
	return measure.Number(measure.Ratio(ours, theirs))
}

func median(times []float64, turns int) string {
	if times == nil {
		return "–"
	}
	return measure.Number(measure.Median(times) / float64(turns))
}
