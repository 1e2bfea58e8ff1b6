package verifier_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

const (
	opNospec  = isa.Opcode(0xc2) // the kernel's barrier, as it shows programs
	opMov32AX = isa.Opcode(0xb4) // into register 11, the limit of a mask
)

// barriers are the barriers and masks that the facts ask for, in order.
func barriers(insns []isa.Instruction, facts []verifier.InsnFacts) (all []string) {
	for i, f := range facts {
		if !f.Seen {
			continue
		}
		if f.Nospec {
			all = append(all, "barrier")
		}
		if f.Mask.Kind != 0 {
			all = append(all, fmt.Sprint("mask ", f.Mask.Limit))
		}
		if c := insns[i].Op.Class(); f.NospecResult && (c == isa.ClassST || c == isa.ClassSTX) {
			all = append(all, "barrier")
		}
	}
	return all
}

// barriersOf finds them in the program that the kernel made.
func barriersOf(xlated []byte) (all []string) {
	for ; len(xlated) >= 8; xlated = xlated[8:] {
		switch op := isa.Opcode(xlated[0]); {
		case op == opNospec:
			all = append(all, "barrier")
		case op == opMov32AX && xlated[1]&15 == 11:
			all = append(all, fmt.Sprint("mask ", binary.LittleEndian.Uint32(xlated[4:])))
		}
	}
	return all
}

// TestBarriers: barriers and masks of accepted programs are where the kernel puts them.
func TestBarriers(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	files, _ := filepath.Glob("testdata/*.txtar")
	programs, found := 0, 0
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ar.Files {
			c := parseCase(t, f)
			if !c.capBPF || c.refuse {
				continue
			}
			t.Run(f.Name, func(t *testing.T) {
				res, err := verifier.Verify(&c.prog, c.options())
				if err != nil {
					t.Fatal(err)
				}
				lp, err := loadKernel(t, c, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer lp.Close()
				info, err := lp.Info()
				if err != nil {
					t.Fatal(err)
				}
				if info.Xlated == nil {
					oracle.Need(t, "the kernel's translated programs", fmt.Errorf("they are hidden"))
				}
				got, want := barriers(c.prog.Insns, res.Insns), barriersOf(info.Xlated)
				if !slices.Equal(got, want) {
					t.Errorf("skep asks for %q, the kernel puts %q", got, want)
				}
				programs++
				found += len(want)
			})
		}
	}
	if found == 0 {
		t.Error("no barriers")
	}
	t.Logf("%d programs, %d barriers and masks", programs, found)
}

// TestRandomCapBPF compares verdicts, and where barriers and masks go, on random
// programs of a caller that has CAP_BPF alone.
func TestRandomCapBPF(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	m, err := linux.NewMap(&catalog.MapDef{Name: "m", Type: catalog.MapHash, KeySize: 4, ValueSize: 64, MaxEntries: 4}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	opts := verifier.Options{Unprivileged: true, CapBPF: true, CPUs: 2}
	accepted, found, bad := 0, 0, 0
	count := uint64(*randomCount) / 10 // changing capabilities takes its time
	for seed := *randomSeed; seed < *randomSeed+count && bad < 10; seed++ {
		c := randomCase(t, seed)
		if c.prog.Type != catalog.ProgSocketFilter {
			continue
		}
		res, err := verifier.Verify(&c.prog, opts)
		var lp *linux.LoadedProg
		var kerr error
		if err := withCapBPF(func() {
			lp, kerr = linux.Load(&linux.Prog{Name: "random", Type: c.prog.Type, Insns: c.prog.Insns, License: "GPL", Maps: []*linux.Map{m}})
		}); err != nil {
			t.Fatal(err)
		}
		var no, kno errno.Errno
		errors.As(err, &no)
		errors.As(kerr, &kno)
		if no != kno {
			bad++
			t.Errorf("seed %d: skep says %v, the kernel %v\n%s", seed, err, kerr, c.text)
		}
		if kerr != nil {
			continue
		}
		info, ierr := lp.Info()
		lp.Close()
		if ierr != nil {
			t.Fatal(ierr)
		}
		accepted++
		if err != nil || info.Xlated == nil {
			continue
		}
		got, want := barriers(c.prog.Insns, res.Insns), barriersOf(info.Xlated)
		found += len(want)
		if !slices.Equal(got, want) {
			bad++
			t.Errorf("seed %d: skep asks for %q, the kernel puts %q\n%s", seed, got, want, c.text)
		}
	}
	t.Logf("%d programs accepted, with %d barriers and masks", accepted, found)
}
