package catalog

// ProgKind is the row of one program type.
type ProgKind struct {
	Type     ProgType
	Name     string // as bpftool prints it: "sched_cls"
	Sections []Section
	// Attaches holds the expected attach types PROG_LOAD accepts
	// (bpf_prog_load_check_attach); 0: it does not look.
	Attaches AttachSet
	Default  AttachType // what an expected attach type of 0 stands for
	Ctx      *Context
	Returns  []Return
	Flags    ProgFlag
	// MaxContext is the most bytes of context a test run takes, where the context is plain memory; else 0.
	MaxContext int
	Since      string // first Linux release
	Doc        string // one line
}

// ProgFlag says what programs of a type may do.
type ProgFlag uint16

// Program type flags.
const (
	LDAbs     ProgFlag = 1 << iota // LD_ABS and LD_IND (may_access_skb)
	PktArg                         // packet pointers may go to helpers (may_access_direct_pkt_data)
	PktArgAny                      // even to helpers without PktAccess
	PktWrite                       // packets may be written through pointers
	Sleepable                      // may be loaded sleepable (can_be_sleepable)
	NetAdmin                       // loading needs CAP_NET_ADMIN (is_net_admin_prog_type)
	Perfmon                        // loading needs CAP_PERFMON (is_perfmon_prog_type)
	Unpriv                         // loading needs no capability where the system allows it
	AttachBTF                      // attaches to a BTF type given at load time
	Tracing                        // runs where locks may be held (is_tracing_prog_type)
	// RetByTarget: what R0 may be follows from the function or member attached to.
	RetByTarget
	// HasPacket: the context is a packet's (packet.Frame).
	HasPacket
	// HookOnly: hooks run it, test runs do not.
	HookOnly
	// NoTestRun: Linux has no PROG_TEST_RUN for it, though it runs over packets.
	NoTestRun
)

// Section is an ELF section name that selects a program type, by libbpf's rules.
type Section struct {
	Name      string // "xdp", "xdp.frags", "tc", "cgroup_skb/egress"
	Attach    AttachType
	Extras    bool // "/something" may follow: what to attach to
	Sleepable bool // sets BPF_F_SLEEPABLE
	Frags     bool // sets BPF_F_XDP_HAS_FRAGS
}

// Range is an inclusive range of return values.
type Range struct{ Min, Max int32 }

// Return limits R0 at exit for programs with one of the expected attach types.
type Return struct {
	Attach AttachSet // 0: any
	Range  Range
}

// progRows holds the row of each program type at its number.
var progRows = [...]ProgKind{
	ProgSocketFilter: {
		Type: ProgSocketFilter, Name: "socket_filter", Since: "3.19",
		Doc:      "Filters packets of a socket: the result is how many bytes to keep.",
		Sections: []Section{{Name: "socket"}},
		Ctx:      &skBuff, Flags: LDAbs | Unpriv | HasPacket,
	},
	ProgKprobe: {
		Type: ProgKprobe, Name: "kprobe", Since: "4.1",
		Doc: "Runs at kernel and user probes, with the saved registers.",
		Sections: []Section{
			{Name: "kprobe", Extras: true},
			{Name: "uprobe", Extras: true},
			{Name: "uprobe.s", Extras: true, Sleepable: true},
			{Name: "kretprobe", Extras: true},
			{Name: "uretprobe", Extras: true},
			{Name: "uretprobe.s", Extras: true, Sleepable: true},
			{Name: "kprobe.multi", Attach: AttachTraceKprobeMulti, Extras: true},
			{Name: "kretprobe.multi", Attach: AttachTraceKprobeMulti, Extras: true},
			{Name: "kprobe.session", Attach: AttachTraceKprobeSession, Extras: true},
			{Name: "uprobe.multi", Attach: AttachTraceUprobeMulti, Extras: true},
			{Name: "uretprobe.multi", Attach: AttachTraceUprobeMulti, Extras: true},
			{Name: "uprobe.session", Attach: AttachTraceUprobeSession, Extras: true},
			{Name: "uprobe.multi.s", Attach: AttachTraceUprobeMulti, Extras: true, Sleepable: true},
			{Name: "uretprobe.multi.s", Attach: AttachTraceUprobeMulti, Extras: true, Sleepable: true},
			{Name: "uprobe.session.s", Attach: AttachTraceUprobeSession, Extras: true, Sleepable: true},
			{Name: "ksyscall", Extras: true},
			{Name: "kretsyscall", Extras: true},
			{Name: "usdt", Extras: true},
			{Name: "usdt.s", Extras: true, Sleepable: true},
		},
		Ctx:        &ptRegs,
		Returns:    []Return{{Attach: 1<<AttachTraceKprobeSession | 1<<AttachTraceUprobeSession, Range: Range{0, 1}}},
		Flags:      Perfmon | Tracing | Sleepable,
		MaxContext: 512,
	},
	ProgSchedCls: {
		Type: ProgSchedCls, Name: "sched_cls", Since: "4.1",
		Doc: "Classifies packets in traffic control, in direct-action mode decides on them.",
		Sections: []Section{
			{Name: "tc/ingress", Attach: AttachTCXIngress},
			{Name: "tc/egress", Attach: AttachTCXEgress},
			{Name: "tcx/ingress", Attach: AttachTCXIngress},
			{Name: "tcx/egress", Attach: AttachTCXEgress},
			{Name: "tc"},
			{Name: "classifier"},
			{Name: "netkit/primary", Attach: AttachNetkitPrimary},
			{Name: "netkit/peer", Attach: AttachNetkitPeer},
		},
		Ctx: &skBuff, Flags: LDAbs | PktArg | PktWrite | NetAdmin | HasPacket,
	},
	ProgSchedAct: {
		Type: ProgSchedAct, Name: "sched_act", Since: "4.1",
		Doc:      "Acts on packets that a traffic control classifier chose.",
		Sections: []Section{{Name: "action"}},
		Ctx:      &skBuff, Flags: LDAbs | PktArg | PktWrite | NetAdmin | HasPacket,
	},
	ProgTracepoint: {
		Type: ProgTracepoint, Name: "tracepoint", Since: "4.7",
		Doc: "Runs at kernel tracepoints, with the event's record.",
		Sections: []Section{
			{Name: "tracepoint", Extras: true}, {Name: "tp", Extras: true},
			{Name: "tracepoint.s", Extras: true, Sleepable: true}, {Name: "tp.s", Extras: true, Sleepable: true},
		},
		Ctx: &tracepointEntry, Flags: Perfmon | Tracing,
		MaxContext: 64 << 10,
	},
	ProgXDP: {
		Type: ProgXDP, Name: "xdp", Since: "4.8",
		Doc: "Decides on packets as they come out of the driver, before a socket buffer is made.",
		Sections: []Section{
			{Name: "xdp.frags/devmap", Attach: AttachXDPDevMap, Frags: true},
			{Name: "xdp/devmap", Attach: AttachXDPDevMap},
			{Name: "xdp.frags/cpumap", Attach: AttachXDPCPUMap, Frags: true},
			{Name: "xdp/cpumap", Attach: AttachXDPCPUMap},
			{Name: "xdp.frags", Attach: AttachXDP, Frags: true},
			{Name: "xdp", Attach: AttachXDP},
		},
		Ctx: &xdpMD, Flags: PktArg | PktWrite | NetAdmin | HasPacket,
	},
	ProgPerfEvent: {
		Type: ProgPerfEvent, Name: "perf_event", Since: "4.9",
		Doc:      "Runs at samples of a perf event, with registers and sample data.",
		Sections: []Section{{Name: "perf_event"}},
		Ctx:      &bpfPerfEventData, Flags: Perfmon | Tracing,
	},
	ProgCGroupSKB: {
		Type: ProgCGroupSKB, Name: "cgroup_skb", Since: "4.10",
		Doc: "Lets packets of a control group's sockets pass or not.",
		Sections: []Section{
			{Name: "cgroup_skb/ingress", Attach: AttachCGroupInetIngress},
			{Name: "cgroup_skb/egress", Attach: AttachCGroupInetEgress},
			{Name: "cgroup/skb"},
		},
		Attaches: 1<<AttachCGroupInetIngress | 1<<AttachCGroupInetEgress,
		Ctx:      &skBuff,
		Returns:  []Return{{Attach: 1 << AttachCGroupInetEgress, Range: Range{0, 3}}, {Range: Range{0, 1}}},
		Flags:    PktArg | Unpriv | HasPacket,
	},
	ProgCGroupSock: {
		Type: ProgCGroupSock, Name: "cgroup_sock", Since: "4.10",
		Doc: "Runs when a control group's socket is made, bound or released.",
		Sections: []Section{
			{Name: "cgroup/sock_create", Attach: AttachCGroupInetSockCreate},
			{Name: "cgroup/sock_release", Attach: AttachCGroupInetSockRelease},
			{Name: "cgroup/sock", Attach: AttachCGroupInetSockCreate},
			{Name: "cgroup/post_bind4", Attach: AttachCGroupInet4PostBind},
			{Name: "cgroup/post_bind6", Attach: AttachCGroupInet6PostBind},
		},
		Attaches: attachSockLife | attachPostBind4 | attachPostBind6, Default: AttachCGroupInetSockCreate,
		Ctx: &bpfSock, Returns: []Return{{Range: Range{0, 1}}}, Flags: NetAdmin,
	},
	ProgLWTIn: {
		Type: ProgLWTIn, Name: "lwt_in", Since: "4.10",
		Doc:      "Runs on packets received over a light-weight tunnel route.",
		Sections: []Section{{Name: "lwt_in"}},
		Ctx:      &skBuff, Flags: PktArg | NetAdmin | HasPacket,
	},
	ProgLWTOut: {
		Type: ProgLWTOut, Name: "lwt_out", Since: "4.10",
		Doc:      "Runs on packets sent by this host over a light-weight tunnel route.",
		Sections: []Section{{Name: "lwt_out"}},
		Ctx:      &skBuff, Flags: PktArg | NetAdmin | HasPacket,
	},
	ProgLWTXmit: {
		Type: ProgLWTXmit, Name: "lwt_xmit", Since: "4.10",
		Doc:      "Runs on packets about to leave over a light-weight tunnel route and may rewrite them.",
		Sections: []Section{{Name: "lwt_xmit"}},
		Ctx:      &skBuff, Flags: PktArg | PktWrite | NetAdmin | HasPacket,
	},
	ProgSockOps: {
		Type: ProgSockOps, Name: "sock_ops", Since: "4.13",
		Doc:      "Runs at events of TCP connections of a control group.",
		Sections: []Section{{Name: "sockops", Attach: AttachCGroupSockOps}},
		Ctx:      &bpfSockOps, Returns: []Return{{Range: Range{0, 1}}}, Flags: NetAdmin,
	},
	ProgSkSKB: {
		Type: ProgSkSKB, Name: "sk_skb", Since: "4.14",
		Doc: "Parses streams of a sockmap's sockets and redirects their data.",
		Sections: []Section{
			{Name: "sk_skb/stream_parser", Attach: AttachSkSKBStreamParser},
			{Name: "sk_skb/stream_verdict", Attach: AttachSkSKBStreamVerdict},
			{Name: "sk_skb/verdict", Attach: AttachSkSKBVerdict},
			{Name: "sk_skb"},
		},
		Ctx: &skBuff, Flags: PktArg | PktWrite | NetAdmin | HookOnly,
	},
	ProgCGroupDevice: {
		Type: ProgCGroupDevice, Name: "cgroup_device", Since: "4.15",
		Doc:      "Allows or denies a control group's access to devices.",
		Sections: []Section{{Name: "cgroup/dev", Attach: AttachCGroupDevice}},
		Ctx:      &bpfCGroupDevCtx, Returns: []Return{{Range: Range{0, 1}}}, Flags: NetAdmin,
	},
	ProgSkMsg: {
		Type: ProgSkMsg, Name: "sk_msg", Since: "4.17",
		Doc:      "Decides on messages sent through a sockmap's sockets.",
		Sections: []Section{{Name: "sk_msg", Attach: AttachSkMsgVerdict}},
		Ctx:      &skMsgMD, Flags: PktArg | PktWrite | NetAdmin | HookOnly,
	},
	ProgRawTracepoint: {
		Type: ProgRawTracepoint, Name: "raw_tracepoint", Since: "4.17",
		Doc: "Runs at kernel tracepoints, with their raw arguments.",
		Sections: []Section{
			{Name: "raw_tracepoint", Extras: true}, {Name: "raw_tp", Extras: true},
			{Name: "raw_tracepoint.s", Extras: true, Sleepable: true}, {Name: "raw_tp.s", Extras: true, Sleepable: true},
		},
		Ctx: &rawTracepointArgs, Flags: Perfmon | Tracing,
		MaxContext: 12 * 8,
	},
	ProgCGroupSockAddr: {
		Type: ProgCGroupSockAddr, Name: "cgroup_sock_addr", Since: "4.17",
		Doc: "Sees and rewrites the addresses in a control group's socket calls.",
		Sections: []Section{
			{Name: "cgroup/bind4", Attach: AttachCGroupInet4Bind},
			{Name: "cgroup/bind6", Attach: AttachCGroupInet6Bind},
			{Name: "cgroup/connect4", Attach: AttachCGroupInet4Connect},
			{Name: "cgroup/connect6", Attach: AttachCGroupInet6Connect},
			{Name: "cgroup/connect_unix", Attach: AttachCGroupUnixConnect},
			{Name: "cgroup/sendmsg4", Attach: AttachCGroupUDP4Sendmsg},
			{Name: "cgroup/sendmsg6", Attach: AttachCGroupUDP6Sendmsg},
			{Name: "cgroup/sendmsg_unix", Attach: AttachCGroupUnixSendmsg},
			{Name: "cgroup/recvmsg4", Attach: AttachCGroupUDP4Recvmsg},
			{Name: "cgroup/recvmsg6", Attach: AttachCGroupUDP6Recvmsg},
			{Name: "cgroup/recvmsg_unix", Attach: AttachCGroupUnixRecvmsg},
			{Name: "cgroup/getpeername4", Attach: AttachCGroupInet4Getpeername},
			{Name: "cgroup/getpeername6", Attach: AttachCGroupInet6Getpeername},
			{Name: "cgroup/getpeername_unix", Attach: AttachCGroupUnixGetpeername},
			{Name: "cgroup/getsockname4", Attach: AttachCGroupInet4Getsockname},
			{Name: "cgroup/getsockname6", Attach: AttachCGroupInet6Getsockname},
			{Name: "cgroup/getsockname_unix", Attach: AttachCGroupUnixGetsockname},
		},
		Attaches: attachSockAddr,
		Ctx:      &bpfSockAddr,
		Returns: []Return{
			{Attach: attachSockAddr &^ attachRetval, Range: Range{1, 1}},
			{Attach: 1<<AttachCGroupInet4Bind | 1<<AttachCGroupInet6Bind, Range: Range{0, 3}},
			{Range: Range{0, 1}},
		},
		Flags: NetAdmin,
	},
	ProgLWTSeg6Local: {
		Type: ProgLWTSeg6Local, Name: "lwt_seg6local", Since: "4.18",
		Doc:      "Acts on segment-routed packets at an End.BPF segment.",
		Sections: []Section{{Name: "lwt_seg6local"}},
		Ctx:      &skBuff, Flags: PktArg | NetAdmin | HasPacket | NoTestRun,
	},
	ProgLircMode2: {
		Type: ProgLircMode2, Name: "lirc_mode2", Since: "4.18",
		Doc:      "Decodes pulses and pauses of an infrared receiver.",
		Sections: []Section{{Name: "lirc_mode2", Attach: AttachLircMode2}},
		Ctx:      &lircSample,
	},
	ProgSkReuseport: {
		Type: ProgSkReuseport, Name: "sk_reuseport", Since: "4.19",
		Doc: "Chooses the socket of a reuseport group that gets a packet.",
		Sections: []Section{
			{Name: "sk_reuseport/migrate", Attach: AttachSkReuseportSelectOrMigrate},
			{Name: "sk_reuseport", Attach: AttachSkReuseportSelect},
		},
		Attaches: 1<<AttachSkReuseportSelect | 1<<AttachSkReuseportSelectOrMigrate, Default: AttachSkReuseportSelect,
		Ctx: &skReuseportMD, Flags: PktArg | HookOnly,
	},
	ProgFlowDissector: {
		Type: ProgFlowDissector, Name: "flow_dissector", Since: "4.20",
		Doc:      "Parses packets into flow keys in the kernel's stead.",
		Sections: []Section{{Name: "flow_dissector", Attach: AttachFlowDissector}},
		Ctx:      &skBuff, Flags: PktArg | NetAdmin,
		MaxContext: FlowKeysSize,
	},
	ProgCGroupSysctl: {
		Type: ProgCGroupSysctl, Name: "cgroup_sysctl", Since: "5.2",
		Doc:      "Allows, denies or changes a control group's access to sysctls.",
		Sections: []Section{{Name: "cgroup/sysctl", Attach: AttachCGroupSysctl}},
		Ctx:      &bpfSysctl, Returns: []Return{{Range: Range{0, 1}}}, Flags: NetAdmin,
	},
	ProgRawTracepointWritable: {
		Type: ProgRawTracepointWritable, Name: "raw_tracepoint_writable", Since: "5.2",
		Doc:      "Runs at kernel tracepoints that offer a buffer to write.",
		Sections: []Section{{Name: "raw_tracepoint.w", Extras: true}, {Name: "raw_tp.w", Extras: true}},
		Ctx:      &rawTracepointWritableArgs, Flags: Perfmon | Tracing,
		MaxContext: 12 * 8,
	},
	ProgCGroupSockopt: {
		Type: ProgCGroupSockopt, Name: "cgroup_sockopt", Since: "5.3",
		Doc: "Sees and changes a control group's getsockopt and setsockopt calls.",
		Sections: []Section{
			{Name: "cgroup/getsockopt", Attach: AttachCGroupGetsockopt},
			{Name: "cgroup/setsockopt", Attach: AttachCGroupSetsockopt},
		},
		Attaches: 1<<AttachCGroupGetsockopt | 1<<AttachCGroupSetsockopt,
		Ctx:      &bpfSockopt, Returns: []Return{{Range: Range{0, 1}}}, Flags: PktArg | PktArgAny | PktWrite | NetAdmin,
	},
	ProgTracing: {
		Type: ProgTracing, Name: "tracing", Since: "5.5",
		Doc: "Runs at entry or exit of kernel functions, at typed tracepoints, or as an iterator.",
		Sections: []Section{
			{Name: "tp_btf", Attach: AttachTraceRawTp, Extras: true},
			{Name: "tp_btf.s", Attach: AttachTraceRawTp, Extras: true, Sleepable: true},
			{Name: "fentry", Attach: AttachTraceFEntry, Extras: true},
			{Name: "fmod_ret", Attach: AttachModifyReturn, Extras: true},
			{Name: "fexit", Attach: AttachTraceFExit, Extras: true},
			{Name: "fentry.s", Attach: AttachTraceFEntry, Extras: true, Sleepable: true},
			{Name: "fmod_ret.s", Attach: AttachModifyReturn, Extras: true, Sleepable: true},
			{Name: "fexit.s", Attach: AttachTraceFExit, Extras: true, Sleepable: true},
			{Name: "iter", Attach: AttachTraceIter, Extras: true},
			{Name: "iter.s", Attach: AttachTraceIter, Extras: true, Sleepable: true},
		},
		Ctx: &typedArgs,
		Returns: []Return{
			{Attach: 1<<AttachTraceFEntry | 1<<AttachTraceFExit, Range: Range{0, 0}},
			{Attach: 1 << AttachTraceIter, Range: Range{0, 1}},
		},
		Flags: Perfmon | AttachBTF | Sleepable,
	},
	ProgStructOps: {
		Type: ProgStructOps, Name: "struct_ops", Since: "5.6",
		Doc: "Implements a member of a kernel structure of function pointers.",
		Sections: []Section{
			{Name: "struct_ops", Extras: true},
			{Name: "struct_ops.s", Extras: true, Sleepable: true},
		},
		Ctx: &typedArgs, Flags: Perfmon | AttachBTF | Sleepable | RetByTarget,
	},
	ProgExt: {
		Type: ProgExt, Name: "ext", Since: "5.6",
		Doc:      "Replaces a global function of another program and follows its rules.",
		Sections: []Section{{Name: "freplace", Extras: true}},
		Attaches: 1,
		Ctx:      &typedArgs, Flags: NetAdmin | Perfmon | AttachBTF | RetByTarget,
	},
	ProgLSM: {
		Type: ProgLSM, Name: "lsm", Since: "5.7",
		Doc: "Decides at the hooks of the Linux security modules.",
		Sections: []Section{
			{Name: "lsm", Attach: AttachLSMMAC, Extras: true},
			{Name: "lsm.s", Attach: AttachLSMMAC, Extras: true, Sleepable: true},
			{Name: "lsm_cgroup", Attach: AttachLSMCGroup, Extras: true},
		},
		Ctx: &typedArgs, Flags: Perfmon | AttachBTF | Sleepable | RetByTarget,
	},
	ProgSkLookup: {
		Type: ProgSkLookup, Name: "sk_lookup", Since: "5.9",
		Doc:      "Chooses the listening socket for a new connection or a datagram.",
		Sections: []Section{{Name: "sk_lookup", Attach: AttachSkLookup}},
		Attaches: 1 << AttachSkLookup,
		Ctx:      &bpfSkLookup, Returns: []Return{{Range: Range{0, 1}}},
		MaxContext: 72,
	},
	ProgSyscall: {
		Type: ProgSyscall, Name: "syscall", Since: "5.14",
		Doc:      "Runs when user space asks for it and may make system calls.",
		Sections: []Section{{Name: "syscall", Sleepable: true}},
		Attaches: 1,
		Ctx:      &userCtx, Flags: Sleepable,
		MaxContext: 64<<10 - 1,
	},
	ProgNetfilter: {
		Type: ProgNetfilter, Name: "netfilter", Since: "6.4",
		Doc:      "Decides on packets at a netfilter hook.",
		Sections: []Section{{Name: "netfilter", Attach: AttachNetfilter}},
		Attaches: 1 << AttachNetfilter,
		Ctx:      &bpfNFCtx, Returns: []Return{{Range: Range{0, 1}}}, Flags: NetAdmin,
		MaxContext: 48, // struct nf_hook_state
	},
}

// ProgKinds returns the rows of all program types, by number.
func ProgKinds() []ProgKind { return progRows[1:] }

// ProgKindByType returns the row of a program type, or nil.
func ProgKindByType(t ProgType) *ProgKind {
	if t == ProgUnspec || uint64(t) >= uint64(len(progRows)) {
		return nil
	}
	return &progRows[t]
}

// ProgKindByName returns the row of the program type bpftool prints as name, or nil.
func ProgKindByName(name string) *ProgKind {
	for i := range progRows[1:] {
		if k := &progRows[1+i]; k.Name == name {
			return k
		}
	}
	return nil
}

// ProgKindBySection returns the program type that libbpf takes a section of
// that name for, and its rule; nil when no rule fits. A "?" in front, which
// keeps a program from being loaded by itself, is the caller's to strip.
func ProgKindBySection(name string) (*ProgKind, *Section) {
	for i := range progRows[1:] {
		k := &progRows[1+i]
		for j := range k.Sections {
			if s := &k.Sections[j]; s.matches(name) {
				return k, s
			}
		}
	}
	return nil, nil
}

func (s *Section) matches(name string) bool {
	n := len(s.Name)
	if len(name) < n || name[:n] != s.Name {
		return false
	}
	return len(name) == n || s.Extras && name[n] == '/'
}

// String returns the type's name as bpftool prints it, or "unspec".
func (t ProgType) String() string {
	if k := ProgKindByType(t); k != nil {
		return k.Name
	}
	return "unspec"
}

// Helper returns the row of a helper as a program of this type with that
// expected attach type sees it, or nil when it may not call it. Needs and the
// flags MightSleep, GPLOnly and AttachAllowed are left for the caller to hold
// against the program.
func (k *ProgKind) Helper(id HelperID, attach AttachType) *Helper {
	return helperFor(id, k.Type, attach)
}

// Return returns the range R0 must lie in when a program with that expected
// attach type exits, and false when it may be anything or, with RetByTarget,
// is not the type's to say.
func (k *ProgKind) Return(attach AttachType) (Range, bool) {
	for _, r := range k.Returns {
		if r.Attach == 0 || r.Attach.Has(attach) {
			return r.Range, true
		}
	}
	return Range{}, false
}

// Field returns the context field that the access reaches, or nil when the
// program may not make it. a.Prog is taken from k.
func (k *ProgKind) Field(a Access) *Field {
	a.Prog = k.Type
	return k.Ctx.Field(a)
}
