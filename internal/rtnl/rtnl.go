// Package rtnl is what rtnetlink is to a kernel: how commands make, change and
// list the network devices, queueing disciplines and filters of a served machine.
// Requests go over the server's socket (package serve), as the verbs below.
//
//	commands: skep ip, skep tc        Ask ──socket──▶ Server
//	foreign programs: bpf(2) links    bpfsys ───────▶ Server (bpfsys.Devices)
//	                                                    │
//	                                  package device ◀──┘  moves the packets
//
// Refusals have the kernel's words and numbers.
package rtnl

import (
	"encoding/json"

	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/serve"
)

// The verbs, with the types of their arguments and of the values they reply with.
const (
	VerbLinkAdd  = "link.add"  // LinkAdd
	VerbLinkDel  = "link.del"  // Named
	VerbLinkSet  = "link.set"  // LinkSet → LoadLog
	VerbLinkList = "link.list" // Named, "" for all → Link
	VerbQdiscAdd = "qdisc.add" // QdiscChange
	VerbQdiscDel = "qdisc.del" // QdiscChange
	VerbQdiscs   = "qdisc.list"
	VerbFilter   = "filter.change" // FilterChange → LoadLog
	VerbFilters  = "filter.list"   // FilterQuery → Filter
	VerbGraft    = "graft"         // Graft → LoadLog
)

// Kinds of devices.
const (
	KindLoopback = "loopback"
	KindVeth     = "veth"   // a pair in user space
	KindNetkit   = "netkit" // a pair whose programs run on what is sent
	KindPcap     = "pcap"   // receives a capture, and writes another
	KindTAP      = "tap"    // a TAP device of the host
	KindPacket   = "packet" // an interface of the host, tapped
	KindVXLAN    = "vxlan"  // a tunnel whose keys are programs'
	KindGeneve   = "geneve"
)

// LinkAdd makes a device, or a pair.
type LinkAdd struct {
	Name    string
	Kind    string
	Index   uint32 // 0: the next
	MTU     uint32 // bytes; 0: 1500
	Address string // "": drawn
	Queues  int    // of a TAP device; 0: 1

	Peer               string // of a pair; "": a name that is free
	PeerAddress        string
	Policy, PeerPolicy string // netkit: forward or blackhole; "": forward
	In, Out            string // pcap: captures by their absolute paths; "": none
	Host               string // packet: the interface; tap: the device, "": Name
	Write              bool   // packet: what is sent goes out of the interface
	Tunnel             Tunnel // vxlan, geneve
}

// Tunnel is what a tunnel lies over, and how.
type Tunnel struct {
	Under   string `json:",omitempty"` // the device's name
	Local   string `json:",omitempty"` // its address; "": the keys' own
	NextHop string `json:",omitempty"` // the link address behind it; "": that of its other end, or everybody's
	Port    uint16 `json:",omitempty"` // 0: the kind's
	GBP     bool   `json:",omitempty"`
}

// Named asks for what belongs to a device.
type Named struct{ Name string }

// LinkSet changes a device.
type LinkSet struct {
	Name    string
	Up      *bool      `json:",omitempty"`
	MTU     uint32     `json:",omitempty"`
	Address string     `json:",omitempty"`
	NewName string     `json:",omitempty"`
	XDP     *XDPChange `json:",omitempty"`
}

// Object says where a program comes from: an object file, which is the request's
// file, or a pinned program.
type Object struct {
	File    string `json:",omitempty"` // the object's absolute path
	Section string `json:",omitempty"`
	Program string `json:",omitempty"` // by name instead of by section
	Pinned  string `json:",omitempty"`
	Code    string `json:",omitempty"` // classic BPF as tc has it: "1,6 0 0 65535"
	Verbose bool   `json:",omitempty"`
}

// XDPChange attaches a program, or with Off takes it away.
type XDPChange struct {
	Mode   string // xdp, xdpgeneric, xdpdrv, xdpoffload
	Off    bool
	Force  bool // in the place of one that is there
	Object Object
}

// LoadLog is what the verifier said of a program, when asked for.
type LoadLog struct{ Text string }

// Prog is a program as listings show it.
type Prog struct {
	ID    uint32
	Name  string
	Tag   string // in hex
	JITed bool
	Link  uint32 `json:",omitempty"` // the link that has attached it

	LoadTime uint64 `json:",omitempty"` // nanoseconds since boot
	UID      uint32
	BTF      uint32 `json:",omitempty"`
}

// Stats are a device's counters.
type Stats struct {
	RxPackets, RxBytes, RxDropped uint64
	TxPackets, TxBytes, TxDropped uint64
	XDP                           map[string]uint64 // verdicts by name, those that came up
	TC                            map[string]uint64 // the same of ingress and egress: "ingress shot"
}

// Link is a device.
type Link struct {
	Index     uint32
	Name      string
	Kind      string
	Peer      string `json:",omitempty"`
	PeerIndex uint32 `json:",omitempty"`
	PeerUp    bool   `json:",omitempty"`
	MTU       uint32
	Address   string
	Up        bool
	Running   bool // it is up, and so is its peer
	WasUp     bool // once
	Queues    int

	In, Out, Host string `json:",omitempty"`
	Write         bool   `json:",omitempty"`
	Policy        string `json:",omitempty"`
	Primary       bool   `json:",omitempty"`
	Ended         bool   `json:",omitempty"` // a capture has been received whole

	Tunnel Tunnel

	XDPMode string `json:",omitempty"` // "", xdp, xdpgeneric, xdpoffload
	XDP     *Prog  `json:",omitempty"`
	Stats   Stats

	TCX    map[string][]Prog `json:",omitempty"` // by hook: ingress, egress
	Netkit map[string][]Prog `json:",omitempty"` // by hook: primary, peer
}

// QdiscChange adds or removes a queueing discipline.
type QdiscChange struct {
	Dev     string
	Kind    string // clsact or ingress
	Replace bool
}

// Qdisc is a queueing discipline.
type Qdisc struct {
	Dev  string
	Kind string // noqueue, clsact, ingress
	// What passed it, with those that programs dropped.
	Packets, Bytes, Drops uint64
}

// Hooks of filters.
const (
	Ingress = "ingress"
	Egress  = "egress"
)

// FilterChange adds, changes or removes a filter.
type FilterChange struct {
	Op       string // add, replace, change, del
	Dev      string
	Hook     string
	Protocol uint16 // Ethernet type in host order; ETH_P_ALL for all
	AnyProto bool   // no protocol was said
	Priority uint16
	Handle   uint32
	Kind     string // bpf, "" if not said

	Object  Object
	Direct  bool
	ClassID uint32
	Actions []ActionSpec
}

// ActionSpec is an action of a filter.
type ActionSpec struct {
	Kind    string // gact, mirred, bpf
	Control string // what follows it: pass, drop, pipe, reclassify, continue, stolen; "": the kind's own
	Jump    int    `json:",omitempty"`

	// mirred
	Dev     string `json:",omitempty"`
	Ingress bool   `json:",omitempty"`
	Mirror  bool   `json:",omitempty"`
	// bpf
	Object Object `json:",omitempty"`
	File   int    `json:",omitempty"` // which of the request's files Object.File is
}

// FilterQuery asks for a device's filters at a hook.
type FilterQuery struct{ Dev, Hook string }

// Filter is a filter.
type Filter struct {
	Priority uint16
	Protocol uint16
	Handle   uint32
	ClassID  uint32 `json:",omitempty"`
	Name     string // "foo.o:[sec]"
	Code     string // classic BPF
	Parent   bool   // of an ingress qdisc, which listings name
	Direct   bool
	Prog     Prog
	Actions  []Action
}

// Action is an action as listings show it.
type Action struct {
	ActionSpec
	Name  string `json:",omitempty"` // of a bpf action
	Prog  *Prog  `json:",omitempty"`
	Index uint32

	Packets, Bytes, Drops uint64
	Installed             float64 // seconds ago
	Used, First           float64 // the last and first time, seconds ago; < 0: never
}

// Graft puts a program into a pinned program array.
type Graft struct {
	Map    string // the array's path
	Key    *uint32
	Type   string // cls, act; "": as the section says, else cls
	Object Object
}

// refuse is a refusal with the kernel's number.
func refuse(e errno.Errno, text string) error { return &serve.Error{Text: text, Errno: e} }

// Decode reads a value of a reply.
func Decode[T any](raw json.RawMessage) (v T, err error) {
	err = json.Unmarshal(raw, &v)
	return v, err
}
