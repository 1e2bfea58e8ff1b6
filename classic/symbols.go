package classic

import "maps"

// Symbols are names for constants in assembly text: #ETHERTYPE_IP.
type Symbols map[string]uint32

// DefaultSymbols returns the names an assembler knows by itself, in a map that
// is the caller's to extend: TRUE and FALSE, and those of the system's headers
// for Ethernet types, IP protocols, packet and hardware types, seccomp actions
// and architectures.
func DefaultSymbols() Symbols { return maps.Clone(defaultSymbols) }

var defaultSymbols = Symbols{
	"TRUE":  1,
	"FALSE": 0,

	// Ethernet types: net/ethernet.h.
	"ETHERTYPE_PUP":      0x0200,
	"ETHERTYPE_IP":       0x0800,
	"ETHERTYPE_ARP":      0x0806,
	"ETHERTYPE_REVARP":   0x8035,
	"ETHERTYPE_AT":       0x809b,
	"ETHERTYPE_AARP":     0x80f3,
	"ETHERTYPE_VLAN":     0x8100,
	"ETHERTYPE_IPX":      0x8137,
	"ETHERTYPE_IPV6":     0x86dd,
	"ETHERTYPE_MPLS":     0x8847,
	"ETHERTYPE_PPPOED":   0x8863,
	"ETHERTYPE_PPPOES":   0x8864,
	"ETHERTYPE_8021AD":   0x88a8,
	"ETHERTYPE_LLDP":     0x88cc,
	"ETHERTYPE_LOOPBACK": 0x9000,

	// IP protocols: netinet/in.h.
	"IPPROTO_IP":      0,
	"IPPROTO_ICMP":    1,
	"IPPROTO_IGMP":    2,
	"IPPROTO_IPIP":    4,
	"IPPROTO_TCP":     6,
	"IPPROTO_UDP":     17,
	"IPPROTO_DCCP":    33,
	"IPPROTO_IPV6":    41,
	"IPPROTO_GRE":     47,
	"IPPROTO_ESP":     50,
	"IPPROTO_AH":      51,
	"IPPROTO_ICMPV6":  58,
	"IPPROTO_SCTP":    132,
	"IPPROTO_UDPLITE": 136,

	// Packet types: linux/if_packet.h.
	"PACKET_HOST":      0,
	"PACKET_BROADCAST": 1,
	"PACKET_MULTICAST": 2,
	"PACKET_OTHERHOST": 3,
	"PACKET_OUTGOING":  4,

	// Hardware types: net/if_arp.h.
	"ARPHRD_ETHER":              1,
	"ARPHRD_PPP":                512,
	"ARPHRD_LOOPBACK":           772,
	"ARPHRD_IEEE80211":          801,
	"ARPHRD_IEEE80211_RADIOTAP": 803,
	"ARPHRD_NETLINK":            824,
	"ARPHRD_NONE":               0xfffe,

	// Architectures: linux/audit.h.
	"AUDIT_ARCH_I386":    0x40000003,
	"AUDIT_ARCH_ARM":     0x40000028,
	"AUDIT_ARCH_X86_64":  0xc000003e,
	"AUDIT_ARCH_AARCH64": 0xc00000b7,
	"AUDIT_ARCH_RISCV64": 0xc00000f3,
	"AUDIT_ARCH_PPC64LE": 0xc0000015,
	"AUDIT_ARCH_S390X":   0x80000016,

	"SECCOMP_RET_KILL_PROCESS": uint32(KillProcess),
	"SECCOMP_RET_KILL_THREAD":  uint32(KillThread),
	"SECCOMP_RET_KILL":         uint32(KillThread),
	"SECCOMP_RET_TRAP":         uint32(Trap),
	"SECCOMP_RET_ERRNO":        uint32(Errno),
	"SECCOMP_RET_USER_NOTIF":   uint32(UserNotify),
	"SECCOMP_RET_TRACE":        uint32(Trace),
	"SECCOMP_RET_LOG":          uint32(Log),
	"SECCOMP_RET_ALLOW":        uint32(Allow),
}
