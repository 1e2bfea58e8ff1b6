package helpers

import (
	"math"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
)

// skbFuncs read, write and reshape socket buffers (net/core/filter.c, bpf_skb_*).
var skbFuncs = map[catalog.HelperID]Func{
	catalog.FnSKBLoadBytes:         skbLoadBytes,
	catalog.FnSKBLoadBytesRelative: skbLoadBytesRelative,
	catalog.FnSKBStoreBytes:        skbStoreBytes,
	catalog.FnSKBPullData:          skbPullData,
	catalog.FnSKBVlanPush:          skbVlanPush,
	catalog.FnSKBVlanPop:           func(e *Env, _, _, _, _, _ uint64) uint64 { return e.Pkt.PopVLAN().Ret() },
	catalog.FnSKBChangeHead:        skbChangeHead,
	catalog.FnSKBChangeTail:        skbChangeTail,
	catalog.FnSKBChangeProto:       skbChangeProto,
	catalog.FnSKBChangeType:        skbChangeType,
	catalog.FnSKBAdjustRoom: func(e *Env, _, diff, mode, flags, _ uint64) uint64 {
		if e.Prog.Type == catalog.ProgSkSKB {
			return e.Pkt.AdjustStream(int32(diff), uint32(mode), flags).Ret()
		}
		return e.Pkt.AdjustRoom(int32(diff), uint32(mode), flags).Ret()
	},
	catalog.FnSKBEcnSetCe:     func(e *Env, _, _, _, _, _ uint64) uint64 { return b2u(e.Pkt.SetCE()) },
	catalog.FnSKBSetTstamp:    skbSetTstamp,
	catalog.FnGetHashRecalc:   func(e *Env, _, _, _, _, _ uint64) uint64 { return uint64(e.Pkt.GetHash()) },
	catalog.FnSetHash:         skbSetHash,
	catalog.FnSetHashInvalid:  skbSetHashInvalid,
	catalog.FnSKBGetXfrmState: skbGetXfrmState,
}

// b2u is a C truth value.
func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func skbLoadBytes(e *Env, _, off, to, n, _ uint64) uint64 {
	// A flow dissector without a socket buffer, as in test runs, has nothing to load from.
	if o := uint64(uint32(off)); o <= math.MaxInt32 && e.Pkt.FlowKeys == 0 && e.Pkt.Load(o, uint64(uint32(n)), to) {
		return 0
	}
	clear(mem.Bytes(to, int(uint32(n))))
	return errno.EFAULT.Ret()
}

// Bases of bpf_skb_load_bytes_relative (enum bpf_hdr_start_off).
const (
	hdrStartMAC = 0
	hdrStartNet = 1
)

func skbLoadBytesRelative(e *Env, _, off, to, n, base uint64) uint64 {
	size := uint64(uint32(n))
	dst := mem.Bytes(to, int(size))
	start := uint64(0)
	switch uint32(base) {
	case hdrStartMAC:
		start = e.Pkt.MACHeader
	case hdrStartNet:
		start = e.Pkt.NetHeader
	}
	if start == 0 || uint32(off) > 0xffff || start+uint64(uint32(off))+size > e.Pkt.DataEnd {
		clear(dst)
		return errno.EFAULT.Ret()
	}
	copy(dst, mem.Bytes(start+uint64(uint32(off)), int(size)))
	return 0
}

// Flags of bpf_skb_store_bytes.
const (
	recomputeCsum  = 1 << 0
	invalidateHash = 1 << 1
)

func skbStoreBytes(e *Env, _, off, from, n, flags uint64) uint64 {
	return e.storeBytes(uint32(off), from, uint32(n), flags).Ret()
}

func (e *Env) storeBytes(off uint32, from uint64, n uint32, flags uint64) errno.Errno {
	if flags&^uint64(recomputeCsum|invalidateHash) != 0 {
		return errno.EINVAL
	}
	if off > math.MaxInt32 {
		return errno.EFAULT
	}
	if err := e.Pkt.StoreBytes(uint64(off), uint64(n), from, flags&recomputeCsum != 0); err != 0 {
		return err
	}
	if flags&invalidateHash != 0 {
		e.Pkt.ClearHash()
	}
	return 0
}

func skbPullData(e *Env, _, n, _, _, _ uint64) uint64 {
	size := uint64(uint32(n))
	if size == 0 {
		size = e.Pkt.Headlen()
	}
	return e.Pkt.EnsureWritable(size).Ret()
}

func skbVlanPush(e *Env, _, proto, tci, _, _ uint64) uint64 {
	p := uint16(proto)
	if p != packet.Htons(packet.EtherVLAN) && p != packet.Htons(packet.EtherQinQ) {
		p = packet.Htons(packet.EtherVLAN)
	}
	return e.Pkt.PushVLAN(p, uint16(tci)).Ret()
}

func skbChangeHead(e *Env, _, room, flags, _, _ uint64) uint64 {
	if flags != 0 {
		return errno.EINVAL.Ret()
	}
	return e.Pkt.ChangeHead(uint32(room)).Ret()
}

func skbChangeTail(e *Env, _, size, flags, _, _ uint64) uint64 {
	if flags != 0 {
		return errno.EINVAL.Ret()
	}
	return e.Pkt.ChangeTail(uint32(size)).Ret()
}

func skbChangeProto(e *Env, _, proto, flags, _, _ uint64) uint64 {
	if flags != 0 {
		return errno.EINVAL.Ret()
	}
	return e.Pkt.ChangeProto(uint16(proto)).Ret()
}

func skbChangeType(e *Env, _, typ, _, _, _ uint64) uint64 {
	if e.Pkt.PktType > packet.PktOtherHost || uint32(typ) > packet.PktOtherHost {
		return errno.EINVAL.Ret()
	}
	e.Pkt.PktType = uint32(typ)
	return 0
}

// Clocks of bpf_skb_set_tstamp (BPF_SKB_CLOCK_*).
const (
	skbClockRealtime  = 0
	skbClockMonotonic = 1
	skbClockTAI       = 2
)

func skbSetTstamp(e *Env, _, tstamp, clock, _, _ uint64) uint64 {
	if !e.Pkt.IsProtocol(packet.EtherIPv4) && !e.Pkt.IsProtocol(packet.EtherIPv6) {
		return errno.EOPNOTSUPP.Ret()
	}
	switch c := uint32(clock); {
	case c > skbClockTAI, c != skbClockRealtime && tstamp == 0:
		return errno.EINVAL.Ret()
	default:
		e.Pkt.Tstamp, e.Pkt.TstampType = tstamp, c
	}
	return 0
}

func skbSetHash(e *Env, _, hash, _, _, _ uint64) uint64 {
	e.Pkt.SetHash(uint32(hash), true)
	return 0
}

func skbSetHashInvalid(e *Env, _, _, _, _, _ uint64) uint64 {
	e.Pkt.ClearHash()
	return 0
}

// skbGetXfrmState answers as for a packet that came through no IPsec transform.
func skbGetXfrmState(_ *Env, _, _, to, size, _ uint64) uint64 {
	clear(mem.Bytes(to, int(uint32(size))))
	return errno.EINVAL.Ret()
}
