package catalog_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	. "github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

// leftOut are functions tagged as kfuncs that no program can call: targets of
// tests of tracing, and what the verifier itself puts in.
var leftOut = regexp.MustCompile(`^(bpf_modify_return_test|bpf_fentry_test|__bpf_trap$)`)

// kernelKfuncs returns the BTF ids of the running kernel's kfuncs.
func kernelKfuncs(t *testing.T) map[string]int32 {
	t.Helper()
	spec := kernelBTF(t)
	ids := map[string]int32{}
	for typ, err := range spec.All() {
		if err != nil {
			t.Fatal(err)
		}
		f, ok := typ.(*btf.Func)
		if !ok {
			continue
		}
		for _, tag := range f.Tags {
			if tag == "bpf_kfunc" {
				id, err := spec.TypeID(f)
				if err != nil {
					t.Fatal(err)
				}
				ids[f.Name] = int32(id)
			}
		}
	}
	if len(ids) == 0 {
		oracle.Need(t, "the kernel's BTF", errors.New("it does not tag kfuncs"))
	}
	return ids
}

// Kfunc rows are unique, complete, and found.
func TestKfuncRows(t *testing.T) {
	for i := range Kfuncs() {
		k := &Kfuncs()[i]
		if k.Name == "" || k.Since == "" || k.Doc == "" || KfuncByName(k.Name) != k {
			t.Errorf("row %d (%s) is incomplete or hidden", i, k.Name)
		}
	}
	if KfuncByName("") != nil || KfuncByName("vprintk") != nil {
		t.Error("a row for what is no kfunc")
	}
}

// The running kernel's kfuncs have rows, and program types may call those the
// rows say; sleepable ones only when sleepable.
func TestKfuncSets(t *testing.T) {
	needKernel(t)
	ids := kernelKfuncs(t)
	for name := range ids {
		if KfuncByName(name) == nil && !leftOut.MatchString(name) {
			t.Errorf("%s has no row", name)
		}
	}
	asked := 0
	for _, s := range sites(t) {
		for i := range Kfuncs() {
			k := &Kfuncs()[i]
			id, ok := ids[k.Name]
			if !ok || strings.HasPrefix(k.Name, "bpf_xdp_metadata_") {
				continue // not configured, or only for programs bound to a device
			}
			log, ok, err := s.load(isa.KfuncCall(id, 0), isa.Mov64Imm(isa.R0, s.exitCode()), isa.ExitInsn())
			if log == "" {
				t.Fatalf("%v: %v", s, err)
			}
			may := ok || !strings.Contains(log, "is not allowed")
			if may != k.Allows(s.kind.Type, s.attach) {
				t.Errorf("%v: %s: the kernel says %v, the row %v", s, k.Name, may, !may)
			}
			if may && s.flags&flagSleepable == 0 {
				if sleeps := strings.Contains(log, "program must be sleepable"); sleeps != (k.Flags&KfSleepable != 0) {
					t.Errorf("%v: %s: sleepable to the kernel: %v, by the row: %v", s, k.Name, sleeps, !sleeps)
				}
			}
			asked++
		}
	}
	t.Logf("%d pairs of program site and kfunc", asked)
}
