package verifier_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
)

// tracedText is a program whose functions are traced.
const tracedText = `prog: sched_cls
func main: global (skb)
func add: global (skb, int)
func peek: global (ptr:8, ptr:4)
func loose: static (ptr:8)

main:
r6 = r1
r2 = 7
call add
*(u64 *)(r10 - 8) = 0
r1 = r10
r1 += -8
r2 = 0
call peek
r1 = 0
call loose
r0 = 0
exit
add:
r0 = r2
exit
peek:
r0 = 0
exit
loose:
r0 = 0
exit
`

// tracer assembles a tracing program of one kind of attachment.
func tracer(t *testing.T, attach catalog.AttachType, to, text string, target *verifier.Target) *testCase {
	t.Helper()
	c := parseCase(t, txtar.File{Name: "tracer", Data: []byte("prog: tracing\nlicense: GPL\n\n" + text)})
	c.prog.Attach, c.prog.AttachTo, c.prog.Target = attach, to, target
	return c
}

// accepted verifies a program and makes a target of it.
func accepted(t *testing.T, p *verifier.Program) *verifier.Target {
	t.Helper()
	res, err := verifier.Verify(p, verifier.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return verifier.TargetOf(p, res)
}

func refusedWith(t *testing.T, p *verifier.Program, want string) {
	t.Helper()
	_, err := verifier.Verify(p, verifier.Options{})
	var ve *verifier.Error
	switch {
	case want == "" && err != nil:
		t.Errorf("%+v", err)
	case want != "" && (!errors.As(err, &ve) || !strings.HasPrefix(ve.Msg, want)):
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestTraceProgram verifies programs that are attached to functions of another
// program. The running kernel need not permit any, so their verdicts are those
// its sources give.
func TestTraceProgram(t *testing.T) {
	if kernelBTF() == nil {
		oracle.Need(t, "kernel BTF", errors.New("none is to be had"))
	}
	base := parseCase(t, txtar.File{Name: "traced", Data: []byte(tracedText)})
	base.prog.Funcs[2].Func.Type.(*btf.FuncProto).Params[1].Type = &btf.Pointer{Target: &btf.Int{Name: "int", Size: 4}}
	target := accepted(t, &base.prog)
	const (
		entry  = catalog.AttachTraceFEntry
		exit   = catalog.AttachTraceFExit
		modify = catalog.AttachModifyReturn
		end    = "r0 = 0\nexit\n"
	)
	for _, c := range []struct {
		name   string
		attach catalog.AttachType
		to     string
		text   string
		want   string
	}{
		{"nothing read", entry, "main", end, ""},
		{"no function", entry, "", end, "Tracing programs must provide btf_id"},
		{"no such function", entry, "none", end, "Subprog none doesn't exist"},
		{"a function of the kernel", entry, "vfs_read", end, "Subprog vfs_read doesn't exist"},
		{"the context is the kernel's struct", entry, "main", "r1 = *(u64 *)(r1 + 0)\nr2 = *(u32 *)(r1 + 112)\n" + end, ""},
		{"the context is not the program's", entry, "main", "r1 = *(u64 *)(r1 + 0)\n*(u32 *)(r1 + 8) = 0\n" + end, "only read is supported"},
		{"half of the context", entry, "main", "r1 = *(u32 *)(r1 + 0)\n" + end, "func 'main' size 4 must be 8"},
		{"the context of another function", entry, "add", "r1 = *(u64 *)(r1 + 0)\nr2 = *(u32 *)(r1 + 112)\n" + end, ""},
		{"a number", entry, "add", "r1 = *(u64 *)(r1 + 8)\nr1 = *(u64 *)(r1 + 0)\n" + end, "R1 invalid mem access 'scalar'"},
		{"no result at entry", entry, "add", "r1 = *(u64 *)(r1 + 16)\n" + end, "func 'add' doesn't have 3-th argument"},
		{"the result at exit", exit, "add", "r2 = *(u64 *)(r1 + 16)\n" + end, ""},
		{"nothing behind the result", exit, "add", "r2 = *(u64 *)(r1 + 24)\n" + end, "func 'add' doesn't have 4-th argument"},
		{"other pointers", entry, "peek", "r2 = *(u64 *)(r1 + 0)\n" + end, "invalid bpf_context access off=0 size=8"},
		{"an address", entry, "peek", "r2 = *(u64 *)(r1 + 8)\n" + end, ""},
		{"between arguments", entry, "add", "r2 = *(u32 *)(r1 + 4)\n" + end, "func 'add' offset 4 is not multiple of 8"},
		{"a write", entry, "add", "*(u64 *)(r1 + 8) = 0\n" + end, "invalid bpf_context access off=8 size=8"},
		{"BTF that cannot be relied on", entry, "loose", "r2 = *(u64 *)(r1 + 32)\nr2 = *(u32 *)(r1 + 0)\n" + end, ""},
		{"its pointers are numbers", entry, "loose", "r2 = *(u64 *)(r1 + 0)\nr2 = *(u64 *)(r2 + 0)\n" + end, "R2 invalid mem access 'scalar'"},
		{"five of them", entry, "loose", "r2 = *(u64 *)(r1 + 40)\n" + end, "func 'loose' doesn't have 6-th argument"},
		{"and a result", exit, "loose", "r2 = *(u64 *)(r1 + 40)\n" + end, ""},
		{"and no more", exit, "loose", "r2 = *(u64 *)(r1 + 56)\n" + end, "func 'loose' doesn't have 8-th argument"},
		{"a result of its own", entry, "main", "r0 = 1\nexit\n", "At program exit the register R0 has smin=1 smax=1 should have been in [0, 0]"},
		{"modified returns", modify, "add", end, "can't modify return codes of BPF programs"},
		{"as a tracepoint", catalog.AttachTraceRawTp, "main", end, "Only FENTRY/FEXIT progs are attachable to another BPF prog"},
	} {
		t.Run(c.name, func(t *testing.T) {
			refusedWith(t, &tracer(t, c.attach, c.to, c.text, target).prog, c.want)
		})
	}

	t.Run("as an iterator", func(t *testing.T) {
		p := tracer(t, catalog.AttachTraceIter, "main", end, target)
		var ve *verifier.Error
		if _, err := verifier.Verify(&p.prog, verifier.Options{}); !errors.As(err, &ve) || ve.Errno != errno.EINVAL || ve.Msg != "" {
			t.Errorf("got %v, want EINVAL without a word", err)
		}
	})
	t.Run("sleepable", func(t *testing.T) {
		for _, attach := range []catalog.AttachType{entry, modify} {
			p := tracer(t, attach, "main", end, target)
			p.prog.Flags |= catalog.LoadSleepable
			refusedWith(t, &p.prog, "main is not sleepable")
		}
	})
	t.Run("without BTF", func(t *testing.T) {
		bare := parseCase(t, txtar.File{Name: "bare", Data: []byte("prog: xdp\n\nr0 = 0\nexit\n")})
		to := accepted(t, &bare.prog)
		refusedWith(t, &tracer(t, entry, "main", end, to).prog, "FENTRY/FEXIT program can only be attached to another program annotated with BTF")
		bare.prog.BTF = kernelBTF() // types, but none of its functions
		refusedWith(t, &tracer(t, entry, "main", end, accepted(t, &bare.prog)).prog, "Subprog main doesn't exist")
	})
	t.Run("a callback of exceptions", func(t *testing.T) {
		to := *target
		to.Funcs = append([]verifier.TargetFunc(nil), target.Funcs...)
		to.Funcs[1].Exception = true
		refusedWith(t, &tracer(t, exit, "add", end, &to).prog, "FENTRY/FEXIT programs cannot attach to exception callback")
	})
	t.Run("without kernel BTF", func(t *testing.T) {
		p := tracer(t, entry, "add", "r2 = *(u64 *)(r1 + 8)\n"+end, target)
		p.prog.KernelBTF = nil
		refusedWith(t, &p.prog, "")
		p = tracer(t, entry, "add", "r2 = *(u64 *)(r1 + 0)\n"+end, target)
		p.prog.KernelBTF = nil
		if _, err := verifier.Verify(&p.prog, verifier.Options{}); err == nil || !strings.Contains(err.Error(), "not supported by this verifier: the context of a traced program without kernel BTF") {
			t.Error(err)
		}
	})
	t.Run("helpers for functions of the kernel", func(t *testing.T) {
		for _, h := range []string{"bpf_d_path", "bpf_sk_storage_get", "bpf_sk_storage_delete"} {
			refusedWith(t, &tracer(t, entry, "main", "call "+h+"\n"+end, target).prog, "helper call is not allowed in probe")
		}
	})
	t.Run("chains", func(t *testing.T) {
		named := func(attach catalog.AttachType, to string, target *verifier.Target) *verifier.Target {
			p := tracer(t, attach, to, end, target)
			p.prog.Funcs = []verifier.FuncInfo{{Func: &btf.Func{
				Name: "seen", Linkage: btf.GlobalFunc, Type: &btf.FuncProto{
					Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
					Params: []btf.FuncParam{{Name: "ctx", Type: &btf.Pointer{Target: &btf.Int{Name: "unsigned long long", Size: 8}}}},
				},
			}}}
			return accepted(t, &p.prog)
		}
		ofKernel := named(entry, "vfs_read", nil)
		ofTracer := named(exit, "seen", ofKernel)
		refusedWith(t, &tracer(t, entry, "seen", "r1 = *(u64 *)(r1 + 0)\nr0 = 0\nexit\n", ofKernel).prog, "")
		refusedWith(t, &tracer(t, entry, "seen", end, ofTracer).prog, "Cannot nest tracing program attach more than once")
		// Of a program's tracer there may be one: it is not counted as one more.
		refusedWith(t, &tracer(t, entry, "seen", end, named(entry, "main", target)).prog, "")
	})
	t.Run("a program that replaces", func(t *testing.T) {
		ext := parseCase(t, txtar.File{Name: "ext", Data: []byte("prog: ext\nfunc f: global (skb, int)\n\nf:\nr0 = 0\nexit\n")})
		ext.prog.Target, ext.prog.AttachTo = target, "add"
		to := accepted(t, &ext.prog)
		refusedWith(t, &tracer(t, entry, "f", "r1 = *(u64 *)(r1 + 0)\nr2 = *(u32 *)(r1 + 112)\n"+end, to).prog, "")
	})
}

// TestTraceContexts reads the context of a target of every type of program.
func TestTraceContexts(t *testing.T) {
	spec := kernelBTF()
	if spec == nil {
		oracle.Need(t, "kernel BTF", errors.New("none is to be had"))
	}
	for _, c := range []struct {
		kind   catalog.ProgType
		shown  btf.Type
		inside string
	}{
		{catalog.ProgXDP, &btf.Struct{Name: "xdp_md"}, "xdp_buff"},
		{catalog.ProgXDP, &btf.Struct{Name: "xdp_buff"}, "xdp_buff"},
		{catalog.ProgXDP, &btf.Struct{Name: "__sk_buff"}, ""},
		{catalog.ProgSocketFilter, &btf.Struct{Name: "__sk_buff"}, "sk_buff"},
		{catalog.ProgSchedCls, &btf.Struct{Name: "sk_buff"}, "sk_buff"},
		{catalog.ProgCGroupSock, &btf.Struct{Name: "bpf_sock"}, "sock"},
		{catalog.ProgCGroupSockAddr, &btf.Struct{Name: "bpf_sock_addr"}, "bpf_sock_addr_kern"},
		{catalog.ProgSockOps, &btf.Const{Type: &btf.Struct{Name: "bpf_sock_ops"}}, "bpf_sock_ops_kern"},
		{catalog.ProgSkMsg, &btf.Struct{Name: "sk_msg_md"}, "sk_msg"},
		{catalog.ProgFlowDissector, &btf.Struct{Name: "__sk_buff"}, "bpf_flow_dissector"},
		{catalog.ProgSkLookup, &btf.Struct{Name: "bpf_sk_lookup"}, "bpf_sk_lookup_kern"},
		{catalog.ProgNetfilter, &btf.Struct{Name: "bpf_nf_ctx"}, "bpf_nf_ctx"},
		{catalog.ProgKprobe, &btf.Typedef{Name: "bpf_user_pt_regs_t", Type: &btf.Struct{Name: "any"}}, "pt_regs"},
		{catalog.ProgKprobe, &btf.Struct{Name: "pt_regs"}, "pt_regs"},
		{catalog.ProgPerfEvent, &btf.Struct{Name: "bpf_perf_event_data"}, "bpf_perf_event_data_kern"},
		{catalog.ProgTracepoint, &btf.Struct{Name: "args"}, ""},
		{catalog.ProgSyscall, &btf.Struct{Name: "args"}, ""},
	} {
		fn := &btf.Func{Name: "main", Linkage: btf.GlobalFunc, Type: &btf.FuncProto{
			Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
			Params: []btf.FuncParam{{Name: "ctx", Type: &btf.Pointer{Target: c.shown}}},
		}}
		target := &verifier.Target{Type: c.kind, Types: true, Funcs: []verifier.TargetFunc{{Func: fn}}}
		p := tracer(t, catalog.AttachTraceFEntry, "main", "r1 = *(u64 *)(r1 + 0)\nr0 = 0\nexit\n", target)
		res, err := verifier.Verify(&p.prog, verifier.Options{LogLevel: 2})
		if c.inside == "" {
			if !errors.Is(err, errno.EACCES) {
				t.Errorf("type %d, %s: %v", c.kind, c.shown, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("type %d, %s: %v", c.kind, c.shown, err)
		} else if !strings.Contains(res.Log, "R1=ptr_"+c.inside+"()") {
			t.Errorf("type %d, %s: want ptr_%s\n%s", c.kind, c.shown, c.inside, res.Log)
		}
	}
}
