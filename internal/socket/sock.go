// Package socket holds sockets: what programs are handed of them, off-heap, and
// what holds on to them: reuseport groups, maps of sockets, socket storage.
//
// A [Socket] is the Go side and has a [Sock], whose address is what a register
// with a socket pointer holds. Where its bytes come from and go to is nobody's
// business here: a hook that serves real connections keeps them beside it.
package socket

import (
	"unsafe"

	"github.com/skep-bpf/skep/internal/mem"
)

// Sock is a socket as programs see it. Its first 80 bytes are the uapi's
// struct bpf_sock, field by field at the same offsets, so that an access needs
// no conversion; what follows is for helpers alone. It lies off-heap.
type Sock struct {
	BoundDevIf uint32
	Family     uint32 // AFInet or AFInet6
	Type       uint32 // SOCK_STREAM, SOCK_DGRAM
	Protocol   uint32 // IPPROTO_*
	Mark       uint32
	Priority   uint32
	SrcIP4     uint32 // network order
	SrcIP6     [4]uint32
	SrcPort    uint32 // host order
	DstPort    uint16 // network order
	_          uint16
	DstIP4     uint32
	DstIP6     [4]uint32
	State      uint32 // TCP_*
	RxQueue    int32  // -1: none

	Cookie   uint64
	Number   uint32 // in its machine's [Table], 0: none
	Flags    uint32 // Hashed …
	UID      uint32
	ClassID  uint32 // net_cls class of its cgroup
	CGroupID uint64
	TCP      uint64 // address of a [TCPSock], or 0
}

// TCPSock is what programs see of a TCP connection's state: the uapi's struct
// bpf_tcp_sock. It lies off-heap.
type TCPSock struct {
	SndCwnd, SRTTUs, RTTMin, SndSsthresh       uint32
	RcvNxt, SndNxt, SndUna, MSSCache           uint32
	ECNFlags, RateDelivered, RateIntervalUs    uint32
	PacketsOut, RetransOut, TotalRetrans       uint32
	SegsIn, DataSegsIn, SegsOut, DataSegsOut   uint32
	LostOut, SackedOut                         uint32
	BytesReceived, BytesAcked                  uint64
	DsackDups, Delivered, DeliveredCE, Retrans uint32
}

// TCPSockSize is the size of a TCPSock in bytes.
const TCPSockSize = int(unsafe.Sizeof(TCPSock{}))

// TCPInfo returns the connection's state, nil for a socket that has none. The
// caller may change it between runs.
func (s *Sock) TCPInfo() *TCPSock {
	if s.TCP == 0 {
		return nil
	}
	return (*TCPSock)(mem.Ptr(s.TCP)) // beside the Sock, in the same block
}

// SockSize is the size of a Sock in bytes.
const SockSize = int(unsafe.Sizeof(Sock{}))

// What maps and helpers ask of a socket besides what programs see (Sock.Flags).
const (
	Hashed    = 1 << iota // packets find it: bound, listening or connected (sk_hashed)
	V6Only                // takes no IPv4 (IPV6_V6ONLY)
	Reuseport             // SO_REUSEPORT is set
)

// Socket states that are told apart (include/net/tcp_states.h). A socket of UDP
// is established when it is connected, else closed.
const (
	TCPEstablished = 1

	TCPTimeWait   = 6
	TCPClose      = 7
	TCPListen     = 10
	TCPNewSynRecv = 12
)

// Full reports whether s is a full socket, not a time-wait or request one (sk_fullsock).
func (s *Sock) Full() bool { return s.State != TCPTimeWait && s.State != TCPNewSynRecv }

// RCUFree reports whether a program can have s without a reference: a bound
// datagram socket or a listener (SOCK_RCU_FREE).
func (s *Sock) RCUFree() bool {
	return s.State == TCPListen || s.Protocol == UDP && s.Flags&Hashed != 0
}

// Families, types and protocols as the uapi numbers them, on every platform.
const (
	AFUnix  = 1
	AFInet  = 2
	AFInet6 = 10

	Stream = 1
	Dgram  = 2

	TCP = 6
	UDP = 17
)

// At returns the socket at an address that a helper, a map or a packet gave.
func At(addr uint64) *Sock {
	// Sound: such addresses are those of Socks in blocks that outlive the run.
	return (*Sock)(mem.Ptr(addr))
}
