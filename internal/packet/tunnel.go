package packet

// Bits of Tunnel.Flags (IP_TUNNEL_*_BIT).
const (
	TunnelCsum      = 1 << 0
	TunnelKeyBit    = 1 << 2
	TunnelSeq       = 1 << 3
	TunnelDontFrag  = 1 << 8
	TunnelGeneveOpt = 1 << 11
	TunnelVXLANOpt  = 1 << 12
	TunnelNoCache   = 1 << 13
	tunnelERSPANOpt = 1 << 14
	tunnelGTPOpt    = 1 << 15
	// TunnelOptions says that the options are of some kind.
	TunnelOptions = TunnelGeneveOpt | TunnelVXLANOpt | tunnelERSPANOpt | tunnelGTPOpt
)

// TunnelOptMax is the most option bytes a tunnel key carries (IP_TUNNEL_OPTS_MAX).
const TunnelOptMax = 255

// Tunnel is the tunnel metadata beside a packet: of the tunnel it came out of,
// or the one it is to enter (struct ip_tunnel_info).
type Tunnel struct {
	Present bool
	TX      bool // set by a program, for the way out
	IPv6    bool
	ID      uint64
	Src     [4]uint32 // network order; IPv4 uses the first
	Dst     [4]uint32
	TOS     uint8
	TTL     uint8
	Label   uint32 // IPv6 flow label, host order
	Flags   uint16 // Tunnel* bits
	OptLen  uint8
	Opt     [TunnelOptMax]byte
}
