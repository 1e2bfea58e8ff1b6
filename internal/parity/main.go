// Parity measures how far this verifier agrees with a live kernel's on a set
// of objects built elsewhere, such as the kernel's own selftests. The objects
// lie in DIR/TREE/OBJECT.o; a table says what a kernel answered for each of
// their programs; with -live, the kernel that runs now is asked as well.
//
//	parity -table selftests.tsv.gz [-live] [-only regexp] DIR
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/linux"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "parity:", err)
		os.Exit(1)
	}
}

func run() error {
	table := flag.String("table", "", "the `file` with the kernel's answers")
	live := flag.Bool("live", false, "ask the kernel that runs, too")
	only := flag.String("only", "", "objects and programs to measure: a `regexp` for OBJECT/PROGRAM")
	tree := flag.String("tree", "", "trees to measure: a `regexp`")
	flag.IntVar(&maxShown, "show", maxShown, "programs to name for each kind of difference")
	flag.Parse()
	if flag.NArg() != 1 || *table == "" {
		return errors.New("usage: parity -table file [-live] [-only regexp] directory")
	}
	names, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	trees, err := regexp.Compile(*tree)
	if err != nil {
		return err
	}
	rows, err := readTable(*table)
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(r row) bool {
		return !names.MatchString(r.object+"/"+r.program) || !trees.MatchString(r.tree)
	})
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.tree, b.tree), cmp.Compare(a.object, b.object))
	})
	m := &measurer{dir: flag.Arg(0), live: *live, cpus: runtime.NumCPU(), missing: map[string]int{}}
	if m.kernel, err = btf.LoadKernelSpec(); err != nil {
		return err
	}
	if n, err := linux.PossibleCPUs(); err == nil {
		m.cpus = n
	}
	var findings []finding
	for _, r := range rows {
		if f, ok := m.measure(r); ok {
			findings = append(findings, f)
		}
	}
	m.liveObject.close()
	report(os.Stdout, findings, m.missing)
	return nil
}
