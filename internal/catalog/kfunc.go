package catalog

// Kfunc is the row of one kernel function that programs may call by its BTF id.
// Its prototype is not here: the kernel's BTF has it.
type Kfunc struct {
	Name   string
	Flags  KfuncFlag
	Progs  ProgSet   // program types that may call it; 0: all
	Attach AttachSet // expected attach types it is limited to; 0: any
	Ops    []string  // members struct_ops programs must implement to call it, "Qdisc_ops:init"; nil: any
	Since  string    // first Linux release
	Doc    string    // one line
}

// KfuncFlag is what the kernel says of a function where it registers it (KF_*).
type KfuncFlag uint16

// Kfunc flags.
const (
	KfAcquire      KfuncFlag = 1 << iota // the result is a reference that must be released
	KfRelease                            // takes a reference over
	KfRetNull                            // the result may be NULL
	KfTrustedArgs                        // takes trusted pointers only
	KfSleepable                          // only sleepable programs may call it
	KfDestructive                        // only loaders with CAP_SYS_BOOT may use it
	KfRCU                                // takes RCU-protected pointers, too
	KfIterNew                            // makes an iterator
	KfIterNext                           // steps an iterator
	KfIterDestroy                        // ends an iterator
	KfRCUProtected                       // must be called inside an RCU section
	KfFastCall                           // scratches no more than its arguments and result
)

// Sets of program types that kfuncs are registered for together
// (bpf_prog_type_to_kfunc_hook).
const (
	kfTracing = inTracing | inTracepoint | inPerfEvent | inLSM
	kfCGroup  = inCGroupSKB | inCGroupSock | inCGroupDevice | inCGroupSockAddr | inCGroupSockopt | inCGroupSysctl | inSockOps
	// kfGeneric are those of generic_kfunc_set.
	kfGeneric = kfTracing | kfCGroup | inSchedCls | inXDP | inStructOps | inSyscall
)

// Kfuncs returns the rows of all kfuncs, by family.
func Kfuncs() []Kfunc { return kfuncs[:] }

// KfuncByName returns the row of a kernel function, or nil.
func KfuncByName(name string) *Kfunc {
	for i := range kfuncs {
		if kfuncs[i].Name == name {
			return &kfuncs[i]
		}
	}
	return nil
}

// Allows reports whether programs of that type and expected attach type may call the function.
func (k *Kfunc) Allows(t ProgType, attach AttachType) bool {
	return (k.Progs == 0 || k.Progs.Has(t)) && (k.Attach == 0 || k.Attach.Has(attach))
}
