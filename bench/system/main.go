// Command system compares what the system around programs costs: map operations
// by the Go API here and by bpf(2) in the Linux kernel, one by one and in batches,
// and a bpf(2) that skep serves with one the kernel serves.
//
//	system [-rounds n] [-run regexp]
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/skep-bpf/skep/bench/measure"
	"github.com/skep-bpf/skep/internal/serve"
)

func main() {
	if serve.IsShim() {
		os.Exit(serve.Shim())
	}
	if os.Getenv(clientEnv) != "" {
		if err := client(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	rounds := flag.Int("rounds", 15, "interleaved rounds")
	only := flag.String("run", "", "only rows whose names match this `regexp`")
	flag.Parse()
	names, err := regexp.Compile(*only)
	if err == nil {
		err = run(os.Stdout, names, *rounds, 20*time.Millisecond)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A row is one comparison: what is measured on both sides, and how much of it at a time.
type row struct {
	name         string
	ours, theirs measure.Contender
	each         int // elements that one call moves
}

func run(out io.Writer, names *regexp.Regexp, rounds int, slice time.Duration) error {
	rows, closeMaps, err := mapRows()
	if err != nil {
		return err
	}
	defer closeMaps()
	calls, end, err := callRows()
	if err != nil {
		return err
	}
	defer end()
	t := measure.Table{Head: []string{"", "skep ns", "Linux ns", "skep ÷ Linux"}}
	for _, r := range append(rows, calls...) {
		if !names.MatchString(r.name) {
			continue
		}
		times, err := measure.Interleaved([]measure.Contender{r.ours, r.theirs}, rounds, slice)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		per := float64(r.each)
		t.Add(r.name, measure.Number(measure.Median(times[0])/per), measure.Number(measure.Median(times[1])/per),
			measure.Number(measure.Ratio(times[0], times[1])))
	}
	return t.Write(out)
}
