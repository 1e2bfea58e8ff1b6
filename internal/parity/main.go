// Parity measures how far this verifier agrees with a live kernel's on a set
// of objects built elsewhere, such as the kernel's own selftests. The objects
// lie in DIR/TREE/OBJECT.o; a table says what a kernel answered for each of
// their programs; with -live, the kernel that runs now is asked as well.
// Without a table, every program of the objects is measured against the kernel that runs.
//
//	parity -table selftests.tsv.gz [-live] [-only regexp] DIR
//	parity -live [-only regexp] DIR
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

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
	table := flag.String("table", "", "the `file` with the kernel's answers; none: all programs, with -live")
	live := flag.Bool("live", false, "ask the kernel that runs, too")
	only := flag.String("only", "", "objects and programs to measure: a `regexp` for OBJECT/PROGRAM")
	tree := flag.String("tree", "", "trees to measure: a `regexp`")
	flag.IntVar(&maxShown, "show", maxShown, "programs to name for each kind of difference")
	flag.Parse()
	if flag.NArg() != 1 || *table == "" && !*live {
		return errors.New("usage: parity -table file [-live] [-only regexp] directory\n       parity -live [-only regexp] directory")
	}
	names, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	trees, err := regexp.Compile(*tree)
	if err != nil {
		return err
	}
	m := &measurer{dir: flag.Arg(0), live: *live, plain: *table == "", cpus: runtime.NumCPU(), missing: map[string]int{}}
	if m.kernel, err = btf.LoadKernelSpec(); err != nil {
		return err
	}
	if n, err := linux.PossibleCPUs(); err == nil {
		m.cpus = n
	}
	if m.symbols, err = kernelSymbols(); err != nil {
		return err
	}
	wanted := func(r row) bool { return names.MatchString(r.object+"/"+r.program) && trees.MatchString(r.tree) }
	var findings []finding
	add := func(r row) {
		if wanted(r) {
			if f, ok := m.measure(r); ok {
				findings = append(findings, f)
			}
		}
	}
	defer m.close()
	if m.plain {
		if err := m.programs(trees, add); err != nil {
			return err
		}
	} else {
		rows, err := readTable(*table)
		if err != nil {
			return err
		}
		slices.SortStableFunc(rows, func(a, b row) int {
			return cmp.Or(cmp.Compare(a.tree, b.tree), cmp.Compare(a.object, b.object))
		})
		for _, r := range rows {
			add(r)
		}
	}
	report(os.Stdout, findings, m.missing)
	return nil
}

// programs calls add with a row for each program of the objects of the trees.
func (m *measurer) programs(trees *regexp.Regexp, add func(row)) error {
	files, err := filepath.Glob(filepath.Join(m.dir, "*", "*.o"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no objects TREE/*.o in %s", m.dir)
	}
	for _, file := range files {
		r := row{tree: filepath.Base(filepath.Dir(file)), object: strings.TrimSuffix(filepath.Base(file), ".o"), mode: "priv"}
		if !trees.MatchString(r.tree) {
			continue
		}
		if m.open(file); m.object.err != nil {
			m.missing[m.object.err.Error()]++
			continue
		}
		for _, p := range m.object.o.Image.Programs {
			r.program = p.Name
			add(r)
		}
	}
	return nil
}

// kernelSymbols are the names of the functions and variables whose addresses the kernel knows.
func kernelSymbols() (map[string]bool, error) {
	text, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		if f := strings.Fields(line); len(f) == 3 { // address, kind, name; a fourth: of a module
			names[f[2]] = true
		}
	}
	return names, nil
}
