package verifier

import "github.com/skep-bpf/skep/internal/catalog"

// kfFlags are what the kernel says of a kfunc where it registers it (KF_*).
type kfFlags uint16

const (
	kfAcquire kfFlags = 1 << iota
	kfRelease
	kfRetNull
	kfTrustedArgs
	kfSleepable
	kfRCU
	kfRCUProtected
	kfIterNew
	kfIterNext
	kfIterDestroy
	kfFastCall
)

// progSet is a set of program types, bit n for type n; 0 means all.
type progSet = catalog.ProgSet

func progs(ts ...catalog.ProgType) (s progSet) {
	for _, t := range ts {
		s |= 1 << t
	}
	return s
}

// kfuncRow is what is not in a kfunc's BTF prototype. Its arguments' roles are
// read from their types and names there.
type kfuncRow struct {
	name  string
	flags kfFlags
	progs progSet

	syncCallback, asyncCallback bool
	underLock                   bool // may be called with a spin lock held
	throws                      bool
	changesPkt                  bool
	// result makes R0 when the prototype alone does not say what it is.
	result kfResult
	effect kfEffect
}

// kfResult is a special result.
type kfResult uint8

const (
	resultProto kfResult = iota
	resultSlice
	resultSliceRW
	resultCtx
	resultCast
)

// kfEffect is what a call does besides its result.
type kfEffect uint8

const (
	effectNone kfEffect = iota
	effectRCULock
	effectRCUUnlock
	effectPreemptOff
	effectPreemptOn
	effectDynSKB
	effectDynXDP
	effectDynSKBMeta
	effectDynClone
	effectIRQSave
	effectIRQRestore
	effectResLock
	effectResUnlock
	effectResLockIRQ
	effectResUnlockIRQ
)

var (
	skbProgs = progs(catalog.ProgSchedCls, catalog.ProgSchedAct, catalog.ProgSkSKB, catalog.ProgSocketFilter,
		catalog.ProgLWTIn, catalog.ProgLWTOut, catalog.ProgLWTXmit, catalog.ProgLWTSeg6Local, catalog.ProgNetfilter, catalog.ProgCGroupSKB)
	tcProgs = progs(catalog.ProgSchedCls, catalog.ProgSchedAct)
	xdpOnly = progs(catalog.ProgXDP)
)

// kfuncRows lists the kfuncs this verifier has a model of.
var kfuncRows = []kfuncRow{
	{name: "bpf_iter_num_new", flags: kfIterNew},
	{name: "bpf_iter_num_next", flags: kfIterNext | kfRetNull},
	{name: "bpf_iter_num_destroy", flags: kfIterDestroy},
	{name: "bpf_iter_bits_new", flags: kfIterNew},
	{name: "bpf_iter_bits_next", flags: kfIterNext | kfRetNull},
	{name: "bpf_iter_bits_destroy", flags: kfIterDestroy},

	{name: "bpf_rcu_read_lock", effect: effectRCULock},
	{name: "bpf_rcu_read_unlock", effect: effectRCUUnlock},
	{name: "bpf_preempt_disable", effect: effectPreemptOff},
	{name: "bpf_preempt_enable", effect: effectPreemptOn},

	{name: "bpf_dynptr_from_skb", flags: kfTrustedArgs, progs: skbProgs, effect: effectDynSKB},
	{name: "bpf_dynptr_from_xdp", progs: xdpOnly, effect: effectDynXDP},
	{name: "bpf_dynptr_from_skb_meta", flags: kfTrustedArgs, progs: tcProgs, effect: effectDynSKBMeta},
	{name: "bpf_dynptr_slice", flags: kfRetNull, result: resultSlice},
	{name: "bpf_dynptr_slice_rdwr", flags: kfRetNull, result: resultSliceRW},
	{name: "bpf_dynptr_adjust"},
	{name: "bpf_dynptr_is_null"},
	{name: "bpf_dynptr_is_rdonly"},
	{name: "bpf_dynptr_size"},
	{name: "bpf_dynptr_clone", effect: effectDynClone},
	{name: "bpf_dynptr_copy"},
	{name: "bpf_dynptr_memset"},

	{name: "bpf_local_irq_save", effect: effectIRQSave},
	{name: "bpf_local_irq_restore", effect: effectIRQRestore},
	{name: "bpf_res_spin_lock", flags: kfRetNull, effect: effectResLock, underLock: true},
	{name: "bpf_res_spin_unlock", effect: effectResUnlock, underLock: true},
	{name: "bpf_res_spin_lock_irqsave", flags: kfRetNull, effect: effectResLockIRQ, underLock: true},
	{name: "bpf_res_spin_unlock_irqrestore", effect: effectResUnlockIRQ, underLock: true},

	{name: "bpf_cast_to_kern_ctx", flags: kfFastCall, result: resultCtx},
	{name: "bpf_rdonly_cast", flags: kfFastCall, result: resultCast},

	{name: "bpf_xdp_metadata_rx_timestamp", flags: kfTrustedArgs, progs: xdpOnly},
	{name: "bpf_xdp_metadata_rx_hash", flags: kfTrustedArgs, progs: xdpOnly},
	{name: "bpf_xdp_metadata_rx_vlan_tag", flags: kfTrustedArgs, progs: xdpOnly},
}

var kfuncRowsByName = func() map[string]*kfuncRow {
	m := make(map[string]*kfuncRow, len(kfuncRows))
	for i := range kfuncRows {
		m[kfuncRows[i].name] = &kfuncRows[i]
	}
	return m
}()
