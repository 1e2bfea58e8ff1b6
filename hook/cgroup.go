package hook

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/skep-bpf/skep"
)

// Cgroup is a control group with programs: what its sockets send, receive, bind and connect to passes
// them, and those of the groups above it. It is safe for concurrent use and takes a virtual CPU for each call.
//
// Like all hooks it tells and does not do: no socket here sends anything. A call
// that programs refuse is an error, EPERM or what bpf_set_retval said, as an [skep.Errno].
type Cgroup struct {
	mach   *skep.Machine
	parent *Cgroup
	// ID is what bpf_sk_cgroup_id and bpf_skb_cgroup_id answer of the group's sockets.
	ID uint64

	mu    *sync.RWMutex // of all groups of one root
	at    map[skep.AttachType]cgroupChain
	below int // how many groups are
	gone  bool
}

// NewCgroup makes a group without programs below parent, or a root if that is nil.
func NewCgroup(m *skep.Machine, parent *Cgroup) *Cgroup {
	g := &Cgroup{mach: m, parent: parent, mu: &sync.RWMutex{}, at: map[skep.AttachType]cgroupChain{}}
	if parent == nil {
		g.ID = m.NewCgroup(0)
	} else {
		g.ID, g.mu = m.NewCgroup(parent.ID), parent.mu
		g.mu.Lock()
		defer g.mu.Unlock()
		parent.below++
	}
	return g
}

// run runs what is attached, if anything is.
func (g *Cgroup) run(at skep.AttachType, f func(cpu *skep.CPU, progs []skep.CgroupProgram) (skep.CgroupRun, error)) (r skep.CgroupRun, err error) {
	progs := g.effective(at)
	if len(progs) == 0 {
		return r, nil
	}
	cpu := g.mach.AcquireCPU()
	defer cpu.Release()
	if r, err = f(cpu, progs); err != nil {
		return r, err
	}
	return r, ended(at, r)
}

// ended is the error of a call that programs have ended.
func ended(at skep.AttachType, r skep.CgroupRun) error {
	switch {
	case r.Retval == 0:
		return nil
	case r.Retval < 0:
		return fmt.Errorf("%s: refused by a program: %w", at, skep.Errno(-int64(r.Retval)))
	}
	return fmt.Errorf("%s: a program ends the call, which returns %d", at, r.Retval)
}

// CgroupVerdict is what programs decided about a packet.
type CgroupVerdict struct {
	// Keep says that the packet goes on.
	Keep bool
	// Congestion tells who sends to slow down (NET_XMIT_CN, or NET_XMIT_DROP without Keep); on the way out only.
	Congestion bool
	// Packet is the packet afterwards, with its link header: that which was handed in, unless
	// a program has changed it (bpf_skb_ecn_set_ce).
	Packet []byte
	// Meta is what is known of it afterwards.
	Meta Meta
}

// Ingress shows a packet, which starts with its link header, to programs before a socket of
// the group gets it. Programs see it from its network header on. The socket may be nil.
func (g *Cgroup) Ingress(data []byte, meta Meta, s *skep.Socket) (CgroupVerdict, error) {
	return g.packet(skep.AttachCGroupInetIngress, data, meta, s)
}

// Egress is Ingress for a packet that a socket of the group has sent.
func (g *Cgroup) Egress(data []byte, meta Meta, s *skep.Socket) (CgroupVerdict, error) {
	return g.packet(skep.AttachCGroupInetEgress, data, meta, s)
}

func (g *Cgroup) packet(at skep.AttachType, data []byte, meta Meta, s *skep.Socket) (CgroupVerdict, error) {
	v := CgroupVerdict{Keep: true, Packet: data, Meta: meta}
	progs := g.effective(at)
	if len(progs) == 0 {
		return v, nil
	}
	cpu := g.mach.AcquireCPU()
	defer cpu.Release()
	pkt := cpu.Packet()
	o := skbOptions(&meta)
	if at == skep.AttachCGroupInetEgress {
		o.IngressIfindex = 0
	}
	if s != nil {
		o.Sock = s.Addr()
	}
	if err := pkt.SetSKB(data, o); err != nil {
		return CgroupVerdict{}, err
	}
	// Sockets get no packets that are for other hosts, and send none that are not their own.
	const host, otherHost = 0, 3 // PACKET_*
	if pkt.PktType == otherHost || at == skep.AttachCGroupInetEgress {
		pkt.PktType = host
	}
	r, err := cpu.CgroupPacket(progs)
	if err != nil {
		return CgroupVerdict{}, err
	}
	v.Keep = r.Retval == 0
	v.Congestion = r.Flags&skep.CgroupCongestion != 0
	setMeta(&v.Meta, pkt)
	v.Meta.Ifindex, v.Meta.RxQueue = meta.Ifindex, meta.RxQueue
	v.Meta.VLANProto, v.Meta.VLANTCI, v.Meta.TCClassID = meta.VLANProto, meta.VLANTCI, meta.TCClassID
	if b := pkt.Bytes(); !bytes.Equal(b, data[ethernetHeader:]) {
		v.Packet = append(slices.Clone(data[:ethernetHeader]), b...)
	}
	return v, nil
}

// Kinds of devices and of access to them (BPF_DEVCG_*).
const (
	CgroupBlockDevice = 1
	CgroupCharDevice  = 2

	CgroupMknod = 1
	CgroupRead  = 2
	CgroupWrite = 4
)

// Device asks whether a device may be reached: kind is CgroupBlockDevice or
// CgroupCharDevice, access of CgroupMknod, CgroupRead and CgroupWrite. Programs that refuse are an error.
func (g *Cgroup) Device(kind, access uint16, major, minor uint32) error {
	_, err := g.run(skep.AttachCGroupDevice, func(cpu *skep.CPU, progs []skep.CgroupProgram) (skep.CgroupRun, error) {
		return cpu.CgroupDevice(progs, kind, access, major, minor)
	})
	return err
}

// Sysctl shows a sysctl that is read or written (cgroup/sysctl), and leaves in c the value that is to be written
// and the position in the file, as programs have them.
func (g *Cgroup) Sysctl(c *skep.CgroupSysctl) error {
	_, err := g.run(skep.AttachCGroupSysctl, func(cpu *skep.CPU, progs []skep.CgroupProgram) (skep.CgroupRun, error) {
		return cpu.CgroupSysctl(progs, c)
	})
	return err
}
