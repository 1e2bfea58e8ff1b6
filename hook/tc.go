package hook

import (
	"fmt"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/packet"
)

// TCAction is what becomes of a packet at a tc hook (linux/pkt_cls.h).
type TCAction int32

// tc actions.
const (
	TCUnspec     TCAction = -1 // no verdict: the next filter decides
	TCOK         TCAction = 0
	TCReclassify TCAction = 1
	TCShot       TCAction = 2
	TCPipe       TCAction = 3
	TCStolen     TCAction = 4
	TCQueued     TCAction = 5
	TCRepeat     TCAction = 6
	TCRedirect   TCAction = 7
	TCTrap       TCAction = 8
)

var tcNames = map[TCAction]string{
	TCUnspec: "TC_ACT_UNSPEC", TCOK: "TC_ACT_OK", TCReclassify: "TC_ACT_RECLASSIFY", TCShot: "TC_ACT_SHOT",
	TCPipe: "TC_ACT_PIPE", TCStolen: "TC_ACT_STOLEN", TCQueued: "TC_ACT_QUEUED", TCRepeat: "TC_ACT_REPEAT",
	TCRedirect: "TC_ACT_REDIRECT", TCTrap: "TC_ACT_TRAP",
}

// String returns the uapi's name; values it has none for print with their number.
func (a TCAction) String() string {
	if n, ok := tcNames[a]; ok {
		return n
	}
	return unknown("TC_ACT", uint32(a))
}

// TCOptions shape a tc hook.
type TCOptions struct {
	CPU int
	// Held is the CPU to use, if not nil: one the caller holds, whenever it runs the hook.
	Held *skep.CPU
	// Egress puts the hook on the way out; else it is on the way in.
	Egress bool
	// Classify takes a classifier's return value as a class, not as an action
	// (cls_bpf without direct-action): 0 is no match, -1 the class ClassID, else the class itself.
	Classify bool
	ClassID  uint32
	// Default is the action of a tc action program (act_bpf) that returns TC_ACT_UNSPEC.
	Default TCAction
}

// TC is a filter at a device's tc hook: a classifier (cls_bpf, in direct-action mode unless told
// otherwise) or an action (act_bpf). It holds a virtual CPU until Close and is used by one goroutine at a time.
type TC struct {
	prog   *skep.Program
	cpu    *skep.CPU
	opts   TCOptions
	action bool // the program is of type sched_act
	out    [1]Delivery
}

// NewTC makes a hook that runs prog on every packet.
func NewTC(m *skep.Machine, prog *skep.Program, opts *TCOptions) (*TC, error) {
	kind := prog.Type()
	if kind != skep.SchedCLS && kind != skep.SchedACT {
		return nil, fmt.Errorf("hook tc: program %s is of type %s", prog.Name(), kind)
	}
	t := &TC{prog: prog, action: kind == skep.SchedACT}
	if opts != nil {
		t.opts = *opts
	}
	var err error
	if t.cpu, err = hold(m, t.opts.CPU, t.opts.Held); err != nil {
		return nil, err
	}
	return t, nil
}

// Close gives the CPU back.
func (t *TC) Close() {
	if t.opts.Held == nil {
		t.cpu.Release()
	}
}

// TCResult is what a filter decided about one packet.
type TCResult struct {
	Action  TCAction
	ClassID uint32 // the class a classifier chose, where it chose one
	Return  uint32 // what the program returned
	Mark    uint32 // the packet's, after the program
	// Packet is the packet after the program, with its link header, valid until the next run.
	Packet []byte
	// Deliveries is where the packet goes: the stack or the device for OK and its
	// like, elsewhere for redirects, nowhere when dropped.
	Deliveries []Delivery
	// Sent is what actions have sent elsewhere (act_mirred), valid until the next run.
	Sent []Delivery

	after Meta
}

// Meta is what is known of the packet afterwards, for the next hook on its way.
func (r *TCResult) Meta() Meta { return r.after }

// After is Meta in place: the caller's, as the result is.
func (r *TCResult) After() *Meta { return &r.after }

// setMeta fills m, which is zero, with what a packet carries beside its bytes.
func setMeta(m *Meta, pkt *skep.Packet) {
	m.Mark, m.Priority, m.Tstamp, m.TCIndex, m.Queue, m.CB = pkt.Mark, pkt.Priority, pkt.Tstamp, pkt.TCIndex, pkt.QueueMapping, pkt.CB
	m.Type = PacketType(pkt.PktType) + 1
	if pkt.VLANPresent != 0 {
		m.VLANProto, m.VLANTCI = packet.Htons(uint16(pkt.VLANProto)), uint16(pkt.VLANTCI)
	}
	if pkt.Tunnel.Present {
		t := pkt.Tunnel
		m.Tunnel = &t
	}
}

// ethernetHeader is the length of a frame's link header, in bytes.
const ethernetHeader = 14

// setSKB makes the CPU's packet a socket buffer of a frame and what is known of it.
func setSKB(pkt *skep.Packet, data []byte, meta *Meta, egress bool) error {
	o := skbOptions(meta)
	o.L2, o.AtIngress = true, !egress
	if err := packet.FillSKB(pkt, data, &o); err != nil {
		return err
	}
	if meta.Type != ByHeader {
		pkt.PktType = meta.Type.Number()
	}
	pkt.WireLen = pkt.Len // qdisc_pkt_len_init
	if !egress {          // sch_handle_ingress: before the link header is back in sight
		pkt.WireLen -= ethernetHeader
	}
	pkt.TCIndex = meta.TCIndex
	if meta.Tunnel != nil {
		pkt.Tunnel = *meta.Tunnel
	}
	return nil
}

// Run sends one packet, which starts with its link header, through the filter.
func (t *TC) Run(data []byte, meta Meta) (TCResult, error) {
	pkt := t.cpu.Packet()
	if err := setSKB(pkt, data, &meta, t.opts.Egress); err != nil {
		return TCResult{}, err
	}
	r0, err := t.cpu.Run(t.prog)
	if err != nil {
		return TCResult{}, err
	}
	r := TCResult{Return: r0, Mark: pkt.Mark, Packet: pkt.Bytes(), ClassID: pkt.TCClassID}
	setMeta(&r.after, pkt)
	switch {
	case t.action:
		r.Action = actionVerdict(TCAction(r0), t.opts.Default)
	case t.opts.Classify:
		r.Action, r.ClassID = classVerdict(r0, t.opts.ClassID)
	default:
		r.Action = directVerdict(TCAction(r0))
	}
	r.Deliveries = deliverTC(t.cpu, t.opts.Egress, &r, &t.out)
	return r, nil
}

// directVerdict admits what a direct-action classifier may say (cls_bpf_exec_opcode).
func directVerdict(a TCAction) TCAction {
	switch a {
	case TCOK, TCShot, TCStolen, TCTrap, TCRedirect, TCUnspec:
		return a
	}
	return TCUnspec
}

// actionVerdict admits what an action may say; unspec is what it says by saying
// nothing (tcf_bpf_act).
func actionVerdict(a, unspec TCAction) TCAction {
	switch a {
	case TCPipe, TCReclassify, TCOK, TCRedirect, TCShot:
		return a
	case TCUnspec:
		return unspec
	}
	return TCUnspec
}

// classVerdict reads a return value as a class; own is the filter's (cls_bpf_classify).
func classVerdict(r0, own uint32) (TCAction, uint32) {
	switch r0 {
	case 0:
		return TCUnspec, 0
	case ^uint32(0):
		return TCOK, own
	}
	return TCOK, r0
}

// deliverTC says where the CPU's packet goes with this result.
func deliverTC(cpu *skep.CPU, egress bool, r *TCResult, out *[1]Delivery) []Delivery {
	d := Delivery{To: ToStack, Packet: r.Packet}
	if egress {
		d = Delivery{To: ToDevice, Ifindex: cpu.Packet().Ifindex, Packet: r.Packet}
	}
	switch r.Action {
	case TCShot, TCStolen, TCQueued, TCTrap:
		return nil
	case TCRedirect:
		to := cpu.Redirect()
		if to.Kind == skep.RedirectNone {
			return nil // dropped, as skb_do_redirect does without a target
		}
		d.To, d.Ifindex = ToDevice, to.Ifindex
		d.Peer = to.Kind == skep.RedirectPeer
		if d.Peer || to.Kind == skep.RedirectIfindex && to.Flags&skep.RedirectIngress != 0 {
			d.To = ToIngress
		}
	default:
		if s := cpu.Assigned(); s != nil {
			d.Socket = s
		}
	}
	out[0] = d
	return out[:]
}

func skbOptions(m *Meta) skep.SKBOptions {
	return skep.SKBOptions{
		Live: true, Dev: skep.Device{Ifindex: m.Ifindex}, IngressIfindex: m.Ifindex,
		Mark: m.Mark, Priority: m.Priority, TCClassID: m.TCClassID, Tstamp: m.Tstamp,
		VLANProto: m.VLANProto, VLANTCI: m.VLANTCI, QueueMapping: m.Queue, CB: m.CB,
	}
}
