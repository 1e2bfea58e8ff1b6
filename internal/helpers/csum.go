package helpers

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
)

// csumFuncs compute and mend checksums (net/core/filter.c).
var csumFuncs = map[catalog.HelperID]Func{
	catalog.FnCsumDiff:      csumDiff,
	catalog.FnCsumUpdate:    csumUpdate,
	catalog.FnCsumLevel:     csumLevel,
	catalog.FnL3CsumReplace: l3CsumReplace,
	catalog.FnL4CsumReplace: l4CsumReplace,
}

// csumDiff returns the 16-bit sum of seed and the bytes of to, less those of
// from. Since Linux 6.13 any sizes will do.
func csumDiff(_ *Env, from, fromSize, to, toSize, seed uint64) uint64 {
	fn, tn := uint64(uint32(fromSize)), uint64(uint32(toSize))
	sum := uint32(seed)
	switch {
	case fn > 0 && tn > 0:
		sum = packet.CsumSub(packet.CsumPartial32(to, tn, sum), packet.CsumPartial32(from, fn, 0))
	case tn > 0:
		sum = packet.CsumPartial32(to, tn, sum)
	case fn > 0:
		sum = ^packet.CsumPartial32(from, fn, ^sum)
	}
	return uint64(packet.CsumFold16(sum))
}

func csumUpdate(e *Env, _, sum, _, _, _ uint64) uint64 {
	if e.Pkt.IPSummed != packet.CsumComplete {
		return errno.ENOTSUPP.Ret()
	}
	e.Pkt.Csum = packet.CsumAdd(e.Pkt.Csum, uint32(sum))
	return uint64(e.Pkt.Csum)
}

// Operations of bpf_csum_level (BPF_CSUM_LEVEL_*).
const (
	csumLevelQuery = 0
	csumLevelInc   = 1
	csumLevelDec   = 2
	csumLevelReset = 3
)

func csumLevel(e *Env, _, op, _, _, _ uint64) uint64 {
	switch op {
	case csumLevelQuery:
		if e.Pkt.IPSummed != packet.CsumUnnecessary {
			return errno.EACCES.Ret()
		}
		return uint64(e.Pkt.CsumLevel)
	case csumLevelInc:
		e.Pkt.CsumLevelUp()
	case csumLevelDec:
		e.Pkt.CsumLevelDown()
	case csumLevelReset:
		e.Pkt.CsumReset()
	default:
		return errno.EINVAL.Ret()
	}
	return 0
}

// Flags of the checksum replacements; the low bits are the field's size in bytes.
const (
	hdrFieldMask  = 0xf
	pseudoHdr     = 1 << 4
	markMangled0  = 1 << 5
	markEnforce   = 1 << 6
	csumIPv6      = 1 << 7
	csumMangled0  = 0xffff
	l4CsumFlags   = hdrFieldMask | pseudoHdr | markMangled0 | markEnforce | csumIPv6
	maxCsumOffset = 0xffff
)

// csumField makes the checksum field at off writable and returns its address.
func (e *Env) csumField(off uint32) (uint64, errno.Errno) {
	if off > maxCsumOffset || off&1 != 0 || e.Pkt.EnsureWritable(uint64(off)+2) != 0 {
		return 0, errno.EFAULT
	}
	return e.Pkt.Data + uint64(off), 0
}

func l3CsumReplace(e *Env, _, off, from, to, flags uint64) uint64 {
	if flags&^uint64(hdrFieldMask) != 0 {
		return errno.EINVAL.Ret()
	}
	addr, err := e.csumField(uint32(off))
	if err != 0 {
		return err.Ret()
	}
	switch flags {
	case 0:
		if from != 0 {
			return errno.EINVAL.Ret()
		}
		packet.CsumReplaceDiff(addr, uint32(to))
	case 2:
		packet.CsumReplace2(addr, uint16(from), uint16(to))
	case 4:
		packet.CsumReplace4(addr, uint32(from), uint32(to))
	default:
		return errno.EINVAL.Ret()
	}
	return 0
}

func l4CsumReplace(e *Env, _, off, from, to, flags uint64) uint64 {
	if flags&^uint64(l4CsumFlags) != 0 {
		return errno.EINVAL.Ret()
	}
	addr, err := e.csumField(uint32(off))
	if err != 0 {
		return err.Ret()
	}
	mangled, pseudo := flags&markMangled0 != 0, flags&pseudoHdr != 0
	if mangled && flags&markEnforce == 0 && mem.Load16(addr) == 0 {
		return 0 // a UDP packet without checksum stays one
	}
	switch flags & hdrFieldMask {
	case 0:
		if from != 0 {
			return errno.EINVAL.Ret()
		}
		e.Pkt.L4CsumReplaceDiff(addr, uint32(to), pseudo, flags&csumIPv6 != 0)
	case 2:
		e.Pkt.L4CsumReplace4(addr, uint32(uint16(from)), uint32(uint16(to)), pseudo)
	case 4:
		e.Pkt.L4CsumReplace4(addr, uint32(from), uint32(to), pseudo)
	default:
		return errno.EINVAL.Ret()
	}
	if mangled && mem.Load16(addr) == 0 {
		mem.Store16(addr, csumMangled0)
	}
	return 0
}
