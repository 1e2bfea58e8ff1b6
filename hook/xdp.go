package hook

import (
	"errors"
	"fmt"

	"github.com/skep-bpf/skep"
)

// XDPAction is what an XDP program returns (enum xdp_action).
type XDPAction uint32

// XDP actions.
const (
	XDPAborted XDPAction = iota
	XDPDrop
	XDPPass
	XDPTx
	XDPRedirect
)

var xdpNames = [...]string{"XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"}

// String returns the uapi's name; values it has none for print with their number.
func (a XDPAction) String() string {
	if uint64(a) < uint64(len(xdpNames)) {
		return xdpNames[a]
	}
	return unknown("XDP", uint32(a))
}

// XDPOptions shape an XDP hook.
type XDPOptions struct {
	// CPU is the virtual CPU packets are received on.
	CPU int
	// Held is the CPU to use, if not nil: one the caller holds, whenever it runs the hook.
	Held *skep.CPU
	// Exception is called where the kernel raises the xdp_exception trace event: the program returned
	// XDP_ABORTED or a value that is no action, or a devmap entry's own did anything but pass or drop; then the
	// device is the entry's.
	Exception func(ifindex uint32, prog *skep.Program, action XDPAction)
	// Live says that the frames are those of a test run, in no driver: XDP_TX is a redirect to the device they came
	// from, and what is no action drops them without an event (xdp_test_run_batch).
	Live bool
	// Generic says that packets are the stack's (generic mode), which any device can send.
	Generic bool
}

// XDP is a device's receive hook (native mode, one queue). It holds a virtual
// CPU until Close. It is used by one goroutine at a time.
type XDP struct {
	mach *skep.Machine
	prog *skep.Program
	cpu  *skep.CPU
	opts XDPOptions
	out  []Delivery
	copy []byte // the packet, while several targets take it

	aborted, sent, unsent *skep.Tracepoint // xdp_exception, xdp_redirect, xdp_redirect_err
}

// NewXDP makes a hook that runs prog on every packet.
func NewXDP(m *skep.Machine, prog *skep.Program, opts *XDPOptions) (*XDP, error) {
	if got := prog.Type(); got != skep.XDP {
		return nil, fmt.Errorf("hook xdp: program %s is of type %s", prog.Name(), got)
	}
	x := &XDP{
		mach: m, prog: prog,
		aborted: m.Tracepoint("xdp_exception"), sent: m.Tracepoint("xdp_redirect"), unsent: m.Tracepoint("xdp_redirect_err"),
	}
	if opts != nil {
		x.opts = *opts
	}
	var err error
	if x.cpu, err = hold(m, x.opts.CPU, x.opts.Held); err != nil {
		return nil, err
	}
	return x, nil
}

// Close gives the CPU back.
func (x *XDP) Close() {
	if x.opts.Held == nil {
		x.cpu.Release()
	}
}

// Run receives one packet. Deliveries is empty for a packet that was dropped;
// it is reused by the next run.
func (x *XDP) Run(data []byte, meta Meta) (action XDPAction, deliveries []Delivery, err error) {
	x.out = x.out[:0]
	if err := x.cpu.Packet().SetXDP(data, skep.XDPOptions{RxIfindex: meta.Ifindex, RxQueue: meta.RxQueue, InPlace: meta.InPlace, Meta: meta.Metadata}); err != nil {
		return 0, nil, err
	}
	r0, err := x.cpu.Run(x.prog)
	if err != nil {
		return 0, nil, err
	}
	action = XDPAction(r0)
	return action, x.out, x.act(action)
}

// act carries out an action on the CPU's packet.
func (x *XDP) act(action XDPAction) error {
	pkt := x.cpu.Packet()
	switch action {
	case XDPPass:
		x.deliver(Delivery{To: ToStack})
	case XDPTx:
		if x.opts.Live {
			return x.redirect(skep.Redirect{Kind: skep.RedirectIfindex, Ifindex: pkt.RxIfindex})
		}
		x.deliver(Delivery{To: ToDevice, Ifindex: pkt.RxIfindex})
	case XDPRedirect:
		return x.redirect(x.cpu.Redirect())
	case XDPDrop:
	default:
		if !x.opts.Live {
			return x.exception(pkt.RxIfindex, x.prog, action)
		}
	}
	return nil
}

// exception raises the event of what a program did wrong at a device.
func (x *XDP) exception(ifindex uint32, p *skep.Program, action XDPAction) error {
	if x.opts.Exception != nil {
		x.opts.Exception(ifindex, p, action)
	}
	if !x.aborted.Active() {
		return nil
	}
	return x.aborted.Raise(x.cpu, skep.NetDevice(ifindex), p, uint32(action))
}

// What the events of redirects say: noMap stands for the map where there is none (INT_MAX), the others are Linux's errors.
const (
	noMap         = 1<<31 - 1
	errInval      = 22  // EINVAL
	errBadRequest = 56  // EBADRQC
	errMsgSize    = 90  // EMSGSIZE
	errNotSupp    = 95  // EOPNOTSUPP
	errNetDown    = 100 // ENETDOWN
)

// vlanHeader is how much longer than its device allows a frame may be, in bytes: a tag does not count.
const vlanHeader = 4

// forwards says why a device cannot send the packet: an error's number, 0 if it can (__xdp_enqueue, xdp_ok_fwd_dev).
func (x *XDP) forwards(dev *skep.Device) int {
	switch {
	case dev.NoXDPXmit && !x.opts.Generic:
		return errNotSupp
	case !dev.Up:
		return errNetDown
	case x.cpu.Packet().Size() > uint64(dev.MTU)+uint64(dev.HardHeader)+vlanHeader:
		return errMsgSize
	}
	return 0
}

// redirected raises the event of a redirect that went well, or of one that led nowhere (xdp_do_redirect).
func (x *XDP) redirected(r *skep.Redirect) error {
	no := 0
	var to any = 0
	id, key := r.MapID, r.Key
	switch {
	case r.Kind == skep.RedirectIfindex:
		id, key = noMap, r.Ifindex
		if dev := x.mach.Device(r.Ifindex); dev == nil {
			no = errInval
		} else {
			to, no = skep.NetDevice(r.Ifindex), x.forwards(dev)
		}
	case r.Kind == skep.RedirectMissed: // as to a device without a number
		id, no = noMap, errInval
	case r.Kind != skep.RedirectMap:
		no = errBadRequest
	case r.Flags&skep.RedirectBroadcast != 0: // to none is no error
	case len(r.Targets) == 0: // the entry went since
		no = errInval
	case r.Targets[0].Ifindex != 0:
		to = skep.DevmapEntry(r.Targets[0].Ifindex)
		if dev := x.mach.Device(r.Targets[0].Ifindex); dev != nil {
			no = x.forwards(dev)
		}
	case r.Targets[0].Socket == nil:
		to = skep.CPUMapEntry(r.Targets[0].CPU)
	}
	event := x.sent
	if no != 0 {
		event = x.unsent
	}
	if !event.Active() {
		return nil
	}
	return event.Raise(x.cpu, skep.NetDevice(x.cpu.Packet().RxIfindex), x.prog, to, -no, uint32(r.MapType), id, key)
}

// deliver notes where the packet, as it is now, goes.
func (x *XDP) deliver(d Delivery) {
	d.Packet = x.cpu.Packet().Bytes()
	x.out = append(x.out, d)
}

func (x *XDP) redirect(r skep.Redirect) error {
	if x.sent.Active() || x.unsent.Active() {
		if err := x.redirected(&r); err != nil {
			return err
		}
	}
	switch {
	case r.Kind == skep.RedirectIfindex:
		x.deliver(Delivery{To: ToDevice, Ifindex: r.Ifindex})
		return nil
	case len(r.Targets) == 0:
		return nil
	case len(r.Targets) == 1:
		return x.target(r.Targets[0])
	}
	// Every target gets the packet as it was, whatever the others' programs do to theirs.
	pkt := x.cpu.Packet()
	x.copy = append(x.copy[:0], pkt.Bytes()...)
	opts := skep.XDPOptions{RxIfindex: pkt.RxIfindex, RxQueue: pkt.RxQueue}
	for _, t := range r.Targets {
		if err := pkt.SetXDP(x.copy, opts); err != nil {
			return err
		}
		from := len(x.out)
		if err := x.target(t); err != nil {
			return err
		}
		for i := from; i < len(x.out); i++ {
			x.out[i].Packet = append([]byte(nil), x.out[i].Packet...)
		}
	}
	return nil
}

// target sends the packet to one entry of a redirect map, through its program if it has one.
func (x *XDP) target(t skep.RedirectTarget) error {
	switch {
	case t.Socket != nil:
		x.deliver(Delivery{To: ToSocket, Socket: t.Socket, Meta: x.cpu.Packet().Meta()})
		return nil
	case t.Ifindex != 0:
		if t.Prog == nil {
			x.deliver(Delivery{To: ToDevice, Ifindex: t.Ifindex})
			return nil
		}
		if dev := x.mach.Device(t.Ifindex); dev != nil && dev.NoXDPXmit && !x.opts.Generic {
			return nil
		}
		x.cpu.Packet().TxIfindex = t.Ifindex
		return x.second(t)
	case t.Prog == nil:
		x.deliver(Delivery{To: ToCPU, CPU: t.CPU})
		return nil
	}
	return x.onCPU(t)
}

// second runs a devmap entry's own program; only XDP_PASS lets the packet go on there
// (dev_map_bpf_prog_run).
func (x *XDP) second(t skep.RedirectTarget) error {
	r0, err := x.cpu.Run(t.Prog)
	if err != nil {
		return err
	}
	switch action := XDPAction(r0); action {
	case XDPPass:
		x.deliver(Delivery{To: ToDevice, Ifindex: t.Ifindex})
	case XDPDrop:
	default:
		return x.exception(t.Ifindex, t.Prog, action)
	}
	return nil
}

// onCPU runs a cpumap entry's program on the entry's CPU. The own CPU is given
// back meanwhile: two hooks that redirect to each other's CPUs would wait for ever.
func (x *XDP) onCPU(t skep.RedirectTarget) error {
	pkt := x.cpu.Packet()
	data := append([]byte(nil), pkt.Bytes()...)
	opts := skep.XDPOptions{RxIfindex: pkt.RxIfindex, RxQueue: pkt.RxQueue}
	if own := x.cpu.ID(); int(t.CPU) != own {
		x.cpu.Release()
		other, err := x.mach.HoldCPU(int(t.CPU))
		if err != nil {
			return errors.Join(err, x.back(own))
		}
		handle := x.cpu
		x.cpu = other
		defer func() {
			other.Release()
			x.cpu = handle
			x.back(own) // the machine had the CPU before
		}()
	}
	if err := x.cpu.Packet().SetXDP(data, opts); err != nil {
		return err
	}
	from := len(x.out)
	r0, err := x.cpu.Run(t.Prog)
	if err != nil {
		return err
	}
	switch action := XDPAction(r0); action {
	case XDPPass:
		x.deliver(Delivery{To: ToCPU, CPU: t.CPU})
	case XDPRedirect:
		err = x.redirect(x.cpu.Redirect())
	} // all else drops it, without an event (cpu_map_bpf_prog_run_xdp)
	// The other CPU's packet does not outlive its release.
	for i := from; i < len(x.out); i++ {
		x.out[i].Packet = append([]byte(nil), x.out[i].Packet...)
	}
	return err
}

// back takes the own CPU again, by the handle it was held with.
func (x *XDP) back(own int) error {
	c, err := x.mach.HoldCPU(own)
	if err == nil {
		*x.cpu = *c
	}
	return err
}
