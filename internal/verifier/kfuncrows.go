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
	traps                       bool // compilers call it where the program's behaviour is undefined
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
	resultObject // of objects.go
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
	effectObjNew
	effectPerCPUObjNew
	effectObjDrop
	effectPerCPUObjDrop
	effectRefcountAcquire
	effectListPush
	effectListPop
	effectListPeek
	effectTreeAdd
	effectTreeRemove
	effectTreePeek
	effectWQCallback
	effectTaskWork
	effectSessionCookie
)

// onTree reports whether the call works on a red-black tree, whose lock must be held.
func (f kfEffect) onTree() bool {
	return f == effectTreeAdd || f == effectTreeRemove || f == effectTreePeek
}

// inserts reports whether the call puts an object into a list or tree.
func (f kfEffect) inserts() bool { return f == effectListPush || f == effectTreeAdd }

// peeks reports whether the call returns an object that stays where it is.
func (f kfEffect) peeks() bool { return f == effectListPeek || f == effectTreePeek }

// takesLock reports whether the call takes a resilient spin lock.
func (f kfEffect) takesLock() bool { return f == effectResLock || f == effectResLockIRQ }

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

	{name: "bpf_obj_new_impl", effect: effectObjNew, result: resultObject},
	{name: "bpf_percpu_obj_new_impl", effect: effectPerCPUObjNew, result: resultObject},
	{name: "bpf_obj_drop_impl", effect: effectObjDrop},
	{name: "bpf_percpu_obj_drop_impl", effect: effectPerCPUObjDrop},
	{name: "bpf_refcount_acquire_impl", effect: effectRefcountAcquire, result: resultObject, underLock: true},
	{name: "bpf_list_push_front_impl", effect: effectListPush, underLock: true},
	{name: "bpf_list_push_back_impl", effect: effectListPush, underLock: true},
	{name: "bpf_list_pop_front", effect: effectListPop, result: resultObject, underLock: true},
	{name: "bpf_list_pop_back", effect: effectListPop, result: resultObject, underLock: true},
	{name: "bpf_list_front", effect: effectListPeek, result: resultObject, underLock: true},
	{name: "bpf_list_back", effect: effectListPeek, result: resultObject, underLock: true},
	{name: "bpf_rbtree_add_impl", effect: effectTreeAdd, syncCallback: true, underLock: true},
	{name: "bpf_rbtree_remove", effect: effectTreeRemove, result: resultObject, underLock: true},
	{name: "bpf_rbtree_first", effect: effectTreePeek, result: resultObject, underLock: true},
	{name: "bpf_rbtree_root", effect: effectTreePeek, result: resultObject, underLock: true},
	{name: "bpf_rbtree_left", effect: effectTreePeek, result: resultObject, underLock: true},
	{name: "bpf_rbtree_right", effect: effectTreePeek, result: resultObject, underLock: true},

	{name: "bpf_iter_num_new", underLock: true},
	{name: "bpf_iter_num_next", underLock: true},
	{name: "bpf_iter_num_destroy", underLock: true},

	{name: "bpf_throw", throws: true},
	{name: "__bpf_trap", traps: true},
	{name: "bpf_wq_set_callback_impl", effect: effectWQCallback, asyncCallback: true},
	{name: "bpf_task_work_schedule_signal_impl", effect: effectTaskWork, asyncCallback: true},
	{name: "bpf_task_work_schedule_resume_impl", effect: effectTaskWork, asyncCallback: true},
	{name: "bpf_session_cookie", effect: effectSessionCookie},
}

// unmodelled are kfuncs whose prototype and flags do not tell all, and of
// which this verifier has no model.
var unmodelled = map[string]bool{"bpf_dynptr_from_file": true, "bpf_set_dentry_xattr": true, "bpf_remove_dentry_xattr": true}

var kfuncRowsByName = func() map[string]*kfuncRow {
	m := make(map[string]*kfuncRow, len(kfuncRows))
	for i := range kfuncRows {
		m[kfuncRows[i].name] = &kfuncRows[i]
	}
	return m
}()
