package explain

// memoryKinds are about what a pointer may be used for.
var memoryKinds = []*Kind{
	{
		ID: "null-check", Title: "A pointer that may be NULL is used unchecked",
		Requires: "A pointer that may be NULL must be compared with NULL before it is followed, moved or passed on; only the path on which it is not NULL may use it.",
		How:      "A lookup in a map finds nothing when there is no such key, in an array too when the index is too large; reserving, allocating and looking up sockets may fail.",
		Fix:      "Check the pointer right after the call that returned it, and leave when it is NULL.",
		Reasons: []string{
			"R%d pointer arithmetic on %s prohibited, null-check it first",
			"Possibly NULL pointer passed to helper arg%d",
			"Possibly NULL pointer passed to trusted arg%d",
			"arg#%d is expected to be non-NULL",
		},
	},
	{
		ID: "not-a-pointer", Title: "A number is used as an address",
		Requires: "Memory is reached only through pointers the verifier knows: the context, the stack, the packet, map values, what helpers return.",
		How:      "An address read from memory is a number to the verifier: a pointer inside a kernel struct or a map value, the address of a user's buffer, a constant.",
		Fix:      "Read such memory with a helper (bpf_probe_read_kernel, bpf_probe_read_user, bpf_core_read), or get a pointer the verifier knows.",
		Reasons:  []string{"R%d invalid mem access '%s'"},
	},
	{
		ID: "stale-packet-pointer", Title: "A packet pointer is used after the packet may have moved",
		Requires: "Calls that change the packet's memory take away all pointers into it; data and data_end must be read from the context again and the bounds checked again.",
		How:      "bpf_xdp_adjust_head, bpf_skb_pull_data, bpf_skb_store_bytes, bpf_l3_csum_replace and the like may allocate the packet anew. So does a call of a function of your own that calls them.",
		Fix:      "After the call, load ctx->data and ctx->data_end again and check the bounds again.",
	},
	{
		ID: "packet-bounds", Title: "The packet may end before the bytes that are read",
		Requires: "Before bytes of a packet are read or written, a comparison with data_end must prove that they are there, through the very pointer used or one a constant away from it.",
		How:      "There is no check, it covers fewer bytes than are read (the pointer instead of pointer + 1, one byte too few), or it was made of another pointer than the one used.",
		Fix:      "Compare the end of what is read with data_end: if ((void *)(header + 1) > data_end) return …;",
		Reasons: []string{
			"invalid access to packet, off=%d size=%d, R%d(id=%d,off=%d,r=%d)",
			"R%d offset is outside of the packet",
		},
	},
	{
		ID: "packet-read-only", Title: "This program may not write to the packet",
		Requires: "Only some program types may write to packets: XDP, tc, lwt_xmit, sk_skb, sk_msg.",
		How:      "Socket filters and cgroup programs see a packet that belongs to someone else.",
		Fix:      "Leave the packet as it is, or do the change in an XDP or tc program.",
		Reasons: []string{
			"cannot write into packet", "helper access to the packet is not allowed", "the prog does not allow writes to packet data",
		},
	},
	{
		ID: "map-value-bounds", Title: "An access reaches beyond the map's value",
		Requires: "Accesses to a map's value must lie within value_size for every value an index can have.",
		How:      "The pointer was cast to a bigger struct than the map's value, an array in the value is indexed one too far, or the bound that was checked is that of another array.",
		Fix:      "Make the map's value type as large as what is used, or bound the index by the number of elements before it is used.",
		Reasons: []string{
			"invalid access to map value, value_size=%d off=%d size=%d",
			"invalid access to map value pointer, value_size=%d off=%d",
			"direct value offset of %d is not allowed",
		},
	},
	{
		ID: "map-key-bounds", Title: "An access reaches beyond the map's key",
		Requires: "Accesses to a key that a callback is given must lie within key_size.",
		How:      "The callback of bpf_for_each_map_elem takes the key for a bigger type than the map's.",
		Fix:      "Use the map's key type for the callback's parameter.",
		Reasons:  []string{"invalid access to map key, key_size=%d off=%d size=%d"},
	},
	{
		ID: "memory-bounds", Title: "An access reaches beyond memory of known size",
		Requires: "Memory that a helper or a parameter gives comes with a size, and accesses must stay within it.",
		How:      "A ring buffer record or a dynptr's slice was asked for with a smaller size than is used, or a pointer parameter of a global function points to a smaller type.",
		Fix:      "Ask for as many bytes as are used: sizeof of the type itself.",
		Reasons: []string{
			"invalid access to memory, mem_size=%d off=%d size=%d",
			"R%d invalid %s buffer access: off=%d, size=%d",
			"R%d invalid variable buffer offset: off=%d, var_off=%s",
			"invalid access to flow keys off=%d size=%d",
		},
	},
	{
		ID: "unbounded-index", Title: "An index has no upper bound",
		Requires: "What is added to a pointer must have a known upper bound that keeps the access within its memory.",
		How:      "The index comes from a packet, a map or a helper and was never compared, or the comparison was of a copy the compiler keeps apart from the one used.",
		Fix:      "Compare the index with the number of elements and leave when it is not smaller, or mask it: i &= N - 1.",
		Reasons:  []string{"R%d unbounded memory access, make sure to bounds check any such access"},
	},
	{
		ID: "negative-index", Title: "An index may be negative",
		Requires: "What is added to a pointer must not be negative where that would reach before the start of its memory.",
		How:      "The index is a signed int, checked only against its upper bound; or a difference of two numbers.",
		Fix:      "Declare the index unsigned (__u32), or check that it is not negative too.",
		Reasons:  []string{"R%d min value is negative, either use unsigned index or do a if (index >=0) check."},
	},
	{
		ID: "pointer-offset", Title: "A pointer is moved too far, or by an unknown amount",
		Requires: "What is added to a pointer must be known to lie within 512 MiB of it, even before the pointer is used.",
		How:      "A 64-bit number from a packet or map is added to a pointer before it was bounded, or a check of it came after the addition.",
		Fix:      "Bound the number first, then add it.",
		Reasons: []string{
			"math between %s pointer and %d is not allowed", "%s pointer offset %d is not allowed",
			"math between %s pointer and register with unbounded min value is not allowed",
			"value %d makes %s pointer be out of bounds",
		},
	},
	{
		ID: "pointer-arithmetic", Title: "Arithmetic that pointers do not have",
		Requires: "Numbers may be added to and subtracted from pointers into memory. Other operations make a number of the pointer, or are forbidden; some kinds of pointers (map, end of packet, function, socket) may not be moved at all.",
		How:      "A pointer is masked or aligned, two pointers are added, data_end is moved instead of data.",
		Fix:      "Compute with an offset in a number, and add it to the pointer last.",
		Reasons: []string{
			"R%d pointer arithmetic on %s prohibited", "R%d pointer arithmetic prohibited", "R%d bitwise operator %s on pointer prohibited",
			"R%d pointer arithmetic with %s operator prohibited", "R%d tried to subtract pointer from scalar",
			"R%d subtraction from stack pointer prohibited", "R%d pointer %s pointer prohibited",
		},
	},
	{
		ID: "pointer-truncated", Title: "Half of a pointer is taken",
		Requires: "Pointers have 64 bits: 32-bit moves and arithmetic keep half of an address.",
		How:      "A pointer goes through an int or __u32, often a function's parameter, or the difference of two pointers is computed in 32 bits.",
		Fix:      "Cast through long (64 bits), never through int.",
		Reasons: []string{
			"R%d 32-bit pointer arithmetic prohibited", "R%d partial copy of pointer", "R%d sign-extension part of pointer",
		},
	},
	{
		ID: "pointer-comparison", Title: "Pointers are compared in a way that would tell addresses",
		Requires: "Without CAP_PERFMON a pointer may only be compared with NULL, or with the packet's end.",
		How:      "An unprivileged program compares a pointer with a number, or two pointers.",
		Fix:      "Compare offsets or contents, not addresses; or load the program with CAP_PERFMON.",
		Reasons:  []string{"R%d pointer comparison prohibited"},
	},
	{
		ID: "pointer-leak", Title: "An address would get out of the kernel",
		Requires: "Addresses may not be returned, and without CAP_PERFMON not stored where user space can read them nor passed as numbers.",
		How:      "A function returns a pointer instead of a number, or a pointer is stored into the context, a packet or a map value.",
		Fix:      "Return or store what the pointer points to, or an offset.",
		Reasons: []string{
			"R%d leaks addr as return value", "R%d leaks addr into %s", "R%d leaks addr into helper function",
			"R%d leaks addr into mem", "leaking pointer from stack off %d",
		},
	},
	{
		ID: "read-only-map", Title: "The map forbids this access",
		Requires: "Maps made with BPF_F_RDONLY_PROG may only be read by programs, those with BPF_F_WRONLY_PROG only written; .rodata is such a map. Keys given to callbacks may not be changed.",
		How:      "A const global variable is written to through a cast, or an update goes to a map that is frozen for programs.",
		Fix:      "Drop const from the variable, or the flag from the map.",
		Reasons: []string{
			"write into map forbidden", "write into map forbidden, value_size=%d off=%d size=%d",
			"read from map forbidden, value_size=%d off=%d size=%d", "write to change key R%d not allowed",
		},
	},
	{
		ID: "read-only-memory", Title: "Memory that may only be read is written",
		Requires: "What the kernel lends for reading may not be written, directly or by passing it to a helper that writes.",
		How:      "A field of a kernel struct or a socket is assigned, or a read-only buffer is passed where a helper writes its result.",
		Fix:      "Use the helper or kernel function made for that change, or copy the memory to the stack and change the copy.",
		Reasons: []string{
			"R%d cannot write into %s", "%s() may write into memory pointed by R%d type=%s", "only read is supported", "only read from %s is supported",
			"write access at off %d with size %d beyond the member of nf_conn ended at %d", "no write support to nf_conn at off %d",
			"the program may not write this field",
		},
	},
	{
		ID: "misaligned", Title: "An access is not aligned to its size",
		Requires: "Where alignment is asked for (BPF_F_STRICT_ALIGNMENT; always on the stack for pointers and for atomics and special fields) an access of n bytes must be at a multiple of n.",
		How:      "A wide field is read at an odd offset of the stack or packet, often through a packed struct or a cast.",
		Fix:      "Read the bytes with __builtin_memcpy, or lay the struct out so that wide fields are aligned.",
		Reasons: []string{
			"misaligned %saccess off %s+%d+%d size %d", "misaligned packet access off %d+%s+%d+%d size %d",
		},
	},
	{
		ID: "ctx-access", Title: "The context has no such field for this program",
		Requires: "The context is read field by field, whole and at its own size, and which fields there are depends on the program type and attach type.",
		How:      "The parameter has the wrong type (__sk_buff in an XDP program), a field is not available here, or only a part of it is read.",
		Fix:      "Use the context type of the program's section, and fields it has: docs/reference/contexts.md.",
		Reasons:  []string{"invalid bpf_context access off=%d size=%d", "invalid bpf_context access off=%d. Reference may already be released", "no bytes of the context are passed where some are needed"},
	},
	{
		ID: "ctx-write", Title: "This field of the context cannot be written",
		Requires: "Only a few fields of a context may be written, and they differ from program type to program type.",
		How:      "A field is assigned that only informs: ctx->data, skb->len, skb->protocol.",
		Fix:      "Use the helper that does the change (bpf_xdp_adjust_head, bpf_skb_change_proto, …), or write to a field that is for it.",
	},
	{
		ID: "ctx-modified", Title: "The context is accessed through a pointer that was moved",
		Requires: "Fields of the context are read through the context pointer itself plus a constant; a pointer that was moved, or an index that varies, cannot be translated to the kernel's real struct.",
		How:      "The compiler computes the address of a field first and then loads (arrays such as skb->cb with a variable index), or the program does arithmetic on ctx.",
		Fix:      "Read the field by its name with a constant index, one field per statement; unroll the loop.",
		Reasons: []string{
			"dereference of modified %s ptr R%d off=%d disallowed", "negative offset %s ptr R%d off=%d disallowed",
			"variable %s access var_off=%s disallowed",
		},
	},
	{
		ID: "different-pointers", Title: "One instruction reaches different kinds of memory",
		Requires: "A load or store must go through the same kind of pointer on all paths, since the kernel rewrites it for that kind.",
		How:      "The compiler merged two accesses of equal offset, one through ctx and one through another pointer, into one instruction at the end of an if.",
		Fix:      "Keep the two apart: load into a variable in each branch, with a barrier (asm volatile(\"\" ::: \"memory\")) if the compiler merges them again.",
		Reasons:  []string{"same insn cannot be used with different pointers"},
	},
	{
		ID: "kernel-struct-access", Title: "A kernel struct does not have what is read there",
		Requires: "Pointers to kernel structs, sockets and maps are read by BTF: within the struct, a field at a time, at fixed offsets.",
		How:      "The struct is cast to another one, a field is read at another size than it has, or an index varies.",
		Fix:      "Read the fields by their names through the type that vmlinux.h gives (with CO-RE), or read memory with bpf_probe_read_kernel.",
		Reasons: []string{
			"Type '%s' is not a struct", "access beyond struct %s at off %d size %d", "struct %s doesn't have field at offset %d",
			"field %s doesn't have size", "cannot access ptr member %s with moff %d in struct %s with off %d size %d",
			"access beyond the end of member %s (mend:%d) in struct %s with off %d size %d",
			"R%d is ptr_%s invalid negative access: off=%d", "R%d is ptr_%s invalid variable offset: off=%d, var_off=%s",
			"R%d is %s invalid negative access: off=%d", "R%d invalid %s access off=%d size=%d", "direct access to %s is disallowed",
			"map_ptr access not supported without CONFIG_DEBUG_INFO_BTF", "map_ptr access not supported for map type %d",
			"R%d is ptr_%s access user memory: off=%d", "R%d is ptr_%s access percpu memory: off=%d",
		},
	},
	{
		ID: "arena", Title: "Arena pointers where there is no arena",
		Requires: "A program has one arena map at most, and addresses are cast between address spaces 0 and 1 only, in programs that use one.",
		How:      "Two arena maps in one program, or __arena pointers without naming the map.",
		Fix:      "Declare one arena map for all, and refer to it in the program.",
		Reasons: []string{
			"addr_space_cast insn can only convert between address space 1 and 0",
			"addr_space_cast insn can only be used in a program that has an associated arena", "Only one arena per program",
			"R%d is not a pointer to arena or scalar.",
		},
	},
}

// numberKinds are about sizes and other numbers passed on.
var numberKinds = []*Kind{
	{
		ID: "negative-size", Title: "A size may be negative",
		Requires: "The number of bytes passed to a helper must not be negative.",
		How:      "The size is a signed int: a helper's result (which may be an error) or a difference. Or a check was made of an int and the size went through a sign extension since.",
		Fix:      "Make the size unsigned, and bound it: if (size > sizeof(buf)) size = sizeof(buf); or size &= MASK.",
		Reasons:  []string{"R%d min value is negative, either use unsigned or 'var &= const'"},
	},
	{
		ID: "unbounded-size", Title: "A size has no upper bound",
		Requires: "The number of bytes passed to a helper must be bounded, by what the memory it goes with holds.",
		How:      "The size comes from a packet or from user space and was not compared with anything.",
		Fix:      "Compare it with the size of the buffer first, or mask it: size &= sizeof(buf) - 1.",
		Reasons:  []string{"R%d unbounded memory access, use 'var &= const' or 'if (var < const)'"},
	},
	{
		ID: "zero-size", Title: "A size may be zero",
		Requires: "This helper needs at least one byte.",
		How:      "The size is bounded above, and may be zero.",
		Fix:      "Leave when the size is zero, before the call.",
		Reasons:  []string{"invalid zero-sized read", "R%d invalid zero-sized read: u64=[%d,%d]"},
	},
	{
		ID: "lost-range", Title: "A bound that was checked is lost again",
		Requires: "A range holds for the value that was compared, and for what is computed from it as long as the verifier can follow.",
		How:      "The check is of an int and the use is of a 64-bit copy made before it, or the value went through an operation whose result the verifier knows nothing of; the compiler checks one register and uses another.",
		Fix:      "Use one variable of one unsigned 64-bit type for the check and for the use; check again right before the use.",
	},
	{
		ID: "constant-argument", Title: "An argument must be a constant",
		Requires: "Some arguments must be known when the program is loaded: sizes of records and slices, type ids, flags.",
		How:      "The size is computed or comes from a variable, so that it differs from run to run.",
		Fix:      "Pass a constant (sizeof of a type); for a variable amount use the largest, or the function made for it (bpf_ringbuf_output, bpf_ringbuf_reserve_dynptr).",
		Reasons:  []string{"R%d must be a known constant", "R%d is not a const", "R%d is not a known constant'"},
	},
	{
		ID: "constant-string", Title: "A string must be a constant",
		Requires: "Some helpers read a string when the program is loaded: it must lie in .rodata (a const global array), zero-terminated, at a fixed address.",
		How:      "The format or name is an array on the stack or in a map that programs may change.",
		Fix:      "Put the string where constants lie: static const char name[] = \"…\"; outside of the stack.",
		Reasons: []string{
			"a string must lie in a map, as string constants do", "R%d does not point to a readonly map'", "R%d is not a constant address'",
			"direct value access on string failed", "string is not zero-terminated", "arg#%d doesn't point to a const string",
		},
	},
	{
		ID: "format-string", Title: "A format does not fit its arguments",
		Requires: "Formats of bpf_snprintf and bpf_trace_printk may have only some conversions, as many as there are arguments.",
		How:      "A conversion that the kernel does not have (%f, %n), or one argument too few.",
		Fix:      "Use %d, %u, %x, %lld, %llu, %s, %p…, one for each argument.",
		Reasons:  []string{"Invalid format string", "the size of the arguments of bpf_snprintf is no multiple of 8"},
	},
	{
		ID: "return-value", Title: "The program returns a value it may not",
		Requires: "What a program returns must lie in the range its type and attach type allow.",
		How:      "The result of a helper or a computation is returned as it is, or the constant belongs to another program type.",
		Fix:      "Return one of the allowed values on each path.",
		Reasons:  []string{"%s should have been in [%d, %d]", "%s the register R%d is not a known value (%s)"},
	},
	{
		ID: "callback-return", Title: "A callback returns a value it may not",
		Requires: "Callbacks return 0 to go on and 1 to stop; some only 0.",
		How:      "The callback ends with another number, or with a result that may be anything.",
		Fix:      "Return 0 or 1.",
		Reasons:  []string{"R0 not a scalar value"},
	},
	{
		ID: "division-by-zero", Title: "Division by the constant zero",
		Requires: "A constant divisor must not be zero. (A variable one may be: the result is then 0.)",
		How:      "A macro or constant expression evaluates to zero.",
		Fix:      "Correct the constant.",
		Reasons:  []string{"div by zero"},
	},
	{
		ID: "shift", Title: "A constant shift is too wide",
		Requires: "A constant shift must be less than the width of the operation, 32 or 64 bits.",
		How:      "A mask is made with 1 << 64, or a 32-bit value is shifted by 32.",
		Fix:      "Shift by less, or use a 64-bit type.",
		Reasons:  []string{"invalid shift %d"},
	},
}

// stackKinds are about the stack and registers.
var stackKinds = []*Kind{
	{
		ID: "register-uninitialised", Title: "A register is read that nothing was put into",
		Requires: "A register must be written on every path before it is read. Calls leave R1–R5 empty.",
		How:      "A function ends without return, a variable is set in one branch only, or the value was in R1–R5 before a call.",
		Fix:      "Give the variable a value on every path; end every path with return.",
		Reasons:  []string{"R%d !read_ok", "unexpected __bpf_trap() due to uninitialized variable?"},
	},
	{
		ID: "stack-uninitialised", Title: "Stack is read that nothing was written to",
		Requires: "Every byte of stack that a helper is given to read must have been written; callers without CAP_PERFMON may read no other byte either.",
		How:      "A struct on the stack is filled field by field, and the padding between fields stays as it was; or a key is passed before it was set.",
		Fix:      "Clear it where it is declared: struct key k = {}; for padding use __builtin_memset.",
		Reasons: []string{
			"invalid read from stack R%d off %d+%d size %d", "invalid read from stack R%d var_off %s+%d size %d",
			"invalid read from stack off %d+%d size %d",
		},
	},
	{
		ID: "stack-bounds", Title: "An access is outside of the stack",
		Requires: "A function has 512 bytes of stack, and accesses stay between its frame pointer and 512 bytes below.",
		How:      "An array on the stack is indexed beyond its end, or a helper is told a larger size than the variable has.",
		Fix:      "Pass the size of the variable itself: sizeof(buf); make arrays as large as what goes in.",
		Reasons:  []string{"invalid%s stack R%d off=%d size=%d"},
	},
	{
		ID: "stack-index", Title: "An index into the stack is not bounded well enough",
		Requires: "A variable index into an array on the stack must be bounded on both sides so that it stays in the frame; memory for helpers must be at a fixed offset where they write it.",
		How:      "An array on the stack is indexed by a value from a packet, or by a signed one.",
		Fix:      "Bound the index by the number of elements (i &= N - 1), as an unsigned number, or move the array into a map.",
		Reasons: []string{
			"invalid variable-offset%s stack R%d var_off=%s off=%d size=%d", "invalid unbounded variable-offset%s stack R%d",
			"variable offset stack pointer cannot be passed into helper function; var_off=%s off=%d size=%d",
		},
	},
	{
		ID: "spilled-pointer", Title: "A pointer saved on the stack is damaged or read in part",
		Requires: "A pointer is saved and loaded whole, with 8 bytes at a multiple of 8. A function may not put pointers to its own stack into its caller's.",
		How:      "A union or cast reads part of a stack slot that holds a pointer, or a struct with pointers is copied piecewise.",
		Fix:      "Access the pointer as a pointer; copy structs with __builtin_memcpy of 8-byte steps.",
		Reasons: []string{
			"invalid size of register spill", "invalid size of register fill", "attempt to corrupt spilled pointer on stack",
			"spilled ptr in range of var-offset stack write; insn %d, ptr off: %d", "cannot spill pointers to stack into stack frame of the caller",
		},
	},
	{
		ID: "stack-returned", Title: "A function returns a pointer to its own stack",
		Requires: "A function's stack is gone when it returns.",
		How:      "The address of a local variable is returned.",
		Fix:      "Let the caller own the memory and pass a pointer to it.",
		Reasons:  []string{"cannot return stack pointer to the caller"},
	},
	{
		ID: "stack-size", Title: "The stack is too small for this",
		Requires: "All functions of a chain of calls share 512 bytes of stack (256 before a tail call).",
		How:      "Large structs and strings as local variables, in the program and in functions it calls.",
		Fix:      "Keep large data in a per-CPU array map of one element, and use a pointer to it.",
		Reasons: []string{
			"stack size of subprog %d is %d. Too large", "combined stack size of %d calls is %d. Too large",
			"tail_calls are not allowed when call stack of previous frames is %d bytes. Too large",
		},
	},
	{
		ID: "call-depth", Title: "Calls are nested too deep",
		Requires: "At most 8 functions may be active at once.",
		How:      "Functions that call each other in a long chain, or recursion.",
		Fix:      "Inline some of them (__always_inline), or turn recursion into a loop.",
		Reasons:  []string{"the call stack of %d frames is too deep", "the call stack of %d frames is too deep !"},
	},
	{
		ID: "frame-pointer", Title: "The frame pointer is written",
		Requires: "R10 may only be read.",
		How:      "Hand-written assembly.",
		Fix:      "Copy R10 to another register and change that.",
		Reasons:  []string{"frame pointer is read only"},
	},
}
