package catalog

import (
	"regexp"
	"testing"

	"github.com/skep-bpf/skep/isa"
)

// Every row of the catalog says since when, by a release there was, and no
// commit is miswritten.
func TestSinceComplete(t *testing.T) {
	commit := regexp.MustCompile(`^([0-9a-f]{12})?$`)
	kinds := map[SinceKind]int{}
	for _, r := range SinceRows() {
		kinds[r.Kind]++
		if r.Version != "3.18" { // bpf(2) came in 3.18, the first program type a release later
			if k, err := ParseRelease(r.Version); err != nil || k != r.Release() {
				t.Errorf("%s %s: since %q: %v", r.Kind, r.Name, r.Version, err)
			}
		}
		if !commit.MatchString(r.Commit) {
			t.Errorf("%s %s: commit %q", r.Kind, r.Name, r.Commit)
		}
	}
	for kind, least := range map[SinceKind]int{
		SinceProgram: 32, SinceAttach: 58, SinceMap: 33, SinceMapFlag: 19, SinceLoadFlag: 8, SinceSpecial: 14,
		SinceInstruction: 19, SinceAbility: 20, SinceBTF: 8, SinceHelper: 211, SinceKfunc: 180, SinceField: 60,
	} {
		if kinds[kind] < least {
			t.Errorf("%d rows of kind %s, want %d at least", kinds[kind], kind, least)
		}
	}
	if len(attachSince) != len(attachNames) {
		t.Errorf("%d attach types have a release, of %d", len(attachSince), len(attachNames))
	}
	for i := range ProgKinds() {
		k := &ProgKinds()[i]
		if k.Ctx == nil || k.Ctx.Typed {
			continue
		}
		table, ok := fieldSince[k.Ctx.Name]
		if !ok {
			t.Errorf("context %s: no table of its fields", k.Ctx.Name)
		}
		for _, row := range table.later { // no field is miswritten
			for _, name := range row.fields {
				if !hasField(k.Ctx, name) {
					t.Errorf("%s has no field %s", k.Ctx.Name, name)
				}
			}
		}
	}
	for name, table := range map[string]map[string]string{"helper": helperCommits, "kfunc": kfuncCommits} {
		for row := range table {
			if name == "helper" && HelperByName(row) == nil || name == "kfunc" && KfuncByName(row) == nil {
				t.Errorf("%s %s has a commit and no row", name, row)
			}
		}
	}
}

func hasField(c *Context, name string) bool {
	for i := range c.Fields {
		if c.Fields[i].Name == name {
			return true
		}
	}
	return false
}

// Every instruction clang's cpu versions add has a row, so that none passes for
// one of the first.
func TestSinceInstructions(t *testing.T) {
	for i := range isa.Table {
		r := &isa.Table[i]
		since, _ := InsnSince(r)
		switch r.CPU {
		case isa.CPUv2:
			if since.Version != "4.14" {
				t.Errorf("%s is of cpu v2, since %s", r.Name, since.Version)
			}
		case isa.CPUv4:
			// Stores of immediates are old: it is clang that emits them only now.
			if since.Release().Compare(KernelRelease{6, 6}) < 0 && since.Version != "3.18" {
				t.Errorf("%s is of cpu v4, since %s", r.Name, since.Version)
			}
		}
		if r.Op.Class() == isa.ClassJMP32 && r.Op.JumpOp() != isa.Ja && since.Version != "5.1" {
			t.Errorf("%s: since %s, want 5.1", r.Name, since.Version)
		}
	}
}

// Facts checked against public sources:
//
//	bcc     github.com/iovisor/bcc, docs/kernel-versions.md
//	docs    docs.ebpf.io (github.com/isovalent/ebpf-docs), the page of the thing
//	cilium  github.com/cilium/ebpf, the releases its feature probes name
//	man     bpf-helpers(7), bpf(2)
func TestSinceFacts(t *testing.T) {
	rows := map[SinceKind]map[string]Since{}
	for _, r := range SinceRows() {
		if rows[r.Kind] == nil {
			rows[r.Kind] = map[string]Since{}
		}
		name := r.Name
		if r.For != "" {
			name += " in " + r.For
		}
		rows[r.Kind][name] = r.Since
	}
	for _, c := range []struct {
		kind   SinceKind
		name   string
		want   string
		source string
	}{
		{SinceProgram, "socket_filter", "3.19", "bcc: BPF attached to sockets, 89aa075832b0"},
		{SinceProgram, "kprobe", "4.1", "bcc: BPF attached to kprobes, 2541517c32be"},
		{SinceProgram, "tracepoint", "4.7", "bcc: BPF attached to tracepoints, 98b5c2c65c29"},
		{SinceProgram, "xdp", "4.8", "bcc: XDP core architecture, 6a773a15a1e8"},
		{SinceProgram, "cgroup_skb", "4.10", "bcc: BPF attached to cgroups for socket filtering, 0e33661de493"},
		{SinceProgram, "raw_tracepoint", "4.17", "bcc: BPF attached to raw tracepoints, c4f6699dfcb8"},
		{SinceProgram, "flow_dissector", "4.20", "bcc: BPF flow dissector, d58e468b1112"},
		{SinceProgram, "tracing", "5.5", "docs: BPF_PROG_TYPE_TRACING, f1b9509c2fb0"},
		{SinceProgram, "lsm", "5.7", "bcc: BPF LSM hook, fc611f47f218"},
		{SinceProgram, "sk_lookup", "5.9", "bcc: BPF socket lookup hook, e9ddbb7707ff"},
		{SinceProgram, "syscall", "5.14", "docs: BPF_PROG_TYPE_SYSCALL, 79a7f8bdb159"},
		{SinceProgram, "netfilter", "6.4", "docs: BPF_PROG_TYPE_NETFILTER, 84601d6ee68a"},
		{SinceAttach, "trace_fentry", "5.5", "bcc: BPF trampoline, fec56f5890d9"},
		{SinceAttach, "trace_iter", "5.8", "docs: BPF_TRACE_ITER, 15d83c4d7cef"},
		{SinceAttach, "xdp_cpumap", "5.9", "docs: BPF_XDP_CPUMAP, 9216477449f3"},
		{SinceAttach, "trace_kprobe_multi", "5.18", "docs: BPF_TRACE_KPROBE_MULTI, 0dcac2725406"},
		{SinceAttach, "tcx_ingress", "6.6", "docs: BPF_TCX_INGRESS, e420bed02507"},
		{SinceAttach, "trace_uprobe_multi", "6.6", "bpf: Add multi uprobe link, 89ae89f53d20"},
		{SinceMap, "hash", "3.19", "bcc: Hash, 0f8e4bd8a1fc"},
		{SinceMap, "lpm_trie", "4.11", "bcc: LPM trie, b95a5c4db09b"},
		{SinceMap, "hash_of_maps", "4.12", "bcc: Hash of maps, bcc6b1b7ebf8; cilium: nested maps 4.12"},
		{SinceMap, "devmap", "4.14", "bcc: Netdevice references (array), 546ac1ffb70d"},
		{SinceMap, "xskmap", "4.18", "bcc: AF_XDP socket references, fbfc504a24f5"},
		{SinceMap, "queue", "4.20", "bcc: queue, f1a2e44a3aec"},
		{SinceMap, "sk_storage", "5.2", "bcc: socket local storage, 6ac99e8f23d4"},
		{SinceMap, "ringbuf", "5.8", "bcc: ring buffer, 457f44363a88"},
		{SinceMap, "bloom_filter", "5.16", "bcc: Bloom filter, 9330986c0300"},
		{SinceMap, "user_ringbuf", "6.1", "bcc: user ringbuf, 583c1f420173"},
		{SinceMap, "arena", "6.9", "bpf: Introduce bpf_arena, 317460317a02"},
		{SinceMapFlag, "BPF_F_RDONLY_PROG", "5.2", "bcc: restrict access from BPF side, 591fe9888d78"},
		{SinceMapFlag, "BPF_F_MMAPABLE", "5.5", "bcc: mmap() support for array maps, fc9702273e2e"},
		{SinceMapFlag, "BPF_F_INNER_MAP", "5.10", "docs: BPF_F_INNER_MAP, 4a8f87e60f6d; cilium: 5.10"},
		{SinceLoadFlag, "BPF_F_SLEEPABLE", "5.10", "bcc: sleepable BPF programs, 1e6c62a88215"},
		{SinceLoadFlag, "BPF_F_XDP_HAS_FRAGS", "5.18", "docs: XDP fragments, c2f2cdbeffda"},
		{SinceHelper, "bpf_redirect_map", "4.14", "bcc: 97f91a7cf04f"},
		{SinceHelper, "bpf_fib_lookup", "4.18", "bcc: 87f5fc7e48dd"},
		{SinceHelper, "bpf_spin_lock", "5.1", "bcc: d83525ca62cf"},
		{SinceHelper, "bpf_tcp_gen_syncookie", "5.4", "docs: 70d66244317e, of July 2019, after 5.3-rc1"},
		{SinceHelper, "bpf_probe_read_kernel", "5.5", "bcc: 6ae08ae3dea2; cilium: 5.5"},
		{SinceHelper, "bpf_ringbuf_output", "5.8", "bcc: 457f44363a88"},
		{SinceHelper, "bpf_for_each_map_elem", "5.13", "bcc: 69c087ba6225"},
		{SinceHelper, "bpf_timer_init", "5.15", "bcc: b00628b1c7d5"},
		{SinceHelper, "bpf_loop", "5.17", "bcc: e6f2dd0f8067"},
		{SinceHelper, "bpf_kptr_xchg", "5.19", "bcc: c0a5a21c25f3"},
		{SinceHelper, "bpf_user_ringbuf_drain", "6.1", "bcc: 205715673844"},
		{SinceHelper, "bpf_skb_change_head in sched_cls, sched_act", "5.8", "docs: 6f3f65d80dac"},
		{SinceHelper, "bpf_setsockopt in cgroup_sock_addr", "5.8", "docs: beecf11bc218"},
		{SinceKfunc, "bpf_iter_num_new", "6.4", "docs: 06accc8779c1"},
		{SinceKfunc, "bpf_rcu_read_lock", "6.2", "docs: 9bb00b2895cb"},
		{SinceInstruction, "jumps if less (cpu v2)", "4.14", "cilium: v2 ISA 4.14; 92b31a9af73b"},
		{SinceInstruction, "32-bit conditional jumps (cpu v3)", "5.1", "cilium: v3 ISA 5.1; 092ed0968bb6"},
		{SinceInstruction, "sign-extending loads (cpu v4)", "6.6", "cilium: v4 ISA 6.6; 1f9a1ea821ff"},
		{SinceInstruction, "atomic exchange, compare and exchange (cpu v3)", "5.12", "docs, concurrency: 5.12"},
		{SinceInstruction, "address of global data", "5.2", "docs, global data: d8eca5bbb2be"},
		{SinceInstruction, "calls of local functions", "4.16", "bcc: bpf2bpf function calls, cc8b0b92a169; cilium: 4.16"},
		{SinceInstruction, "calls of kernel functions", "5.13", "docs, kfuncs: e6ac2450d6de"},
		{SinceAbility, AbilityInsns, "5.2", "bcc: BPF 1M insn limit, c04c0d2b968a; cilium: large programs 5.2"},
		{SinceAbility, AbilityLoops, "5.3", "bcc: BPF bounded loop, 2589726d12a1; cilium: 5.3"},
		{SinceAbility, AbilityCallbacks, "5.13", "docs, functions: 69c087ba6225"},
		{SinceAbility, AbilityGlobalFuncs, "5.6", "docs, functions: 51c39bb1d5d1"},
		{SinceAbility, AbilityTailAndCalls, "5.10", "bcc: mixing bpf2bpf calls and tailcalls (x86_64), e411901c0b77"},
		{SinceAbility, AbilityPacket, "4.7", "bcc: direct packet access, 969bf05eb3ce"},
		{SinceAbility, AbilityMapValueArg, "4.18", "bcc: pass map values to map helpers, d71962f3e627"},
		{SinceAbility, AbilityIterators, "6.4", "docs, loops: 06accc8779c1"},
		{SinceBTF, "BTF", "4.18", "bcc: BPF Type Format, 69b693f0aefa; cilium: 4.18"},
		{SinceBTF, "ENUM64", "6.0", "cilium: enum64 6.0; 6089fb325cf7"},
		{SinceField, "xdp_md.egress_ifindex", "5.8", "docs: 64b59025c15b"},
		{SinceField, "xdp_md.rx_queue_index", "4.16", "docs: 02dd3291b2f0"},
		{SinceField, "__sk_buff.tstamp_type", "5.18", "docs: 9bb984f28d5b"},
		{SinceField, "__sk_buff.data in cgroup_skb", "5.0", "bpf: add cg_skb_is_valid_access, b39b5f411dcf"},
	} {
		got, ok := rows[c.kind][c.name]
		switch {
		case !ok:
			t.Errorf("%s %s: no row", c.kind, c.name)
		case got.Version != c.want:
			t.Errorf("%s %s: since %s, but %s (%s)", c.kind, c.name, got.Version, c.want, c.source)
		}
	}
}

func TestParseRelease(t *testing.T) {
	for text, want := range map[string]KernelRelease{
		"5.10": {5, 10}, "v6.1": {6, 1}, "5.15.0-91-generic": {5, 15}, "4.20": {4, 20}, "6.18": {6, 18}, "3.19": {3, 19},
	} {
		if got, err := ParseRelease(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "5", "5.", ".5", "5.x", "4.21", "5.20", "6.99", "7.0", "3.18", "-1.2", "v", "5.-1", "99999999999999999999.1"} {
		if got, err := ParseRelease(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
