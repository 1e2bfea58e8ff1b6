package helpers

import (
	"math/bits"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
)

// tunnelFuncs read and write the tunnel metadata beside a packet (net/core/filter.c).
var tunnelFuncs = map[catalog.HelperID]Func{
	catalog.FnSKBGetTunnelKey: skbGetTunnelKey,
	catalog.FnSKBSetTunnelKey: skbSetTunnelKey,
	catalog.FnSKBGetTunnelOpt: skbGetTunnelOpt,
	catalog.FnSKBSetTunnelOpt: skbSetTunnelOpt,
}

// Offsets in struct bpf_tunnel_key; numbers are in host order.
//
//	0   id        4   remote, 4 or 16 bytes
//	20  tos  21  ttl  22  ext or flags  24  label
//	28  local, 4 or 16 bytes            44  end
const (
	tunID     = 0
	tunRemote = 4
	tunTOS    = 20
	tunTTL    = 21
	tunExt    = 22
	tunLabel  = 24
	tunLocal  = 28
	tunSize   = 44
	tunOldest = 8 // the structure's first form: IPv4 only, up to its remote address
)

// Flags of the tunnel key helpers.
const (
	tunIPv6      = 1 << 0
	tunZeroCsum  = 1 << 1
	tunDontFrag  = 1 << 2
	tunSeqNumber = 1 << 3
	tunFlags     = 1 << 4 // of reading
	tunNoKey     = 1 << 4 // of writing
)

// tunOldSize reports whether n is the size an older form of the structure had.
func tunOldSize(n uint32) bool {
	return n == tunLocal || n == tunLabel || n == tunExt || n == tunOldest
}

func skbGetTunnelKey(e *Env, _, to, size, flags, _ uint64) uint64 {
	dst := mem.Bytes(to, int(uint32(size)))
	clear(dst)
	t := &e.Pkt.Tunnel
	n := uint32(size)
	switch {
	case !t.Present || flags&^uint64(tunIPv6|tunFlags) != 0:
		return errno.EINVAL.Ret()
	case t.IPv6 != (flags&tunIPv6 != 0):
		return errno.EPROTO.Ret()
	case n != tunSize && (!tunOldSize(n) || n == tunOldest && t.IPv6):
		return errno.EINVAL.Ret()
	}
	var key [tunSize]byte
	put32 := func(off int, v uint32) {
		key[off], key[off+1], key[off+2], key[off+3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
	}
	put32(tunID, uint32(t.ID))
	key[tunTOS], key[tunTTL] = t.TOS, t.TTL
	if flags&tunFlags != 0 {
		key[tunExt], key[tunExt+1] = byte(t.Flags>>8), byte(t.Flags) // network order
	}
	if t.IPv6 {
		for i := range 4 {
			put32(tunRemote+4*i, t.Src[i])
			put32(tunLocal+4*i, t.Dst[i])
		}
		put32(tunLabel, t.Label)
	} else {
		put32(tunRemote, bits.ReverseBytes32(t.Src[0]))
		put32(tunLocal, bits.ReverseBytes32(t.Dst[0]))
	}
	copy(dst, key[:])
	return 0
}

func skbSetTunnelKey(e *Env, _, from, size, flags, _ uint64) uint64 {
	const known = tunIPv6 | tunZeroCsum | tunDontFrag | tunSeqNumber | tunNoKey
	n := uint32(size)
	if flags&^uint64(known) != 0 || n != tunSize && !tunOldSize(n) {
		return errno.EINVAL.Ret()
	}
	var key [tunSize]byte
	copy(key[:], mem.Bytes(from, int(n)))
	get32 := func(off int) uint32 {
		return uint32(key[off]) | uint32(key[off+1])<<8 | uint32(key[off+2])<<16 | uint32(key[off+3])<<24
	}
	v6 := flags&tunIPv6 != 0
	if !v6 && get32(tunLabel) != 0 || key[tunExt]|key[tunExt+1] != 0 {
		return errno.EINVAL.Ret()
	}
	t := &e.Pkt.Tunnel
	*t = packet.Tunnel{
		Present: true, TX: true, IPv6: v6,
		ID: uint64(get32(tunID)), TOS: key[tunTOS], TTL: key[tunTTL],
		Flags: packet.TunnelNoCache,
	}
	for _, f := range [...]struct {
		on  bool
		bit uint16
	}{
		{flags&tunDontFrag != 0, packet.TunnelDontFrag},
		{flags&tunZeroCsum == 0, packet.TunnelCsum},
		{flags&tunSeqNumber != 0, packet.TunnelSeq},
		{flags&tunNoKey == 0, packet.TunnelKeyBit},
	} {
		if f.on {
			t.Flags |= f.bit
		}
	}
	if v6 {
		for i := range 4 {
			t.Dst[i], t.Src[i] = get32(tunRemote+4*i), get32(tunLocal+4*i)
		}
		t.Label = get32(tunLabel) & 0xfffff
	} else {
		t.Dst[0], t.Src[0] = bits.ReverseBytes32(get32(tunRemote)), bits.ReverseBytes32(get32(tunLocal))
	}
	return 0
}

func skbGetTunnelOpt(e *Env, _, to, size, _, _ uint64) uint64 {
	dst := mem.Bytes(to, int(uint32(size)))
	clear(dst)
	t := &e.Pkt.Tunnel
	switch {
	case !t.Present || t.Flags&packet.TunnelOptions == 0:
		return errno.ENOENT.Ret()
	case len(dst) < int(t.OptLen):
		return errno.ENOMEM.Ret()
	}
	copy(dst, t.Opt[:t.OptLen])
	return uint64(t.OptLen)
}

func skbSetTunnelOpt(e *Env, _, from, size, _, _ uint64) uint64 {
	t := &e.Pkt.Tunnel
	n := uint32(size)
	if !t.Present || !t.TX || n%4 != 0 {
		return errno.EINVAL.Ret()
	}
	if n > packet.TunnelOptMax {
		return errno.ENOMEM.Ret()
	}
	t.OptLen = uint8(n)
	copy(t.Opt[:], mem.Bytes(from, int(n)))
	t.Flags |= packet.TunnelOptions
	return 0
}
