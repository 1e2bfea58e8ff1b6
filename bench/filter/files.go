package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/skep-bpf/skep/bench/measure"
)

// files compares skep filter, tcpdump and cat over whole captures by the
// processor time, user's and system's, that each process took.
func files(out io.Writer, o *options) error {
	tmp, err := os.MkdirTemp("", "skep-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	skep, err := buildSkep(tmp)
	if err != nil {
		return err
	}
	tcpdump, missing := exec.LookPath("tcpdump")
	fmt.Fprintf(out, "Whole captures, processor time; medians of %d interleaved rounds; below 1 skep takes less.\n\n", o.rounds)
	t := &measure.Table{Head: []string{"capture and expression", "skep ÷ tcpdump", "skep ÷ cat", "skep ms", "tcpdump ms", "cat ms", "matching"}}
	for _, c := range captures {
		path, err := c.make(o.dir, o.size)
		if err != nil {
			return err
		}
		t.Add(c.name, "", "", "", "", "", "")
		for _, e := range expressions {
			commands := [][]string{
				{skep, "filter", "-r", path, "-w", "/dev/null", e},
				{tcpdump, "-r", path, "-w", "/dev/null", e},
				{"sh", "-c", "exec cat " + path + " >/dev/null"},
			}
			if missing != nil {
				commands[1] = nil
			}
			times, err := interleavedCommands(commands, o.rounds)
			if err != nil {
				return err
			}
			share, err := matching(skep, path, e)
			if err != nil {
				return err
			}
			cells := row("`"+e+"`", quotient(times[0], times[1]), quotient(times[0], times[2]), ms(times[0]), ms(times[1]), ms(times[2]))
			t.Add(append(cells, share)...)
		}
	}
	if err := t.Write(out); err != nil {
		return err
	}
	if missing != nil {
		fmt.Fprintf(out, "tcpdump is left out: %v.\n\n", missing)
	}
	return nil
}

// interleavedCommands returns the processor time of every command in every
// round; a round before the first warms the page cache.
func interleavedCommands(commands [][]string, rounds int) ([][]float64, error) {
	times := make([][]float64, len(commands))
	for n := range rounds + 1 {
		for i, c := range commands {
			if c == nil {
				continue
			}
			cmd := exec.Command(c[0], c[1:]...)
			if text, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("%v: %w %s", c, err, text)
			}
			if n > 0 {
				s := cmd.ProcessState
				times[i] = append(times[i], float64(s.UserTime()+s.SystemTime()))
			}
		}
	}
	return times, nil
}

// matching is what skep filter says at its end: how many packets match.
func matching(skep, path, expr string) (string, error) {
	text, err := exec.Command(skep, "filter", "--count", "-r", path, expr).Output()
	return string(text[:max(len(text)-1, 0)]), err
}

func quotient(a, b []float64) float64 {
	if a == nil || b == nil {
		return 0
	}
	return measure.Ratio(a, b)
}

func ms(times []float64) float64 {
	if times == nil {
		return 0
	}
	return measure.Median(times) / float64(time.Millisecond)
}

// buildSkep builds the command into dir, as the main module has it.
func buildSkep(dir string) (string, error) {
	skep := filepath.Join(dir, "skep")
	build := exec.Command("go", "build", "-o", skep, "./cmd/skep")
	build.Dir = ".."
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building skep: %w %s", err, text)
	}
	return skep, nil
}
