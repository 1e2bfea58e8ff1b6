package verify_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/isa"
	"github.com/skep-bpf/skep/verify"
)

func load(t *testing.T, object string) *verify.Report {
	t.Helper()
	r, err := verify.Load("../examples/"+object, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func kernel(t *testing.T, release string) verify.Kernel {
	t.Helper()
	k, err := verify.ParseKernel(release)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What real objects need, and where.
func TestObjects(t *testing.T) {
	for _, c := range []struct {
		object, program string
		oldest          string
		on              string // the release before
		missing         string // there, first
		where           string
	}{
		{"loops/loops.o", "unrolled", "4.8", "4.7", "program type xdp", "the program"},
		{"loops/loops.o", "plain", "5.3", "5.2", "bounded loops", "loops.c:31"},
		{"loops/loops.o", "looped", "5.18", "5.17", "helper bpf_xdp_load_bytes", "loops.c:53"},
		{"events/events.o", "watch", "5.8", "5.7", "map type ringbuf", "events.c:70"},
		{"loops/bpf_for.o", "iterated", "6.4", "6.3", "kernel function bpf_iter_num_new", "bpf_for.c:30"},
		{"firewall/firewall.o", "firewall", "5.2", "5.1", "address of global data", "firewall.c:156"},
	} {
		p := load(t, c.object).Program(c.program)
		v, ok := p.MinKernel()
		if !ok || v.Kernel.String() != c.oldest || !p.LoadsOn(c.oldest) || !v.OK() {
			t.Errorf("%s: loads on %v, %v, want %s", c.program, v.Kernel, ok, c.oldest)
		}
		before := p.On(kernel(t, c.on))
		if before.OK() || p.LoadsOn(c.on) || before.Missing == nil {
			t.Errorf("%s on %s: %s", c.program, c.on, before.Answer)
			continue
		}
		if n := before.Missing; n.What != c.missing || n.Place.String() != c.where || n.Since.String() != c.oldest {
			t.Errorf("%s on %s: missing %v at %v, want %s at %s", c.program, c.on, n, n.Place, c.missing, c.where)
		}
	}
}

func helperID(name string) (int32, bool) {
	h := catalog.HelperByName(name)
	if h == nil {
		return 0, false
	}
	return int32(h.ID), true
}

// Each form of program, by its first need that 3.19 does not fill.
func TestNeeds(t *testing.T) {
	const end = "r0 = 0\nexit\n"
	for _, c := range []struct {
		name  string
		prog  image.Program
		maps  []*image.Map
		text  string
		what  string
		since string
	}{
		{name: "helper", prog: image.Program{Type: catalog.ProgXDP}, text: "call bpf_ktime_get_boot_ns\n" + end,
			what: "helper bpf_ktime_get_boot_ns", since: "5.8"},
		{name: "helper of a program type", prog: image.Program{Type: catalog.ProgXDP}, text: "call bpf_get_current_pid_tgid\n" + end,
			what: "helper bpf_get_current_pid_tgid in xdp programs", since: "6.10"},
		{name: "the same elsewhere", prog: image.Program{Type: catalog.ProgKprobe}, text: "call bpf_get_current_pid_tgid\n" + end,
			what: "helper bpf_get_current_pid_tgid", since: "4.2"},
		{name: "field", prog: image.Program{Type: catalog.ProgSchedCls}, text: "r2 = *(u32 *)(r1 + 164)\n" + end,
			what: "field __sk_buff.gso_segs", since: "5.1"},
		{name: "jump", prog: image.Program{Type: catalog.ProgXDP}, text: "r2 = 7\nif r2 < 5 goto +0\n" + end,
			what: "jumps if less (cpu v2)", since: "4.14"},
		{name: "signed division", prog: image.Program{Type: catalog.ProgXDP}, text: "r2 = 8\nr2 s/= 2\n" + end,
			what: "signed division and modulo (cpu v4)", since: "6.6"},
		{name: "loop", prog: image.Program{Type: catalog.ProgXDP}, text: "r1 = 3\nr1 += -1\nif r1 != 0 goto -2\n" + end,
			what: "bounded loops", since: "5.3"},
		{name: "jump back that closes no circle", prog: image.Program{Type: catalog.ProgXDP},
			text: "goto +2\nr0 = 0\nexit\ngoto -3\n", what: "program type xdp", since: "4.8"},
		{name: "sleepable", prog: image.Program{Type: catalog.ProgSyscall, Flags: catalog.LoadSleepable}, text: end,
			what: "program type syscall", since: "5.14"},
		{name: "sleepable uprobe", prog: image.Program{Type: catalog.ProgKprobe, Flags: catalog.LoadSleepable}, text: end,
			what: catalog.AbilitySleepUprobe, since: "6.0"},
		{name: "frags", prog: image.Program{Type: catalog.ProgXDP, Attach: catalog.AttachXDP, Flags: catalog.LoadXDPHasFrags}, text: end,
			what: "BPF_F_XDP_HAS_FRAGS", since: "5.18"},
		{name: "attach type", prog: image.Program{Type: catalog.ProgXDP, Attach: catalog.AttachXDPCPUMap}, text: end,
			what: "attach type xdp_cpumap", since: "5.9"},
		{name: "a map nobody names", prog: image.Program{Type: catalog.ProgSocketFilter}, text: end,
			maps: []*image.Map{{Name: "m", Type: catalog.MapBloomFilter, ValueSize: 4, MaxEntries: 1}},
			what: "map type bloom_filter", since: "5.16"},
		{name: "map flag", prog: image.Program{Type: catalog.ProgSocketFilter}, text: end,
			maps: []*image.Map{{Name: "m", Type: catalog.MapHash, KeySize: 4, ValueSize: 4, MaxEntries: 1, Flags: catalog.FlagZeroSeed}},
			what: "map flag BPF_F_ZERO_SEED", since: "5.0"},
		{name: "nothing", prog: image.Program{Type: catalog.ProgSocketFilter}, text: end, what: "", since: "3.19"},
	} {
		t.Run(c.name, func(t *testing.T) {
			insns, err := isa.Assemble("test", c.text, isa.Symbols{Helper: helperID})
			if err != nil {
				t.Fatal(err)
			}
			c.prog.Name, c.prog.Insns = "p", insns
			r, err := verify.Image(&image.Image{Name: "x", License: "GPL", Programs: []*image.Program{&c.prog}, Maps: c.maps}, nil)
			if err != nil {
				t.Fatal(err)
			}
			p := r.Program("p")
			if p.Err != nil {
				t.Fatal(p.Err)
			}
			v, _ := p.MinKernel()
			if v.Kernel.String() != c.since {
				t.Errorf("since %v, want %s", v.Kernel, c.since)
			}
			known := slices.ContainsFunc(p.Needs, func(n verify.Need) bool { return n.What == c.what && n.Since.String() == c.since })
			if c.what != "" && !known {
				t.Errorf("needs %v, want %s", p.Needs, c.what)
			}
		})
	}
}

// Programs too large for old kernels, in length and on all paths.
func TestLimits(t *testing.T) {
	long := slices.Repeat(isa.Instructions{{Op: isa.Opcode(isa.ClassALU64) | isa.Mov, Dst: isa.R0}}, 4096)
	long = append(long, isa.Instruction{Op: isa.Opcode(isa.ClassJMP) | isa.Exit})
	p := image.Program{Name: "long", Type: catalog.ProgSocketFilter, Insns: long}
	r, err := verify.Image(&image.Image{Programs: []*image.Program{&p}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v := r.Programs[0].On(kernel(t, "5.1")); v.OK() || v.Missing.What != catalog.AbilityInsns {
		t.Errorf("on 5.1: %v", v)
	}
	if !r.LoadsOn("5.2") {
		t.Error("not on 5.2")
	}
	if r.Programs[0].Stats.Processed != 4097 || r.Programs[0].Budget() != 0.004097 {
		t.Errorf("%+v", r.Programs[0].Stats)
	}

	loop, err := isa.Assemble("test", "r1 = 100000\nr1 += -1\nif r1 != 0 goto -2\nr0 = 0\nexit\n", isa.Symbols{})
	if err != nil {
		t.Fatal(err)
	}
	p = image.Program{Name: "loop", Type: catalog.ProgSocketFilter, Insns: loop}
	if r, err = verify.Image(&image.Image{Programs: []*image.Program{&p}}, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Programs[0].Needs, func(n verify.Need) bool { return strings.HasPrefix(n.What, "more than 131072 ") }) {
		t.Errorf("%v", r.Programs[0].Needs)
	}
	if hot := r.Programs[0].Hot(1); len(hot) != 1 || hot[0].Insn != 1 && hot[0].Insn != 2 || hot[0].Share < 0.49 {
		t.Errorf("%v", hot)
	}
}

func TestRefused(t *testing.T) {
	r := load(t, "refused/refused.o")
	p := r.Program("no_bounds_check")
	var refusal *skep.VerifierError
	if !errors.As(p.Err, &refusal) || refusal.Slot != 1 {
		t.Fatalf("%v", p.Err)
	}
	if v := p.On(kernel(t, "6.18")); v.OK() || v.Answer != verify.Refused {
		t.Errorf("%v", v)
	}
	if _, ok := r.MinKernel(); ok || r.LoadsOn("6.18") || p.Stats.Processed != 2 {
		t.Errorf("%+v", p.Stats)
	}
	if p.LoadsOn("six") || r.Program("none") != nil {
		t.Error("what is not there is found")
	}
}

func TestBadOptions(t *testing.T) {
	if _, err := verify.Load("../examples/loops/loops.o", &verify.Options{Programs: []string{"none"}}); err == nil {
		t.Error("a program that is not there")
	}
	if _, err := verify.Load("nowhere.o", nil); err == nil {
		t.Error("an object that is not there")
	}
	r, err := verify.Load("../examples/loops/loops.o", &verify.Options{Programs: []string{"plain"}})
	if err != nil || len(r.Programs) != 1 || r.Object != "loops.o" {
		t.Errorf("%v, %v", r, err)
	}
}
