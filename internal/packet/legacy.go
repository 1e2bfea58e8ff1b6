package packet

import "github.com/skep-bpf/skep/internal/mem"

// Bases of negative offsets in legacy loads (linux/filter.h).
const (
	skfNetOff = -0x100000 // from the network header
	skfLLOff  = -0x200000 // from the link header
)

// LoadAbs reads 1, 2 or 4 bytes in network order at off for a legacy LD_ABS or
// LD_IND; false ends the program with 0. Negative offsets count from the link
// or network header (bpf_skb_load_helper_*, bpf_skb_load_helper_convert_offset).
func (p *Packet) LoadAbs(off int32, size int) (uint32, bool) {
	addr := p.Data + uint64(int64(off))
	switch {
	case off >= 0:
	case off >= skfNetOff:
		addr = p.NetHeader + uint64(off-skfNetOff)
	case off >= skfLLOff && p.MACHeader != 0:
		addr = p.MACHeader + uint64(off-skfLLOff)
	default:
		return 0, false
	}
	if addr+uint64(size) > p.End {
		return 0, false
	}
	switch size {
	case 1:
		return uint32(mem.Load8(addr)), true
	case 2:
		return uint32(be16(addr)), true
	}
	return uint32(be16(addr))<<16 | uint32(be16(addr+2)), true
}
