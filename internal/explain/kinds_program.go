package explain

// flowKinds are about how control goes.
var flowKinds = []*Kind{
	{
		ID: "infinite-loop", Title: "A loop never ends",
		Requires: "Each turn of a loop must change something that decides when it ends.",
		How:      "for (;;) without a way out, a counter that is not counted, a condition on memory the loop does not change.",
		Fix:      "Count up to a constant, or use bpf_loop or bpf_for.",
		Reasons:  []string{"infinite loop detected at insn %d"},
	},
	{
		ID: "too-complex", Title: "The program is too complex to verify",
		Requires: "The verifier follows all paths, and gives up after a million instructions or 8,192 branches left to follow.",
		How:      "A loop of many turns in which each turn leaves another state behind, nested loops, a long chain of ifs.",
		Fix:      "Move the loop's body into a bpf_loop callback or a global function, which are followed once; bound loops lower.",
		Reasons: []string{
			"BPF program is too large. Processed %d insn", "The sequence of %d jumps is too complex.",
			"The sequence of %d jumps is too complex for async cb.", "the states to remember take too much memory",
		},
	},
	{
		ID: "loop-not-allowed", Title: "Loops are not allowed for this caller",
		Requires: "Callers without CAP_BPF may not load programs with loops.",
		How:      "A loop the compiler did not unroll.",
		Fix:      "Unroll it (#pragma unroll), or load the program with CAP_BPF.",
		Reasons:  []string{"back-edge from insn %d to %d"},
	},
	{
		ID: "unreachable", Title: "Code that can never be reached",
		Requires: "Every instruction must be reachable.",
		How:      "Hand-written assembly, or code behind a call that never returns.",
		Fix:      "Remove the code.",
		Reasons:  []string{"unreachable insn %d"},
	},
	{
		ID: "jump-target", Title: "A jump or call leads nowhere",
		Requires: "Jumps stay in their function, calls go to the start of one, and a function ends with exit or a jump back.",
		How:      "Hand-written assembly; a function without a return the compiler took for unreachable (undefined behaviour).",
		Fix:      "End every path of every function with a return; look for undefined behaviour (division by zero, use of what was never set) in C.",
		Reasons: []string{
			"jump out of range from insn %d to %d", "last insn is not an exit or jmp", "call to invalid destination",
			"jump into the middle of ldimm64 insn %d", "invalid insn idx %d insn_cnt %d",
		},
	},
	{
		ID: "tail-call", Title: "A tail call is not allowed there",
		Requires: "Functions that tail call must have BTF and return int, and cannot be exception callbacks; the map must be known.",
		How:      "A tail call in a void function, or without BTF.",
		Fix:      "Make the function return int, build with -g.",
		Reasons: []string{
			"tail_call is not allowed in subprogs without BTF", "tail_call is only allowed in functions that return 'int'.",
			"cannot tail call within exception cb", "tail_call abusing map_ptr",
			"program with __ref argument cannot tail call",
		},
	},
	{
		ID: "packet-load", Title: "A load of the old kind is not allowed there",
		Requires: "BPF_LD_ABS and BPF_LD_IND are for socket filters and tc, with the context in R6, in functions that return int, not in callbacks.",
		How:      "load_byte, load_half and load_word (the builtins) in XDP or in a callback.",
		Fix:      "Read the packet through data and data_end, or with bpf_skb_load_bytes.",
		Reasons: []string{
			"BPF_LD_[ABS|IND] instructions not allowed for this program type", "at the time of BPF_LD_ABS|IND R6 != pointer to skb",
			"cannot use BPF_LD_[ABS|IND] within callback", "LD_ABS is not allowed in subprogs without BTF",
			"LD_ABS is only allowed in functions that return 'int'.",
		},
	},
	{
		ID: "exception", Title: "An exception or its callback is in the wrong place",
		Requires: "An exception callback is one global function with a single number as parameter, not called directly; callbacks do not throw.",
		How:      "Two __exception_cb tags, or a static callback.",
		Fix:      "Throw in the program or in functions it calls, not in callbacks; have one exception callback, a global int cb(u64 cookie), tagged once.",
		Reasons: []string{
			"bpf_throw kfunc (insn %d) cannot be called from callback subprog %d", "insn %d cannot call exception cb directly",
			"multiple exception callback tags for main subprog", "exception callback '%s' must have global linkage",
			"invalid exception callback insn_off in func_info: 0", "exception callback type id not found in func_info",
			"exception cb only supports single integer argument",
		},
	},
}

// programKinds are about the program as a whole, and what is not the program's fault.
var programKinds = []*Kind{
	{
		ID: "program-size", Title: "The program is too large, or empty",
		Requires: "At most 1,000,000 instructions (4,096 without CAP_BPF), 256 functions, 64 maps.",
		How:      "Unrolled loops and inlined functions.",
		Fix:      "Unroll less, share code in functions, or split the program with tail calls.",
		Reasons: []string{
			"the program has no instructions, or more than may be loaded", "too many subprograms",
			"The total number of maps per program has reached the limit of %d",
		},
	},
	{
		ID: "malformed-instruction", Title: "An instruction is malformed",
		Requires: "Every instruction must be one of those that exist, with 0 in the fields it does not use.",
		How:      "A code generator's fault, or a program for a newer instruction set than the kernel's.",
		Fix:      "Build with a lower -mcpu, or correct the generator.",
		Reasons: []string{
			"R%d is invalid", "invalid BPF_ALU opcode %x", "BPF_NEG uses reserved fields", "BPF_END uses reserved fields", "BPF_MOV uses reserved fields",
			"BPF_ALU uses reserved fields", "invalid BPF_JMP/JMP32 opcode %x", "BPF_JMP/JMP32 uses reserved fields", "invalid may_goto imm %d",
			"BPF_ST uses reserved fields", "BPF_STX uses reserved fields", "BPF_LDX uses reserved fields", "BPF_LD_[ABS|IND] uses reserved fields",
			"invalid BPF_LD_IMM insn", "BPF_LD_IMM64 uses reserved fields", "invalid BPF_LD mode", "BPF_JA uses reserved fields",
			"BPF_EXIT uses reserved fields", "BPF_CALL uses reserved fields", "unknown opcode %02x", "invalid bpf_ld_imm64 insn",
			"unrecognized bpf_ld_imm64 insn", "a jump with a register for its target",
		},
	},
	{
		ID: "bad-reference", Title: "An instruction names a map or variable that is not there",
		Requires: "Maps are named by descriptors of open maps, kernel variables and functions by ids of the kernel's BTF.",
		How:      "A loader's fault, or an object that was never linked; a kernel variable this kernel does not have.",
		Fix:      "Load the object with a loader (skep, libbpf, cilium/ebpf); declare variables that may be missing __weak.",
		Reasons: []string{
			"fd %d is not pointing to valid bpf_map", "fd_idx without fd_array is invalid",
			"kernel is missing BTF, make sure CONFIG_DEBUG_INFO_BTF=y is specified in Kconfig.", "ldimm64 insn specifies invalid btf_id %d.",
			"ldimm64 unable to resolve the size of type '%s': %d", "pseudo btf_id %d in ldimm64 isn't KIND_VAR or KIND_FUNC",
			"ldimm64 failed to find the address for kernel symbol '%s'.",
			"unable to resolve the size of type '%s': %v",
		},
	},
	{
		ID: "function-info", Title: "BTF does not fit the program's functions",
		Requires: "With BTF, every function has one record, in their order, of a function type.",
		How:      "An object whose BTF was made from something else than its code.",
		Fix:      "Build the object again, from one compiler run.",
		Reasons: []string{
			"number of funcs in func_info doesn't match number of subprogs", "func_info BTF section doesn't match subprog layout in BPF program",
			"invalid type id in func info",
		},
	},
	{
		ID: "privileges", Title: "The caller lacks a capability",
		Requires: "Functions, loops, kernel memory and arenas need CAP_BPF or CAP_PERFMON.",
		How:      "The program is loaded by a user without capabilities.",
		Fix:      "Grant the loader CAP_BPF and CAP_PERFMON, or keep the program simple.",
		Reasons: []string{
			"loading/calling other bpf or kernel functions are allowed for CAP_BPF and CAP_SYS_ADMIN",
			"'struct %s' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN", "CAP_BPF and CAP_PERFMON are required to use arena",
		},
	},
	{
		ID: "unprivileged-pointer", Title: "Pointer arithmetic that a speculating processor could abuse",
		Requires: "For callers without CAP_PERFMON arithmetic on pointers must be maskable: one kind of pointer, one direction, a known limit, on all paths.",
		How:      "A pointer is moved by a variable of either sign, or in two different ways by one instruction.",
		Fix:      "Use constant offsets, or load the program with CAP_PERFMON.",
		Reasons: []string{
			"R%d could not be pushed for speculative verification, %s", "R%d has pointer with unsupported alu operation, %s", "R%d has unknown scalar with mixed signed bounds, %s",
			"R%d tried to %s beyond pointer bounds, %s", "R%d tried to %s from different maps, paths or scalars, %s",
			"R%d variable offset stack access prohibited for !root, var_off=%s", "R%d variable stack access prohibited for !root, var_off=%s off=%d",
			"R%d stack pointer arithmetic goes out of range, prohibited for !root; off=%d",
		},
	},
	{
		ID: "attach-target", Title: "The program cannot attach there",
		Requires: "Tracing and LSM programs name a function, tracepoint, iterator or hook that exists, may be traced, and has arguments that can be passed.",
		How:      "A misspelt or inlined function, one that must not be traced, a hook that is switched off.",
		Fix:      "Pick another function; bpftool and /sys/kernel/tracing/available_filter_functions list what there is.",
		Reasons: []string{
			"Tracing programs must provide btf_id", "%s is not sleepable", "attach_btf_id %d points to disabled hook %s", "%s() is not modifiable",
			"Attaching tracing programs to function '%s' is rejected.", "Attaching fexit/fmod_ret to __noreturn function '%s' is rejected.",
			"The function %s has %d arguments. Too many.", "The function %s return type %s is unsupported.",
			"The function %s with variable args is unsupported.", "The function %s arg%d type %s is unsupported.",
			"The function %s has malformed void argument.", "this program type does not attach in that way",
			"the tracepoint has no prototype in BTF", "no iterator of that name",
			"the program implements no member of a kernel structure", "attach_btf_id %d is not a supported struct",
			"attach to invalid member idx %d of struct %s", "attach to invalid member %s(@idx %d) of struct %s",
			"attach to unsupported member %s of struct %s",
			"Cannot replace kernel functions", "FENTRY/FEXIT program can only be attached to another program annotated with BTF",
			"Subprog %s doesn't exist", "Extension programs cannot attach to exception callback", "Cannot replace static functions",
			"FENTRY/FEXIT programs cannot attach to exception callback", "Cannot nest tracing program attach more than once",
			"Only FENTRY/FEXIT progs are attachable to another BPF prog", "only fentry and fexit programs attach to another BPF program",
			"can't modify return codes of BPF programs",
			"Extension program changes packet data, while original does not", "Extension program may sleep, while original does not",
			"Cannot recursively attach", "Cannot extend fentry/fexit", "Program extension requires BTF", "%s() is not a global function",
			"%s() has %d args while %s() has %d args", "Return type %s of %s() doesn't match type %s of %s()",
			"arg%d in %s() is %s while %s() has %s", "arg%d in %s() has size %d while %s() has %d", "arg%d in %s() has unrecognized type",
			"arg%d in %s() is not a pointer to context", "arg%d %s(struct %s *) doesn't match %s(struct %s *)",
		},
	},
	{
		ID: "program-type", Title: "Not for this program type",
		Requires: "Only some program types can be sleepable, syscall programs must be; the type must be one that exists.",
		How:      "A wrong section name or load flag.",
		Fix:      "Correct the section: docs/reference lists them.",
		Reasons: []string{
			"Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable", "Syscall programs can only be sleepable",
			"no such program type",
		},
	},
	{
		ID: "internal", Title: "The verifier contradicts itself",
		Requires: "Nothing of the program: this is a fault of the verifier.",
		How:      "A combination of instructions that nobody tried before.",
		Fix:      "Report it, with the program. Meanwhile change the code around that instruction.",
		Reasons: []string{
			"%s", "kernel subsystem misconfigured verifier", "verifier bug. subprog has tail_call and async cb",
			"verifier bug: backtracking func entry subprog %d reg_mask %x stack_mask %x", "verifier bug: backtracking idx %d",
			"verifier bug: backtracking insn %d regs %x stack %x", "verifier bug: bpf_dynptr_slice(_rdwr) no constant size",
			"verifier bug: ref_set_non_owning w/o active lock",
		},
	},
	{
		ID: unsupported, Title: "skep has no model of this",
		Requires: "Nothing of the program: the kernel may well take it.",
		How:      "Functions of kernel modules, a few kernel functions, programs that need the kernel's BTF where there is none: docs/verifier.md lists them.",
		Fix:      "Verify the program with the kernel: skep verify --engine linux.",
	},
}
