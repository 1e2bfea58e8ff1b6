package packet

import "unsafe"

// Frame is a packet's context as programs reach it after rewriting: the kernel's
// xdp_buff and sk_buff in one. It lies off-heap, one per vCPU, and is reused:
// an address of a Frame is what R1 holds when a program starts. catalog's
// context rows name its fields by offset (Field.At).
//
//	HardStart   DataMeta   Data                 DataEnd    End      HardEnd
//	│ headroom  │ metadata │ directly readable  │ paged    │ tailroom │
//	└───────────┴──────────┴────────────────────┴──────────┴──────────┘
//
// All bytes lie in one piece; "paged" bytes are those a program must pull or
// load through a helper. HardEnd bounds what a tail adjustment may reach
// without moving the packet; the paged bytes of an XDP packet may lie beyond it.
type Frame struct {
	Data, DataEnd, DataMeta uint64 // addresses
	HardStart, End, HardEnd uint64

	// XDP.
	RxIfindex, RxQueue, TxIfindex uint32
	XDPFlags                      uint32

	// Socket buffer.
	Len            uint32
	PktType        uint32
	Mark           uint32
	QueueMapping   uint32 // as the program sees it
	Protocol       uint32 // network order in the low 16 bits
	VLANPresent    uint32
	VLANTCI        uint32
	VLANProto      uint32 // network order
	Priority       uint32
	IngressIfindex uint32
	Ifindex        uint32
	TCIndex        uint32
	CB             [5]uint32
	Hash           uint32
	TCClassID      uint32
	NAPIID         uint32
	Family         uint32
	RemoteIP4      uint32
	LocalIP4       uint32
	RemoteIP6      [4]uint32
	LocalIP6       [4]uint32
	RemotePort     uint32
	LocalPort      uint32
	WireLen        uint32
	GSOSegs        uint32
	GSOSize        uint32
	TstampType     uint32
	_              uint32 // as 64-bit systems align what follows
	Tstamp         uint64
	HWTstamp       uint64
	FlowKeys       uint64 // address of a bpf_flow_keys, or 0
	Sock           uint64 // address of a [Sock], or 0
}

// FrameSize is the size of a Frame in bytes.
const FrameSize = int(unsafe.Sizeof(Frame{}))
