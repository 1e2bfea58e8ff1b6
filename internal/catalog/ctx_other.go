package catalog

// bpfSysctl is the context of cgroup_sysctl programs (sysctl_is_valid_access).
var bpfSysctl = Context{
	Name: "bpf_sysctl", Size: 8,
	Fields: []Field{
		{Name: "write", Off: 0, Size: 4, Read: inCGroupSysctl, Narrow: 1},
		{Name: "file_pos", Off: 4, Size: 4, Read: inCGroupSysctl, Write: inCGroupSysctl, Narrow: 1},
	},
}

// bpfSockopt is the context of cgroup_sockopt programs (cg_sockopt_is_valid_access).
var bpfSockopt = Context{
	Name: "bpf_sockopt", Size: 40,
	Fields: []Field{
		{Name: "sk", Off: 0, Size: 8, Kind: FieldSock, Read: inCGroupSockopt},
		{Name: "optval", Off: 8, Size: 8, Kind: FieldPkt, Read: inCGroupSockopt},
		{Name: "optval_end", Off: 16, Size: 8, Kind: FieldPktEnd, Read: inCGroupSockopt},
		{Name: "level", Off: 24, Size: 4, Read: inCGroupSockopt, Write: inCGroupSockopt,
			WriteAt: 1 << AttachCGroupSetsockopt},
		{Name: "optname", Off: 28, Size: 4, Read: inCGroupSockopt, Write: inCGroupSockopt,
			WriteAt: 1 << AttachCGroupSetsockopt},
		{Name: "optlen", Off: 32, Size: 4, Read: inCGroupSockopt, Write: inCGroupSockopt},
		{Name: "retval", Off: 36, Size: 4, Read: inCGroupSockopt, Write: inCGroupSockopt,
			ReadAt: 1 << AttachCGroupGetsockopt, WriteAt: 1 << AttachCGroupGetsockopt},
	},
}

// bpfCGroupDevCtx is the context of cgroup_device programs (cgroup_dev_is_valid_access).
var bpfCGroupDevCtx = Context{
	Name: "bpf_cgroup_dev_ctx", Size: 12,
	Fields: []Field{
		{Name: "access_type", Off: 0, Size: 4, Read: inCGroupDevice, Narrow: 1},
		{Name: "major", Off: 4, Size: 4, Read: inCGroupDevice},
		{Name: "minor", Off: 8, Size: 4, Read: inCGroupDevice},
	},
}

// ptRegsSize is the size of x86-64's struct pt_regs, the register layout that
// kprobe and perf_event programs are given.
const ptRegsSize = 21 * 8

// ptRegs is the context of kprobe programs (kprobe_prog_is_valid_access).
var ptRegs = Context{
	Name: "pt_regs", Size: ptRegsSize,
	Fields: []Field{{Name: "regs", Off: 0, Size: ptRegsSize, Elem: 8, Read: inKprobe, Narrow: 1}},
}

// bpfPerfEventData is the context of perf_event programs (pe_prog_is_valid_access).
var bpfPerfEventData = Context{
	Name: "bpf_perf_event_data", Size: ptRegsSize + 16,
	Fields: []Field{
		{Name: "regs", Off: 0, Size: ptRegsSize, Elem: 8, Read: inPerfEvent},
		{Name: "sample_period", Off: ptRegsSize, Size: 8, Read: inPerfEvent, Narrow: 1},
		{Name: "addr", Off: ptRegsSize + 8, Size: 8, Read: inPerfEvent, Narrow: 1},
	},
}

// tracepointEntry is the context of tracepoint programs: the event's record,
// whose common header of 8 bytes is out of reach (tp_prog_is_valid_access).
var tracepointEntry = Context{
	Name: "trace_entry", Size: maxTraceSize,
	Fields: []Field{
		{Name: "record", Off: 8, Size: maxTraceSize - 8, Elem: 8, Read: inTracepoint, Narrow: 1},
	},
}

// maxTraceSize is PERF_MAX_TRACE_SIZE.
const maxTraceSize = 8192

// maxFuncArgs is MAX_BPF_FUNC_ARGS.
const maxFuncArgs = 12

// rawTracepointArgs is the context of raw_tracepoint programs (bpf_tracing_ctx_access).
var rawTracepointArgs = Context{
	Name: "bpf_raw_tracepoint_args", Size: 8 * maxFuncArgs,
	Fields: []Field{
		{Name: "args", Off: 0, Size: 8 * maxFuncArgs, Elem: 8, Read: inRawTracepoint, Narrow: 1},
	},
}

// rawTracepointWritableArgs is the context of raw_tracepoint_writable programs,
// whose first argument is the buffer they may write (raw_tp_writable_prog_is_valid_access).
var rawTracepointWritableArgs = Context{
	Name: "bpf_raw_tracepoint_args", Size: 8 * maxFuncArgs,
	Fields: []Field{
		{Name: "buffer", Off: 0, Size: 8, Kind: FieldTPBuffer, Read: inRawTracepointWritable},
		// Only an access at offset 0 is taken for one of the buffer.
		{Name: "buffer address", Off: 1, Size: 7, Elem: 4, Read: inRawTracepointWritable, Narrow: 1},
		{Name: "args", Off: 8, Size: 8 * (maxFuncArgs - 1), Elem: 8, Read: inRawTracepointWritable, Narrow: 1},
	},
}

// typedArgs is the context of programs whose arguments BTF describes
// (btf_ctx_access): tracing, lsm, struct_ops, ext.
var typedArgs = Context{Name: "u64[]", Size: 8 * maxFuncArgs, Typed: true}

// userCtx is the context of syscall programs: memory the caller gave
// (syscall_prog_is_valid_access).
var userCtx = Context{
	Name: "void", Size: 1<<16 - 1,
	Fields: []Field{
		{Name: "ctx", Off: 0, Size: 1<<16 - 1, Elem: 8, Read: inSyscall, Write: inSyscall, Narrow: 1, NarrowWrite: true},
	},
}

// bpfNFCtx is the context of netfilter programs (nf_is_valid_access).
var bpfNFCtx = Context{
	Name: "bpf_nf_ctx", Size: 16,
	Fields: []Field{
		{Name: "state", Off: 0, Size: 8, Kind: FieldBTF, BTF: "nf_hook_state", Read: inNetfilter},
		{Name: "skb", Off: 8, Size: 8, Kind: FieldBTF, BTF: "sk_buff", Read: inNetfilter},
	},
}

// lircSample is the context of lirc_mode2 programs (lirc_mode2_is_valid_access).
var lircSample = Context{
	Name: "unsigned int", Size: 4,
	Fields: []Field{{Name: "sample", Off: 0, Size: 4, Read: inLircMode2}},
}
