package verifier_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// TestTargets loads each argument of every tracepoint, iterator and LSM hook
// of the running kernel, there and here, and compares the logs.
func TestTargets(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of loads")
	}
	oracle.Need(t, "bpf(2)", linux.Available())
	spec := kernelBTF()
	if spec == nil {
		oracle.Need(t, "kernel BTF", errors.New("none is to be had"))
	}
	compared := 0
	for typ, err := range spec.All() {
		if err != nil {
			t.Fatal(err)
		}
		to, ok := attachTo(typ)
		if !ok {
			continue
		}
		id, err := spec.TypeID(typ)
		if err != nil {
			t.Fatal(err)
		}
		for arg := 0; arg <= to.args; arg++ {
			insns, err := isa.Assemble("arg", fmt.Sprintf("r1 = *(u64 *)(r1 + %d)\nr0 = 0\nexit\n", arg*8), isa.Symbols{})
			if err != nil {
				t.Fatal(err)
			}
			want, permitted := kernelSays(t, &linux.Prog{
				Name: "arg", Type: to.kind, Attach: to.attach, Insns: insns, License: "GPL", LogLevel: 2, AttachBTFID: uint32(id),
			})
			if !permitted {
				break
			}
			compared++
			if got := skepSays(&verifier.Program{
				Type: to.kind, Attach: to.attach, AttachTo: to.name, Insns: insns, GPL: true, KernelBTF: spec,
			}); got != want {
				t.Errorf("argument %d of %s: skep says\n%s\nthe kernel\n%s", arg, typ.TypeName(), got, want)
			}
		}
	}
	t.Logf("%d arguments compared", compared)
}

type attachment struct {
	kind   catalog.ProgType
	attach catalog.AttachType
	name   string
	args   int
}

// attachTo says how a program attaches to what a kernel type stands for.
func attachTo(typ btf.Type) (attachment, bool) {
	if def, ok := typ.(*btf.Typedef); ok {
		name, ok := strings.CutPrefix(def.Name, "btf_trace_")
		p, isPtr := def.Type.(*btf.Pointer)
		if !ok || !isPtr {
			return attachment{}, false
		}
		proto, ok := p.Target.(*btf.FuncProto)
		return attachment{catalog.ProgTracing, catalog.AttachTraceRawTp, name, len(proto.Params)}, ok
	}
	fn, ok := typ.(*btf.Func)
	if !ok {
		return attachment{}, false
	}
	args := len(fn.Type.(*btf.FuncProto).Params)
	if name, ok := strings.CutPrefix(fn.Name, "bpf_iter_"); ok {
		return attachment{catalog.ProgTracing, catalog.AttachTraceIter, name, args}, true
	}
	name, ok := strings.CutPrefix(fn.Name, "bpf_lsm_")
	return attachment{catalog.ProgLSM, catalog.AttachLSMMAC, name, args}, ok
}

// kernelSays returns the live kernel's log and errno, unless it permits no such program.
func kernelSays(t *testing.T, p *linux.Prog) (string, bool) {
	t.Helper()
	lp, err := linux.Load(p)
	if err == nil {
		defer lp.Close()
		return withoutTime(lp.Log), true
	}
	var ke *linux.Error
	if !errors.As(err, &ke) {
		t.Fatal(err)
	}
	return withoutTime(ke.Log) + " " + ke.Errno.Name(), ke.Errno != errno.EPERM
}

func skepSays(p *verifier.Program) string {
	res, err := verifier.Verify(p, verifier.Options{LogLevel: 2})
	if err == nil {
		return withoutTime(res.Log)
	}
	var ve *verifier.Error
	errors.As(err, &ve)
	return withoutTime(ve.Log) + " " + ve.Errno.Name()
}

// withoutTime drops the line that says how long it took.
func withoutTime(log string) string {
	var out []string
	for _, l := range strings.Split(strings.TrimSpace(log), "\n") {
		if !strings.HasPrefix(l, "verification time") {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}
