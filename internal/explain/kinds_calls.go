package explain

// callKinds are about helpers, kernel functions and their arguments.
var callKinds = []*Kind{
	{
		ID: "helper-unknown", Title: "There is no such helper",
		Requires: "The number of a helper must be one this kernel has, and callable from programs of this kind.",
		How:      "The program was written for a newer kernel, or a helper's declaration has the wrong number.",
		Fix:      "Check with bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_…) and do without; skep verify --min-kernel says what is needed.",
		Reasons:  []string{"invalid func %s#%d", "helper call is not allowed in probe"},
	},
	{
		ID: "helper-program-type", Title: "This helper is not for this program type",
		Requires: "Each program type has its own list of helpers.",
		How:      "Code is shared between program types, or the section names the wrong type: bpf_skb_… in XDP, bpf_get_current_… in a socket filter.",
		Fix:      "Use what the program type has (docs/reference/helpers.md lists them), or another program type.",
		Reasons:  []string{"program of this type cannot use helper %s#%d"},
	},
	{
		ID: "license", Title: "This needs a GPL-compatible license",
		Requires: "Some helpers, kernel functions and hooks may only be used by programs whose license is compatible with the GPL.",
		How:      "The object has no license section, or one that the kernel does not take for compatible.",
		Fix:      "Declare it, if that is the program's license: char LICENSE[] SEC(\"license\") = \"GPL\"; (or \"Dual BSD/GPL\").",
		Reasons: []string{
			"cannot call GPL-restricted function from non-GPL compatible program", "cannot call kernel function from non-GPL compatible program",
			"Cannot access kernel 'struct %s' from non-GPL compatible program", "LSM programs must have a GPL compatible license",
			"struct ops programs must have a GPL compatible license",
		},
	},
	{
		ID: "argument-type", Title: "An argument is of the wrong kind",
		Requires: "Each argument of a helper or kernel function must be the kind of value its prototype says: the context, a map, a pointer to memory of its own, a number.",
		How:      "Arguments in the wrong order, a pointer instead of its address, the address of a variable instead of its value, a struct of another type.",
		Fix:      "Pass what the prototype says.",
		Reasons: []string{
			"R%d type=%s expected=%s", "R%d is of type %s but %s is expected", "arg#%d is %s expected %s or socket",
			"kernel function %s args#%d expected pointer to %s %s but R%d has a pointer to STRUCT %s", "R%d is not a scalar",
			"pointer in R%d isn't map pointer", "arg#%d expected pointer to ctx, but got %s", "arg#%d expects pointer to ctx",
			"Helper has invalid btf_id in R%d", "Unsupported reg type %s for bpf_dynptr_from_mem data", "arg#%d doesn't point to a map value",
			"invalid map_ptr to access map->key", "invalid map_ptr to access map->type", "arg#%d doesn't point to map value or allocated object",
			"arg#%d pointer type %s %s must point to scalar, or struct with scalar",
			"arg#%d pointer type %s %s must point to void, scalar, or struct with scalar",
			"the kernel's BTF has no struct bpf_map", "get_local_storage() doesn't support non-zero flags",
		},
	},
	{
		ID: "untrusted-pointer", Title: "The kernel does not vouch for this pointer",
		Requires: "Kernel functions take pointers that are known to be alive: from a hook's arguments, from a function that acquires, or, for some, read inside an RCU section.",
		How:      "The pointer was read from a field of another struct, so that what it points to may be gone.",
		Fix:      "Acquire it (bpf_task_acquire, …) inside bpf_rcu_read_lock, check the result, and release it when done.",
		Reasons:  []string{"R%d must be referenced or trusted", "R%d must be a rcu pointer"},
	},
	{
		ID: "map-type", Title: "This is not for maps of that type",
		Requires: "Each helper works on some map types only; programs of some types, and sleepable ones, may use some only, and an exclusive map is one program's.",
		How:      "bpf_map_lookup_elem on a ring buffer, bpf_redirect_map with a hash, bpf_tail_call with an array, a lock in a map of a tracing program.",
		Fix:      "Change the map's type, or use the helper for it.",
		Reasons: []string{
			"cannot pass map_type %d into func %s#%d", "invalid arg_type for sockmap/sockhash", "callback function not allowed for map",
			"expected prog array map for tail call", "no direct value access support for this map type", "bpf_struct_ops map cannot be used in prog",
			"tracing progs cannot use bpf_{list_head,rb_root} yet", "socket filter progs cannot use bpf_spin_lock yet",
			"tracing progs cannot use bpf_spin_lock yet", "tracing progs cannot use bpf_timer yet", "tracing progs cannot use bpf_wq yet",
			"Sleepable programs can only use array, hash, ringbuf and local storage maps",
			"program's hash doesn't match map's excl_prog_hash",
		},
	},
	{
		ID: "map-mismatch", Title: "A timer or work queue is set up with another map than it lies in",
		Requires: "bpf_timer_init and bpf_wq_init must be given the map that the timer or work queue lies in.",
		How:      "Two maps of the same value type, or an inner map looked up twice.",
		Fix:      "Pass the map that the value was looked up in.",
		Reasons: []string{
			"timer pointer in R1 map_uid=%d doesn't match map pointer in R2 map_uid=%d",
			"%s pointer in R%d map_uid=%d doesn't match map pointer in R%d map_uid=%d",
		},
	},
	{
		ID: "special-field", Title: "A special field is not where it is said to be",
		Requires: "Locks, timers, work queues, lists and trees are passed by their address inside a map's value (or an object), at a constant offset, and the map must have BTF that shows them.",
		How:      "The address of another field is passed, the map's value type has no such field, or the map was made without BTF.",
		Fix:      "Put the field into the value type and pass its address: &value->lock.",
		Reasons: []string{
			"%s '%s' has no valid %s_lock", "R%d doesn't have constant offset. %s_lock has to be at the constant offset",
			"map '%s' has to have BTF in order to use %s_lock", "off %d doesn't point to 'struct %s_lock' that is at %d",
			"R%d doesn't have constant offset. %s has to be at the constant offset", "map '%s' has no valid %s",
			"map '%s' has to have BTF in order to use %s", "off %d doesn't point to 'struct %s' that is at %d", "%s not found at offset=%d",
		},
	},
	{
		ID: "special-field-access", Title: "A special field is read or written like data",
		Requires: "Locks, timers, kernel pointers, lists and trees in a value are touched only by the functions made for them.",
		How:      "A whole value is copied or cleared, or passed to a helper, with the lock or timer in it; or such a field is assigned.",
		Fix:      "Access the other fields one by one; pass pointers to them, not to the whole value.",
		Reasons: []string{
			"%s cannot be accessed directly by load/store", "%s cannot be accessed indirectly by helper", "%s access cannot have variable offset",
			"%s access misaligned expected=%d off=%d", "%s access size must be BPF_DW",
		},
	},
	{
		ID: "atomic", Title: "An atomic operation is not possible there",
		Requires: "Atomic operations work on 4 or 8 bytes of memory that programs own: map values, the stack, records.",
		How:      "An atomic add to a packet or to the context.",
		Fix:      "Use plain loads and stores there, or count in a map.",
		Reasons:  []string{"BPF_ATOMIC %s R%d %s is not allowed", "BPF_ATOMIC uses invalid atomic opcode %02x", "invalid atomic operand size"},
	},
	{
		ID: "sleepable", Title: "Something that may sleep is called by a program that may not",
		Requires: "Functions that may sleep are for sleepable programs: sections with .s (lsm.s, fentry.s, uprobe.s, iter.s), syscall.",
		How:      "bpf_copy_from_user and the like in a program that is not sleepable.",
		Fix:      "Make the program sleepable, or use the function that does not sleep (bpf_probe_read_user).",
		Reasons: []string{
			"helper call might sleep in a non-sleepable prog", "program must be sleepable to call sleepable kfunc %s",
			"css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs",
		},
	},
	{
		ID: "sleep-in-atomic", Title: "Something that may sleep is called where sleeping is not allowed",
		Requires: "Between bpf_rcu_read_lock, bpf_preempt_disable or bpf_local_irq_save and their counterparts nothing may sleep, nor a global function that might.",
		How:      "bpf_copy_from_user inside an RCU section.",
		Fix:      "End the section before the call, or use a function that does not sleep.",
		Reasons: []string{
			"sleepable helper %s#%d in rcu_read_lock region", "sleepable helper %s#%d in non-preemptible region",
			"sleepable helper %s#%d in IRQ-disabled region", "kernel func %s is sleepable within rcu_read_lock region",
			"kernel func %s is sleepable within non-preemptible region", "kernel func %s is sleepable within IRQ-disabled region",
			"global functions that may sleep are not allowed in non-sleepable context,\ni.e., in a RCU/IRQ/preempt-disabled section, or in\na non-sleepable BPF program context",
		},
	},
	{
		ID: "kernel-function", Title: "This kernel function may not be called here",
		Requires: "Kernel functions are open to some program types only, and by their id in the kernel's BTF.",
		How:      "The function belongs to another subsystem (a cgroup or scheduler function in XDP), or this kernel does not have it.",
		Fix:      "Use another program type; declare functions that may be missing __weak and check bpf_ksym_exists.",
		Reasons: []string{
			"calling kernel function %s is not allowed", "metadata kfuncs require device-bound program",
			"calling kernel function is not supported without CONFIG_DEBUG_INFO_BTF", "negative offset disallowed for kernel module function call",
			"kfunc offset > 0 without fd_array is invalid", "BTF fd for kfunc is not a module BTF",
			"too many different kernel function calls", "kernel btf_id %d is not a function", "kernel function btf_id %d does not have a valid func_proto",
			"no kernel function of that number", "the kernel's BTF does not have the struct behind the context",
		},
	},
	{
		ID: "kernel-function-prototype", Title: "A kernel function's prototype cannot be called with this",
		Requires: "Arguments and results of kernel functions must be types the verifier knows how to check: numbers, the context, known structs, memory with its size behind it.",
		How:      "A kernel function is declared with other types than it has, or takes a struct of pointers.",
		Fix:      "Declare it as vmlinux.h does; pass structs of numbers.",
		Reasons: []string{
			"Function %s has %d > %d args", "Unrecognized arg#%d type %s", "kernel function %s args#%d pointer type %s %s is not supported",
			"kernel function %s returns pointer type %s %s is not supported", "Unknown type ID %d passed to kfunc bpf_rdonly_cast",
			"kfunc bpf_rdonly_cast type ID argument must be of a struct or void",
		},
	},
	{
		ID: "callback", Title: "This cannot be a callback",
		Requires: "A callback is a static function of the program, with BTF, named where it is passed.",
		How:      "The callback is not static, or a pointer from somewhere else is passed.",
		Fix:      "Declare it static, as in static int callback(…), and pass it by its name.",
		Reasons: []string{
			"missing btf func_info", "callback function not static", "callback function cannot be the main program", "arg%d expected pointer to func",
		},
	},
	{
		ID: "function-call-argument", Title: "A global function's parameters are of a kind it cannot have",
		Requires: "A global function is verified by itself: it takes up to 5 numbers, pointers to the context, and pointers to types of known size, and returns a number.",
		How:      "void * parameters, pointers to incomplete types, a pointer as result.",
		Fix:      "Make the function static, or give its parameters types of known size.",
		Reasons: []string{
			"Global function %s() doesn't return scalar. Only those are supported.", "Global function %s() with %d > 5 args. Buggy compiler.",
			"Arg#%d type %s in %s() is not supported yet.", "arg#%d reference type('%s %s') size cannot be determined: %d",
			"arg#%d reference type('UNKNOWN ') size cannot be determined: %d", "arg#%d reference type('%s %s') has no matches", "arg#%d untrusted cannot be combined with any other tags",
			"arg#%d type tag is not supported in static functions", "arg#%d marked as pointer, but it isn't",
			"a function whose parameters are not known", "a static function is verified where it is called", "the BTF of this function cannot be relied on",
		},
	},
	{
		ID: "function-result", Title: "A global function does not return a number",
		Requires: "A global function, or an asynchronous callback, ends with a number in R0 on every path.",
		How:      "It returns a pointer, or the compiler was told that it returns int and it does not.",
		Fix:      "Return a number.",
		Reasons:  []string{"At subprogram exit the register R%d is not a scalar value (%s)"},
	},
}

// heldKinds are about what must be given back.
var heldKinds = []*Kind{
	{
		ID: "reference-leak", Title: "Something acquired is not released on some path",
		Requires: "What a program acquires (ring buffer records, sockets, tasks, objects, iterators) must be released on every path before it ends.",
		How:      "An early return between acquiring and releasing; a record neither submitted nor discarded; a result whose NULL check looks at something else.",
		Fix:      "Release it before that return too; one exit at the end (goto out) makes it easier.",
		Reasons:  []string{"Unreleased reference id=%d alloc_insn=%d"},
	},
	{
		ID: "use-after-release", Title: "Something is used after it was released",
		Requires: "A release takes away the pointer and all its copies.",
		How:      "A record is written to after bpf_ringbuf_submit, a socket is read after bpf_sk_release.",
		Fix:      "Move the use before the release.",
	},
	{
		ID: "double-release", Title: "Something is released twice",
		Requires: "What was acquired is released once on each path.",
		How:      "A release in a branch and again at the end.",
		Fix:      "Remove one of the two.",
	},
	{
		ID: "not-owned", Title: "Something is released that was not acquired",
		Requires: "Only the pointer that an acquiring function returned may be released, and unchanged.",
		How:      "A pointer the kernel lent (ctx->sk, a map value) is passed to a releasing function, or one that was moved.",
		Fix:      "Release only what was acquired, with the pointer as it was returned.",
		Reasons: []string{
			"func %s#%d reference has not been acquired before", "kfunc %s#%d reference has not been acquired before",
			"R%d must be referenced when passed to release function", "arg %d is an unacquired reference",
			"release kernel function %s expects refcounted PTR_TO_BTF_ID", "allocated object must be referenced",
			"R%d must have zero offset when passed to release func or trusted arg to kfunc", "more than one arg with ref_obj_id R%d %d %d",
		},
	},
	{
		ID: "lock-held-exit", Title: "A lock is held where the program ends",
		Requires: "A spin lock must be released on every path before the program ends, tail calls or throws.",
		How:      "An early return inside the locked section.",
		Fix:      "Call bpf_spin_unlock before that return too.",
		Reasons:  []string{"%s cannot be used inside bpf_spin_lock-ed region"},
	},
	{
		ID: "lock-held-call", Title: "A function is called while a lock is held",
		Requires: "Between bpf_spin_lock and bpf_spin_unlock no helper and no global function may be called.",
		How:      "A lookup, a time stamp or a print inside the locked section.",
		Fix:      "Make the call before taking the lock, and only use its result inside.",
		Reasons: []string{
			"function calls are not allowed while holding a lock",
			"global function calls are not allowed while holding a lock,\nuse static function instead",
		},
	},
	{
		ID: "lock-twice", Title: "A second lock is taken",
		Requires: "One bpf_spin_lock may be held at a time; the same resilient lock not twice.",
		How:      "Two values are locked together, or a function called inside locks again.",
		Fix:      "Release the first before taking the second; one lock for both.",
		Reasons: []string{
			"Locking two bpf_spin_locks are not allowed", "Acquiring the same lock again, AA deadlock detected",
			"Cannot acquire bpf_res_spin_lock when bpf_spin_lock is held",
		},
	},
	{
		ID: "unlock", Title: "A lock is released that is not held",
		Requires: "An unlock follows the lock of the same value, innermost first.",
		How:      "The value was looked up again between lock and unlock, which gives a pointer the verifier does not know to be the same; or an unlock on a path that did not lock.",
		Fix:      "Unlock through the same pointer the lock was taken through.",
		Reasons:  []string{"%s_unlock without taking a lock", "%s_unlock of different lock", "%s_unlock cannot be out of order"},
	},
	{
		ID: "lock-required", Title: "A lock must be held for this",
		Requires: "Lists and trees are changed while the lock that lies beside them is held.",
		How:      "bpf_list_push_front and bpf_rbtree_add outside of the locked section.",
		Fix:      "Take the lock that lies beside the list or tree before the call, and release it after.",
		Reasons:  []string{"bpf_spin_lock at off=%d must be held for %s"},
	},
	{
		ID: "rcu-balance", Title: "An RCU section is not closed, or not open",
		Requires: "bpf_rcu_read_lock and bpf_rcu_read_unlock come in pairs on every path, not nested in programs, and are closed before the end.",
		How:      "An early return inside the section.",
		Fix:      "Call bpf_rcu_read_unlock before that return too.",
		Reasons: []string{
			"%s cannot be used inside bpf_rcu_read_lock-ed region", "nested rcu read lock (kernel function %s)",
			"unmatched rcu read unlock (kernel function %s)", "Calling bpf_rcu_read_{lock,unlock} in unnecessary rbtree callback",
		},
	},
	{
		ID: "rcu-required", Title: "This needs an RCU section",
		Requires: "Some functions and iterators look at what RCU protects: a sleepable program must hold bpf_rcu_read_lock around them.",
		How:      "A task or css iterator in a sleepable program without the section.",
		Fix:      "Call bpf_rcu_read_lock() before, and bpf_rcu_read_unlock() after.",
		Reasons:  []string{"kernel func %s requires RCU critical section protection", "expected an RCU CS when using %s"},
	},
	{
		ID: "preempt-balance", Title: "Preemption is not enabled again",
		Requires: "bpf_preempt_disable and bpf_preempt_enable come in pairs on every path.",
		How:      "An early return between them.",
		Fix:      "Call bpf_preempt_enable before that return too.",
		Reasons: []string{
			"%s cannot be used inside bpf_preempt_disable-ed region", "unmatched attempt to enable preemption (kernel function %s)",
		},
	},
	{
		ID: "irq-balance", Title: "Interrupts are not restored, or not in order",
		Requires: "bpf_local_irq_save and bpf_local_irq_restore come in pairs on every path, the last saved restored first, from the same variable.",
		How:      "An early return between them, or two saves restored in the order they were made.",
		Fix:      "Restore before that return too, the inner flags first.",
		Reasons: []string{
			"%s cannot be used inside bpf_local_irq_save-ed region", "arg#%d doesn't point to an irq flag on stack",
			"expected an initialized irq flag as arg#%d", "irq flag acquired by %s kfuncs cannot be restored with %s kfuncs",
			"expected uninitialized irq flag as arg#%d", "cannot restore irq state out of order, expected id=%d acquired at insn_idx=%d",
			"these interrupt flags are not saved now",
		},
	},
}

// objectKinds are about dynptrs, iterators, kernel pointers and allocated objects.
var objectKinds = []*Kind{
	{
		ID: "dynptr-uninitialised", Title: "A dynptr is used that is not set up",
		Requires: "A dynptr must be set up (bpf_dynptr_from_…, bpf_ringbuf_reserve_dynptr) before it is used, and nothing may write over it.",
		How:      "It was submitted already, overwritten, or never set up.",
		Fix:      "Set it up first, and use it before it is released.",
		Reasons:  []string{"Expected an initialized dynptr as arg #%d"},
	},
	{
		ID: "dynptr-overwritten", Title: "A dynptr that owns something is overwritten",
		Requires: "A dynptr to a ring buffer record must be submitted or discarded before its memory is used for something else.",
		How:      "A store to the dynptr on the stack, a second reservation into the same variable, or memory that a helper writes and that overlaps it.",
		Fix:      "Submit or discard it first, or use another variable.",
		Reasons: []string{
			"cannot overwrite referenced dynptr", "Dynptr has to be an uninitialized dynptr", "potential write to dynptr at off=%d disallowed",
		},
	},
	{
		ID: "dynptr-type", Title: "A dynptr of another kind is needed",
		Requires: "Functions that submit records take ring buffer dynptrs, and dynptrs the kernel lends may not be changed; a dynptr is passed by its own address on the stack.",
		How:      "A dynptr made of a packet is passed to bpf_ringbuf_submit_dynptr, or an address into the middle of one.",
		Fix:      "Pass the address of a dynptr of the right kind: &ptr.",
		Reasons: []string{
			"Expected a dynptr of type %s as arg #%d", "arg#%d expected pointer to stack or const struct bpf_dynptr",
			"cannot pass pointer to const bpf_dynptr, the helper mutates it", "cannot release unowned const bpf_dynptr",
			"%s has to be at a constant offset", "cannot pass in %s at an offset=%d", "a dynptr of a kind that is not known",
		},
	},
	{
		ID: "iterator", Title: "An iterator is used out of order",
		Requires: "An iterator lives on the stack: bpf_iter_…_new once, then _next until it gives NULL, then _destroy on every path.",
		How:      "_next without _new, _new twice, _destroy twice.",
		Fix:      "Use bpf_for, bpf_repeat or bpf_for_each of libbpf, which do all of it.",
		Reasons: []string{
			"expected an initialized iter_%s as arg #%d", "expected uninitialized iter_%s as arg #%d", "expected valid iter pointer as arg #%d",
			"arg#%d expected pointer to an iterator on stack",
		},
	},
	{
		ID: "kptr-store", Title: "A kernel pointer in a map is stored to directly",
		Requires: "A referenced kptr field changes only by bpf_kptr_xchg, which hands over the reference; an untrusted one takes pointers of its own type, or 0.",
		How:      "value->task = task; for a __kptr field.",
		Fix:      "Exchange it: old = bpf_kptr_xchg(&value->task, task), and release old if it is not NULL.",
		Reasons: []string{
			"store to referenced kptr disallowed", "store to uptr disallowed", "BPF_ST imm must be 0 when storing to kptr at off=%d",
			"kptr in map can only be accessed using BPF_LDX/BPF_STX/BPF_ST", "kptr in map can only be accessed using BPF_MEM instruction mode",
		},
	},
	{
		ID: "kptr-type", Title: "A kernel pointer field does not fit",
		Requires: "bpf_kptr_xchg takes the address of a __kptr field of a map's value, at a constant offset, and a pointer of the type the field is declared with.",
		How:      "The address of another field, a field that is not a kptr, or a pointer of another type.",
		Fix:      "Pass the address of a field declared with the type of the pointer and __kptr; store pointers of that type, or 0.",
		Reasons: []string{
			"invalid kptr access, R%d type=%s%s expected=%s%s%s", "map '%s' has to have BTF in order to use bpf_kptr_xchg",
			"R%d doesn't have constant offset. kptr has to be at the constant offset", "off=%d kptr isn't referenced kptr",
			"R%d has no valid kptr", "off=%d doesn't point to kptr", "the type that a kptr points to is not known",
		},
	},
	{
		ID: "object-ownership", Title: "This needs an object the program owns, or one it only borrows",
		Requires: "Objects of bpf_obj_new are owned until they are dropped or put into a list or tree; after that, while the lock is held, they are borrowed. Functions say which of the two they take.",
		How:      "An object is added to a list and added or dropped again; a node that is in no tree is removed from one.",
		Fix:      "Pass an object the program owns: one from bpf_obj_new, or one that was removed from its list or tree, checked for NULL.",
		Reasons: []string{
			"arg#%d is neither owning or non-owning ref", "%s can only take non-owning or refcounted bpf_rb_node pointer",
			"arg#%d expected pointer to allocated object", "arg#%d expected for bpf_obj_drop_impl()", "arg#%d expected for bpf_percpu_obj_drop_impl()",
			"arg#%d doesn't point to a type with bpf_refcount field", "arg#%d expected pointer to map value or allocated object",
		},
	},
	{
		ID: "object-node", Title: "A node does not belong to that list or tree",
		Requires: "A list or tree says with __contains which type it holds and which field is the node; others do not go in.",
		How:      "The node of another type or another field is passed.",
		Fix:      "Pass &object->node, the field that __contains names.",
		Reasons: []string{
			"operation on %s expects arg#1 %s at offset=%d in struct %s, but arg is at offset=%d in struct %s",
			"arg#1 offset=%d, but expected %s at offset=%d in struct %s", "a node without the list or tree it belongs to",
			"the element type of a list or tree is not known",
		},
	},
	{
		ID: "object-type", Title: "No object of this type can be made",
		Requires: "bpf_obj_new takes the id of a struct of the program's own BTF; per-CPU objects are small structs of numbers.",
		How:      "The type is not a struct, or holds what per-CPU objects may not.",
		Fix:      "Allocate a struct of the program: bpf_obj_new(struct mine).",
		Reasons: []string{
			"bpf_obj_new/bpf_percpu_obj_new requires prog BTF", "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct",
			"bpf_percpu_obj_new type size (%d) is greater than %d", "bpf_percpu_obj_new type ID argument must be of a struct of scalars",
			"bpf_percpu_obj_new type ID argument must not contain special fields", "local type ID argument must be in range [0, U32_MAX]",
		},
	},
	{
		ID: "tree-callback", Title: "Not in the comparison of a tree",
		Requires: "The callback that orders a tree only compares: no locks, no adding or removing.",
		How:      "The less function of bpf_rbtree_add unlocks or changes the tree.",
		Fix:      "Compare and return.",
		Reasons:  []string{"can't spin_{lock,unlock} in rbtree cb", "%s not allowed in rbtree cb"},
	},
}
