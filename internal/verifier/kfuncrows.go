package verifier

import "github.com/skep-bpf/skep/internal/catalog"

// The flags by their short names.
const (
	kfAcquire      = catalog.KfAcquire
	kfRelease      = catalog.KfRelease
	kfRetNull      = catalog.KfRetNull
	kfTrustedArgs  = catalog.KfTrustedArgs
	kfSleepable    = catalog.KfSleepable
	kfRCU          = catalog.KfRCU
	kfRCUProtected = catalog.KfRCUProtected
	kfIterNew      = catalog.KfIterNew
	kfIterNext     = catalog.KfIterNext
	kfIterDestroy  = catalog.KfIterDestroy
)

// kfuncRow is how a kfunc is modelled: what is neither in its BTF prototype,
// whose types and names say the arguments' roles, nor in the catalog's row.
type kfuncRow struct {
	name string

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

// kfuncRows lists the kfuncs this verifier has a model of.
var kfuncRows = []kfuncRow{
	{name: "bpf_iter_num_new"},
	{name: "bpf_iter_num_next"},
	{name: "bpf_iter_num_destroy"},
	{name: "bpf_iter_bits_new"},
	{name: "bpf_iter_bits_next"},
	{name: "bpf_iter_bits_destroy"},

	{name: "bpf_rcu_read_lock", effect: effectRCULock},
	{name: "bpf_rcu_read_unlock", effect: effectRCUUnlock},
	{name: "bpf_preempt_disable", effect: effectPreemptOff},
	{name: "bpf_preempt_enable", effect: effectPreemptOn},

	{name: "bpf_dynptr_from_skb", effect: effectDynSKB},
	{name: "bpf_dynptr_from_xdp", effect: effectDynXDP},
	{name: "bpf_dynptr_from_skb_meta", effect: effectDynSKBMeta},
	{name: "bpf_dynptr_slice", result: resultSlice},
	{name: "bpf_dynptr_slice_rdwr", result: resultSliceRW},
	{name: "bpf_dynptr_adjust"},
	{name: "bpf_dynptr_is_null"},
	{name: "bpf_dynptr_is_rdonly"},
	{name: "bpf_dynptr_size"},
	{name: "bpf_dynptr_clone", effect: effectDynClone},
	{name: "bpf_dynptr_copy"},
	{name: "bpf_dynptr_memset"},

	{name: "bpf_local_irq_save", effect: effectIRQSave},
	{name: "bpf_local_irq_restore", effect: effectIRQRestore},
	{name: "bpf_res_spin_lock", effect: effectResLock, underLock: true},
	{name: "bpf_res_spin_unlock", effect: effectResUnlock, underLock: true},
	{name: "bpf_res_spin_lock_irqsave", effect: effectResLockIRQ, underLock: true},
	{name: "bpf_res_spin_unlock_irqrestore", effect: effectResUnlockIRQ, underLock: true},

	{name: "bpf_cast_to_kern_ctx", result: resultCtx},
	{name: "bpf_rdonly_cast", result: resultCast},

	{name: "bpf_strcmp"},
	{name: "bpf_strcasecmp"},
	{name: "bpf_strnchr"},
	{name: "bpf_strchr"},
	{name: "bpf_strchrnul"},
	{name: "bpf_strrchr"},
	{name: "bpf_strnlen"},
	{name: "bpf_strlen"},
	{name: "bpf_strspn"},
	{name: "bpf_strcspn"},
	{name: "bpf_strnstr"},
	{name: "bpf_strstr"},

	{name: "bpf_xdp_metadata_rx_timestamp"},
	{name: "bpf_xdp_metadata_rx_hash"},
	{name: "bpf_xdp_metadata_rx_vlan_tag"},
}

var kfuncRowsByName = func() map[string]*kfuncRow {
	m := make(map[string]*kfuncRow, len(kfuncRows))
	for i := range kfuncRows {
		m[kfuncRows[i].name] = &kfuncRows[i]
	}
	return m
}()
