package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// KfuncTable holds the kernel functions programs may call by name. Those whose
// meaning needs no state of the kernel are here; a program that names another
// is refused when it is loaded.
var KfuncTable = map[string]Func{
	"bpf_iter_num_new":     iterNumNew,
	"bpf_iter_num_next":    iterNumNext,
	"bpf_iter_num_destroy": iterNumDestroy,

	"bpf_iter_bits_new":     iterBitsNew,
	"bpf_iter_bits_next":    iterBitsNext,
	"bpf_iter_bits_destroy": iterBitsDestroy,

	"bpf_dynptr_from_skb":      dynptrFromSKB,
	"bpf_dynptr_from_xdp":      dynptrFromXDP,
	"bpf_dynptr_from_skb_meta": dynptrFromSKBMeta,
	"bpf_dynptr_slice":         dynptrSlice,
	"bpf_dynptr_slice_rdwr":    dynptrSliceRdwr,
	"bpf_dynptr_adjust":        dynptrAdjust,
	"bpf_dynptr_is_null":       func(_ *Env, ptr, _, _, _, _ uint64) uint64 { return b2u(loadDynptr(ptr).data == 0) },
	"bpf_dynptr_is_rdonly":     dynptrIsRdonly,
	"bpf_dynptr_size":          dynptrSizeOf,
	"bpf_dynptr_clone":         dynptrClone,
	"bpf_dynptr_copy":          dynptrCopy,
	"bpf_dynptr_memset":        dynptrMemset,

	"bpf_cast_to_kern_ctx":  func(_ *Env, obj, _, _, _, _ uint64) uint64 { return obj },
	"bpf_rdonly_cast":       func(_ *Env, obj, _, _, _, _ uint64) uint64 { return obj },
	"bpf_rcu_read_lock":     nothing,
	"bpf_rcu_read_unlock":   nothing,
	"bpf_preempt_disable":   nothing,
	"bpf_preempt_enable":    nothing,
	"bpf_local_irq_save":    localIRQSave,
	"bpf_local_irq_restore": nothing,

	"bpf_res_spin_lock":              resSpinLock,
	"bpf_res_spin_unlock":            spinUnlock,
	"bpf_res_spin_lock_irqsave":      resSpinLockIRQ,
	"bpf_res_spin_unlock_irqrestore": spinUnlock,

	"bpf_skb_ct_lookup": ctLookup,
	"bpf_xdp_ct_lookup": ctLookup,
	"bpf_ct_release":    nothing,

	"bpf_xdp_metadata_rx_timestamp": noMetadata,
	"bpf_xdp_metadata_rx_hash":      noMetadata,
	"bpf_xdp_metadata_rx_vlan_tag":  noMetadata,
}

// int32Of returns an error as kernel functions do that return a C int: unlike
// helpers, in the low half of R0 alone.
func int32Of(e errno.Errno) uint64 { return uint64(uint32(e.Ret())) }

// nothing serves kfuncs that only mark a region: a run is never preempted on its
// vCPU, and map memory is not reused before it ends.
func nothing(*Env, uint64, uint64, uint64, uint64, uint64) uint64 { return 0 }

// localIRQSave notes that interrupts were on.
func localIRQSave(_ *Env, flags, _, _, _, _ uint64) uint64 {
	mem.Store64(flags, 0)
	return 0
}

// noMetadata answers as a device without hints.
func noMetadata(*Env, uint64, uint64, uint64, uint64, uint64) uint64 {
	return int32Of(errno.EOPNOTSUPP)
}

// dynptrFromSKB makes a dynptr over the packet; programs that may not write
// packets get one to read.
func dynptrFromSKB(e *Env, skb, flags, ptr, _, _ uint64) uint64 {
	if flags != 0 {
		dynptr{}.store(ptr)
		return int32Of(errno.EINVAL)
	}
	d := dynptr{data: skb, size: uint64(e.Pkt.Len), kind: dynSKB}
	switch e.Prog.Type {
	case catalog.ProgSchedCls, catalog.ProgSchedAct, catalog.ProgLWTXmit, catalog.ProgSkSKB:
	default:
		d.rdonly = true
	}
	d.store(ptr)
	return 0
}

// dynptrFromSKBMeta makes a dynptr over the metadata in front of the packet.
func dynptrFromSKBMeta(e *Env, skb, flags, ptr, _, _ uint64) uint64 {
	if flags != 0 {
		dynptr{}.store(ptr)
		return int32Of(errno.EINVAL)
	}
	dynptr{data: skb, size: e.Pkt.Data - e.Pkt.DataMeta, kind: dynSKBMeta}.store(ptr)
	return 0
}

func dynptrFromXDP(e *Env, xdp, flags, ptr, _, _ uint64) uint64 {
	if flags != 0 {
		dynptr{}.store(ptr)
		return int32Of(errno.EINVAL)
	}
	dynptr{data: xdp, size: e.Pkt.Size(), kind: dynXDP}.store(ptr)
	return 0
}

func dynptrSlice(e *Env, ptr, off, buf, n, _ uint64) uint64 {
	return e.slice(loadDynptr(ptr), uint32(off), uint32(n), buf)
}

func dynptrSliceRdwr(e *Env, ptr, off, buf, n, _ uint64) uint64 {
	d := loadDynptr(ptr)
	if d.rdonly {
		return 0
	}
	return e.slice(d, uint32(off), uint32(n), buf)
}

// dynptrAdjust narrows a dynptr to its bytes from start up to end.
func dynptrAdjust(_ *Env, ptr, start, end, _, _ uint64) uint64 {
	d := loadDynptr(ptr)
	from, to := uint64(uint32(start)), uint64(uint32(end))
	switch {
	case d.data == 0 || from > to:
		return int32Of(errno.EINVAL)
	case to > d.size:
		return int32Of(errno.ERANGE)
	}
	d.off += from
	d.size = to - from
	d.store(ptr)
	return 0
}

func dynptrIsRdonly(_ *Env, ptr, _, _, _, _ uint64) uint64 {
	d := loadDynptr(ptr)
	return b2u(d.data != 0 && d.rdonly)
}

func dynptrSizeOf(_ *Env, ptr, _, _, _, _ uint64) uint64 {
	d := loadDynptr(ptr)
	if d.data == 0 {
		return int32Of(errno.EINVAL) // as __u32
	}
	return d.size
}

func dynptrClone(_ *Env, ptr, clone, _, _, _ uint64) uint64 {
	d := loadDynptr(ptr)
	if d.data == 0 {
		dynptr{}.store(clone)
		return int32Of(errno.EINVAL)
	}
	d.store(clone)
	return 0
}

// dynptrCopy copies size bytes between two dynptrs that may overlap.
func dynptrCopy(e *Env, dst, dstOff, src, srcOff, size uint64) uint64 {
	from, to := loadDynptr(src), loadDynptr(dst)
	n := uint32(size)
	switch {
	case to.data == 0 || to.rdonly || from.data == 0:
		return int32Of(errno.EINVAL)
	case !to.holds(uint32(dstOff), n) || !from.holds(uint32(srcOff), n):
		return int32Of(errno.E2BIG)
	}
	copy(e.dynBytes(to, uint32(dstOff), n), e.dynBytes(from, uint32(srcOff), n))
	return 0
}

// dynBytes returns bytes of a dynptr that holds them; a paged part of an skb is
// pulled, as a write does.
func (e *Env) dynBytes(d dynptr, off, n uint32) []byte {
	if d.local() {
		return mem.Bytes(d.data+d.off+uint64(off), int(n))
	}
	at := d.off + uint64(off)
	if d.kind == dynSKB {
		e.Pkt.MayPull(at + uint64(n))
	}
	return mem.Bytes(e.Pkt.Data+at, int(n))
}

// dynptrMemset fills size bytes of a dynptr with one value.
func dynptrMemset(e *Env, ptr, off, size, val, _ uint64) uint64 {
	d := loadDynptr(ptr)
	n := uint32(size)
	switch {
	case d.data == 0 || d.rdonly:
		return int32Of(errno.EINVAL)
	case !d.holds(uint32(off), n):
		return int32Of(errno.E2BIG)
	}
	b := e.dynBytes(d, uint32(off), n)
	for i := range b {
		b[i] = byte(val)
	}
	return 0
}
