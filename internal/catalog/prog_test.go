package catalog

import "testing"

// Rows of program types are complete, unique, and found by each of their names.
func TestProgRows(t *testing.T) {
	sections := map[string]bool{}
	for i := range ProgKinds() {
		k := &ProgKinds()[i]
		if k.Type != ProgType(i+1) || k.Name == "" || k.Doc == "" || k.Since == "" || k.Ctx == nil || len(k.Sections) == 0 {
			t.Errorf("row %d (%s) is incomplete", i+1, k.Name)
		}
		if ProgKindByType(k.Type) != k || ProgKindByName(k.Name) != k || k.Type.String() != k.Name {
			t.Errorf("%s is not found", k.Name)
		}
		for j := range k.Sections {
			s := &k.Sections[j]
			if sections[s.Name] {
				t.Errorf("section %s stands twice", s.Name)
			}
			sections[s.Name] = true
			if gk, gs := ProgKindBySection(s.Name); gk != k || gs != s {
				t.Errorf("section %s is not found", s.Name)
			}
			if k.Attaches != 0 && !k.Attaches.Has(s.Attach) {
				t.Errorf("section %s has attach type %v, which %s does not take", s.Name, s.Attach, k.Name)
			}
			later := k.Type == ProgTracepoint || k.Type == ProgRawTracepoint // of which later kernels let some sleep
			if s.Sleepable && !later && k.Flags&Sleepable == 0 {
				t.Errorf("section %s is sleepable, %s is not", s.Name, k.Name)
			}
		}
	}
	if ProgKindByType(0) != nil || ProgKindByType(1<<31) != nil || ProgKindByName("unspec") != nil || ProgType(99).String() != "unspec" {
		t.Error("a row for what is no program type")
	}
}

func TestProgKindBySection(t *testing.T) {
	for _, c := range []struct {
		section string
		typ     ProgType
		attach  AttachType
		sleep   bool
		frags   bool
	}{
		{section: "xdp", typ: ProgXDP, attach: AttachXDP},
		{section: "xdp/devmap", typ: ProgXDP, attach: AttachXDPDevMap},
		{section: "xdp.frags/cpumap", typ: ProgXDP, attach: AttachXDPCPUMap, frags: true},
		{section: "tc", typ: ProgSchedCls},
		{section: "tcx/egress", typ: ProgSchedCls, attach: AttachTCXEgress},
		{section: "classifier", typ: ProgSchedCls},
		{section: "action", typ: ProgSchedAct},
		{section: "socket", typ: ProgSocketFilter},
		{section: "kprobe/do_unlinkat", typ: ProgKprobe},
		{section: "kprobe", typ: ProgKprobe},
		{section: "kprobe.multi/tcp_*", typ: ProgKprobe, attach: AttachTraceKprobeMulti},
		{section: "uprobe.s//bin/sh:main", typ: ProgKprobe, sleep: true},
		{section: "fentry.s/bpf_fentry_test1", typ: ProgTracing, attach: AttachTraceFEntry, sleep: true},
		{section: "syscall", typ: ProgSyscall, sleep: true},
		{section: "cgroup_skb/egress", typ: ProgCGroupSKB, attach: AttachCGroupInetEgress},
		{section: "cgroup/skb", typ: ProgCGroupSKB},
		{section: "sk_reuseport/migrate", typ: ProgSkReuseport, attach: AttachSkReuseportSelectOrMigrate},
		{section: "struct_ops.s/init", typ: ProgStructOps, sleep: true},
		{section: "netfilter", typ: ProgNetfilter, attach: AttachNetfilter},
		{section: "xdp/firewall"}, {section: "xdpx"}, {section: "kprobes"}, {section: "tc/x"}, {section: ""}, {section: ".text"},
	} {
		k, s := ProgKindBySection(c.section)
		if c.typ == ProgUnspec {
			if k != nil {
				t.Errorf("%q is taken for %s", c.section, k.Name)
			}
			continue
		}
		if k == nil || k.Type != c.typ || s.Attach != c.attach || s.Sleepable != c.sleep || s.Frags != c.frags {
			t.Errorf("%q: %v %+v", c.section, k, s)
		}
	}
}

// contexts are all structures with rows.
func contexts() map[string]*Context {
	all := map[string]*Context{"bpf_tcp_sock": &bpfTCPSock, "bpf_xdp_sock": &bpfXDPSock}
	for i := range ProgKinds() {
		all[ProgKinds()[i].Ctx.Name] = ProgKinds()[i].Ctx
	}
	return all
}

// Fields lie one behind the other, inside their structure, and where a Frame
// stands behind it, at a place of their own there.
func TestContextRows(t *testing.T) {
	for name, c := range contexts() {
		end, seen := 0, map[string]bool{}
		for i := range c.Fields {
			f := &c.Fields[i]
			if seen[f.Name] || f.Name == "" {
				t.Errorf("%s.%s stands twice or has no name", name, f.Name)
			}
			seen[f.Name] = true
			// The parts of a buffer's address share its bytes.
			if f.Off < end && f.Name != "buffer address" || f.Off+f.Size > c.Size || f.Size <= 0 || c.Frame && f.Size%f.elem() != 0 {
				t.Errorf("%s.%s lies at %d to %d, the last ended at %d", name, f.Name, f.Off, f.Off+f.Size, end)
			}
			end = f.Off + f.Size
			if c.Frame && (f.AtSize == 0 || f.Kind != FieldScalar && f.AtSize != 8) {
				t.Errorf("%s.%s has %d bytes in Frame", name, f.Name, f.AtSize)
			}
			if !c.Frame && (f.At != 0 || f.AtSize != 0) {
				t.Errorf("%s.%s lies in a Frame, its context does not", name, f.Name)
			}
			if (f.Kind == FieldBTF) != (f.BTF != "") {
				t.Errorf("%s.%s: BTF name %q", name, f.Name, f.BTF)
			}
		}
	}
}

// What socket pointers of each kind reach.
func TestSockField(t *testing.T) {
	for _, c := range []struct {
		kind       FieldKind
		off, width int
		want       string
	}{
		{FieldSock, 0, 4, "bound_dev_if"},
		{FieldSock, 0, 2, ""},
		{FieldSock, 4, 1, "family"},
		{FieldSock, 5, 1, ""},
		{FieldSock, 16, 4, "mark"},
		{FieldSockCommon, 16, 4, ""},
		{FieldSockCommon, 8, 4, ""},
		{FieldSockCommon, 4, 4, "family"},
		{FieldSock, 27, 1, "src_ip4"},
		{FieldSock, 40, 4, "src_ip6"},
		{FieldSock, 48, 2, "dst_port"},
		{FieldSock, 48, 4, "dst_port"},
		{FieldSock, 49, 1, "dst_port"},
		{FieldSock, 50, 2, ""},
		{FieldSock, 76, 4, "rx_queue_mapping"},
		{FieldSock, 80, 4, ""},
		{FieldSock, -4, 4, ""},
		{FieldTCPSock, 80, 8, "bytes_received"},
		{FieldTCPSock, 80, 4, ""},
		{FieldTCPSock, 108, 4, "icsk_retransmits"},
		{FieldTCPSock, 108, 2, ""},
		{FieldXDPSock, 0, 4, "queue_id"},
		{FieldXDPSock, 4, 4, ""},
		{FieldPkt, 0, 4, ""},
	} {
		got := ""
		if f := SockField(c.kind, c.off, c.width); f != nil {
			got = f.Name
		}
		if got != c.want {
			t.Errorf("kind %d, %d bytes at %d: %q, want %q", c.kind, c.width, c.off, got, c.want)
		}
	}
}
