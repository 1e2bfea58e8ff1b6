package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/skep-bpf/skep/internal/corpus"
)

// tally are the totals of a group of rows.
type tally struct {
	rows, agree             int
	refused, sameErrno      int // refused by both
	messages, sameMessage   int // of those, with the kernel's log to look in
	annotated, sameExpected int // with annotated words that the kernel printed
	unsound, incomplete     int
	compared, less          int // accepted by both: processed no more than the kernel
	logRatio, worst         float64
	timed                   int
	logTime                 float64
}

func (t *tally) add(f *finding) {
	k := f.kernel()
	t.rows++
	switch {
	case f.unsound():
		t.unsound++
	case f.incomplete():
		t.incomplete++
	default:
		t.agree++
	}
	if !f.ours.Accept && !k.Accept {
		t.refusals(f, k)
	}
	if !f.ours.Accept || !k.Accept || k.Insns == 0 || f.ours.Insns == 0 {
		return
	}
	t.compared++
	ratio := float64(f.ours.Insns) / float64(k.Insns)
	if ratio <= 1 {
		t.less++
	}
	t.logRatio += math.Log(ratio)
	t.worst = max(t.worst, ratio)
	us := f.loadUS
	if f.load > 0 {
		us = float64(f.load) / float64(time.Microsecond)
	}
	if us > 0 {
		t.timed++
		t.logTime += math.Log(float64(f.took) / float64(time.Microsecond) / us)
	}
}

func (t *tally) refusals(f *finding, k corpus.Answer) {
	t.refused++
	if f.ours.Errno == k.Errno {
		t.sameErrno++
	}
	if k.Log == "" {
		return
	}
	t.messages++
	if strings.Contains(k.Log, f.ours.Msg) {
		t.sameMessage++
	}
	for _, w := range f.wanted {
		if !strings.Contains(k.Log, w) {
			return
		}
	}
	if len(f.wanted) == 0 {
		return
	}
	t.annotated++
	for _, w := range f.wanted {
		if strings.Contains(f.ours.Log, w) {
			t.sameExpected++
			return
		}
	}
}

func share(n, of int) string {
	if of == 0 {
		return "–"
	}
	return fmt.Sprintf("%d/%d %.2f %%", n, of, 100*float64(n)/float64(of))
}

// report prints totals, then the differences: what is accepted here and refused
// by the kernel first, the others by what is said of them.
func report(w io.Writer, findings []finding, missing map[string]int) {
	totals := map[string]*tally{}
	for i := range findings {
		f := &findings[i]
		for _, key := range []string{f.tree + " " + f.mode + " " + f.group(), "all " + f.mode + " " + f.group(), "all " + f.mode + " all"} {
			if totals[key] == nil {
				totals[key] = &tally{}
			}
			totals[key].add(f)
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "group\tagree\tunsound\tincomplete\terrno\tmessage in log\tannotated message\tinsns ≤\tratio\tworst\ttime")
	for _, key := range slices.Sorted(maps.Keys(totals)) {
		t := totals[key]
		fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%.3f\t%.2f\t%.2f\n", key, share(t.agree, t.rows), t.unsound, t.incomplete,
			share(t.sameErrno, t.refused), share(t.sameMessage, t.messages), share(t.sameExpected, t.annotated), share(t.less, t.compared),
			math.Exp(t.logRatio/float64(max(t.compared, 1))), t.worst, math.Exp(t.logTime/float64(max(t.timed, 1))))
	}
	tw.Flush()

	differences(w, "accepted here, refused by the kernel", findings, (*finding).unsound, func(f *finding) string { return f.kernel().Errno + " " + f.kernel().Msg })
	differences(w, "refused here, accepted by the kernel", findings, (*finding).incomplete, func(f *finding) string { return f.ours.Errno + " " + f.ours.Msg })
	differences(w, "refused with different errors", findings, func(f *finding) bool {
		return !f.ours.Accept && !f.kernel().Accept && f.ours.Errno != f.kernel().Errno
	}, refusedBoth)
	differences(w, "refused in words the kernel's log does not have", findings, func(f *finding) bool {
		k := f.kernel()
		return !f.ours.Accept && !k.Accept && f.ours.Errno == k.Errno && k.Log != "" && !strings.Contains(k.Log, f.ours.Msg)
	}, refusedBoth)
	differences(w, "more than 1.5 times the instructions processed", findings, func(f *finding) bool {
		return f.ours.Accept && f.kernel().Accept && f.kernel().Insns > 0 && f.ours.Insns*2 > f.kernel().Insns*3
	}, func(f *finding) string { return fmt.Sprintf("%d against %d", f.ours.Insns, f.kernel().Insns) })

	if len(missing) > 0 {
		fmt.Fprintln(w, "\n## not measured")
		for _, key := range byCount(missing) {
			fmt.Fprintf(w, "%5d  %s\n", missing[key], key)
		}
	}
}

func refusedBoth(f *finding) string {
	return fmt.Sprintf("%s %s | kernel: %s %s", f.ours.Errno, f.ours.Msg, f.kernel().Errno, f.kernel().Msg)
}

var numbers = regexp.MustCompile(`-?\b(0x[0-9a-f]+|\d+)\b|R\d+|#\d+`)

// differences prints the findings that fit, by what is said of them without
// the numbers in it, the most frequent first.
func differences(w io.Writer, title string, findings []finding, fits func(*finding) bool, said func(*finding) string) {
	groups := map[string][]*finding{}
	counts := map[string]int{}
	total := 0
	for i := range findings {
		if f := &findings[i]; fits(f) {
			key := numbers.ReplaceAllString(said(f), "N")
			groups[key] = append(groups[key], f)
			counts[key]++
			total++
		}
	}
	fmt.Fprintf(w, "\n## %s: %d\n", title, total)
	for _, key := range byCount(counts) {
		fmt.Fprintf(w, "%5d  %s\n", counts[key], key)
		for i, f := range groups[key] {
			if i == maxShown {
				fmt.Fprintf(w, "         …\n")
				break
			}
			fmt.Fprintf(w, "         %s %s %s %s: %s\n", f.tree, f.mode, f.object, f.program, said(f))
		}
	}
}

// maxShown is how many programs of one kind of difference are named.
var maxShown = 8

func byCount(m map[string]int) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b))
	})
}
