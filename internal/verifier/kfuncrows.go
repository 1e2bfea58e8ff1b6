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

// kfuncRows lists the kfuncs that need more of a model than their prototype and flags.
var kfuncRows = []kfuncRow{
	{name: "bpf_rcu_read_lock", effect: effectRCULock},
	{name: "bpf_rcu_read_unlock", effect: effectRCUUnlock},
	{name: "bpf_preempt_disable", effect: effectPreemptOff},
	{name: "bpf_preempt_enable", effect: effectPreemptOn},

	{name: "bpf_dynptr_from_skb", effect: effectDynSKB},
	{name: "bpf_dynptr_from_xdp", effect: effectDynXDP},
	{name: "bpf_dynptr_from_skb_meta", effect: effectDynSKBMeta},
	{name: "bpf_dynptr_slice", result: resultSlice},
	{name: "bpf_dynptr_slice_rdwr", result: resultSliceRW},
	{name: "bpf_dynptr_clone", effect: effectDynClone},

	{name: "bpf_local_irq_save", effect: effectIRQSave},
	{name: "bpf_local_irq_restore", effect: effectIRQRestore},
	{name: "bpf_res_spin_lock", effect: effectResLock, underLock: true},
	{name: "bpf_res_spin_unlock", effect: effectResUnlock, underLock: true},
	{name: "bpf_res_spin_lock_irqsave", effect: effectResLockIRQ, underLock: true},
	{name: "bpf_res_spin_unlock_irqrestore", effect: effectResUnlockIRQ, underLock: true},

	{name: "bpf_cast_to_kern_ctx", result: resultCtx},
	{name: "bpf_rdonly_cast", result: resultCast},

	{name: "bpf_xdp_pull_data", changesPkt: true},
	{name: "bpf_throw", throws: true},
}

// unmodelled are kfuncs whose prototype and flags do not tell all, and of
// which this verifier has no model.
var unmodelled = map[string]bool{
	"bpf_obj_new_impl": true, "bpf_percpu_obj_new_impl": true, "bpf_obj_drop_impl": true, "bpf_percpu_obj_drop_impl": true,
	"bpf_refcount_acquire_impl": true,
	"bpf_list_push_front_impl":  true, "bpf_list_push_back_impl": true, "bpf_list_pop_front": true, "bpf_list_pop_back": true,
	"bpf_list_front": true, "bpf_list_back": true,
	"bpf_rbtree_add_impl": true, "bpf_rbtree_remove": true, "bpf_rbtree_first": true, "bpf_rbtree_root": true,
	"bpf_rbtree_left": true, "bpf_rbtree_right": true,
	"bpf_wq_init": true, "bpf_wq_set_callback_impl": true, "bpf_wq_start": true,
	"bpf_task_work_schedule_signal_impl": true, "bpf_task_work_schedule_resume_impl": true,
	"bpf_task_work_schedule_signal": true, "bpf_task_work_schedule_resume": true,
	"bpf_session_cookie": true, "bpf_stream_vprintk": true,
	"bpf_dynptr_from_file": true, "bpf_set_dentry_xattr": true, "bpf_remove_dentry_xattr": true,
}

var kfuncRowsByName = func() map[string]*kfuncRow {
	m := make(map[string]*kfuncRow, len(kfuncRows))
	for i := range kfuncRows {
		m[kfuncRows[i].name] = &kfuncRows[i]
	}
	return m
}()
