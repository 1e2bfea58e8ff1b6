package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/afxdp"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
)

// Sizes of the receive loop: how many frames are taken at a time, as NAPI does, how
// many are sent to a device in one go, and what a frame may have, in bytes.
const (
	batchSize = 64
	bulkSize  = 16
	frameSize = 64 << 10
)

// xmitLimit is how often a packet may be sent on from one egress hook to another
// (XMIT_RECURSION_LIMIT).
const xmitLimit = 8

// maxHooks is how many programs a worker keeps a hook for.
const maxHooks = 16

// Run moves packets until all ports have ended or ctx is done, which closes them.
// Queue q of the device with index i runs on virtual CPU i+q, counted round.
func (n *Network) Run(ctx context.Context) error {
	if err := n.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, n.closePorts)
	n.mu.Lock()
	n.settled() // nothing begins between the last one's end and this
	n.running = false
	n.mu.Unlock()
	stop()
	return n.end()
}

// Start begins to move packets, and Stop closes all ports and ends it. In between
// devices may come and go.
func (n *Network) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running {
		return errors.New("device: the network runs already")
	}
	n.running, n.cpus, n.errs = true, nil, nil
	for id := range n.mach.CPUs() {
		q := &cpuQueue{in: make(chan parcel, cpuBacklog)}
		n.cpus = append(n.cpus, q)
		w := newWorker(n, id)
		n.serving.Go(func() { n.failed(q.serve(w)) })
	}
	for _, d := range *n.devices.Load() {
		n.start(d)
	}
	return nil
}

// Stop is described with Start.
func (n *Network) Stop() error {
	n.mu.Lock()
	n.running = false // nothing is added any more
	n.mu.Unlock()
	n.closePorts()
	n.mu.Lock()
	n.settled()
	n.mu.Unlock()
	return n.end()
}

// settled waits until nothing moves packets: no queue, and nobody who has begun. The caller holds n.mu.
func (n *Network) settled() {
	for n.active.Load() > 0 {
		n.idle.Wait()
	}
}

// finished takes back what was added to n.active.
func (n *Network) finished() {
	if n.active.Add(-1) == 0 {
		n.mu.Lock()
		n.idle.Broadcast()
		n.mu.Unlock()
	}
}

func (n *Network) closePorts() {
	for _, d := range *n.devices.Load() {
		d.up.remove()
		d.port.Close()
	}
}

// end ends what moves packets, when no queue is left.
func (n *Network) end() error {
	for _, q := range n.cpus {
		close(q.in)
	}
	n.serving.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(n.errs...)
}

// start has a device receive. The caller holds n.mu.
func (n *Network) start(d *Device) {
	for q := range d.port.Queues() {
		w := newWorker(n, (int(d.index)+q)%n.mach.CPUs()) // devices of one queue do not share one
		n.active.Add(1)
		d.queues.Go(func() {
			defer n.finished()
			if err := w.receive(d, q); err != nil {
				n.failed(fmt.Errorf("device %s: %w", d.Name(), err))
			}
		})
	}
}

// failed notes an error that ended a worker.
func (n *Network) failed(err error) {
	if err == nil {
		return
	}
	n.mu.Lock()
	n.errs = append(n.errs, err)
	n.mu.Unlock()
	if n.opts.Failed != nil {
		n.opts.Failed(err)
	}
}

// worker is a goroutine that moves packets on one virtual CPU, which it holds
// while there are some.
type worker struct {
	net  *Network
	id   int
	cpu  *skep.CPU                      // one handle for all hooks, filled while the CPU is held
	xdp  [2]map[*skep.Program]*hook.XDP // of native mode, and of generic
	tc   map[*hook.Clsact]*hook.Clsact  // their views on this CPU
	bulk map[*Device]*bulk

	sender  any     // who sends what is under way, known to watchers
	passing Passing // what watchers are shown

	sockets []*afxdp.Socket // that have received something and were not told
	in      place           // where the frame under way lies
	head    int             // bytes before it, where XDP may change it as it lies, in memory of the worker's; else 0

	backlog []parcel // to be received by devices of this network
	emptied []parcel // its memory, for the next
	hops    int      // of the packet that is under way
	spare   [][]byte // buffers
	later   [][]byte // buffers that are spare when the packet under way is done
	err     error
}

// parcel is a frame on its way into a device.
type parcel struct {
	d     *Device
	frame []byte
	meta  hook.Meta
	from  origin
	hops  int // how often it was received before
	at    place
}

// origin says where a parcel comes from, and so what it passes.
type origin uint8

const (
	redirected origin = iota // past native XDP, through generic
	injected                 // the same, and no driver counts it
	cabled                   // from the other end of a pair: through XDP
	past                     // past XDP: it comes from another CPU's
)

// maxHops is how often a packet is received on its way through devices, until it
// is taken to go in a circle.
const maxHops = 64

// bulk is frames that wait to be sent together.
type bulk struct {
	frames [][]byte
	bytes  int
}

func newWorker(n *Network, cpu int) *worker {
	return &worker{
		net: n, id: cpu, cpu: &skep.CPU{},
		xdp: [2]map[*skep.Program]*hook.XDP{{}, {}}, tc: map[*hook.Clsact]*hook.Clsact{}, bulk: map[*Device]*bulk{},
	}
}

// enter takes the CPU, and leave gives it back after everything that waits has been sent.
func (w *worker) enter() error {
	c, err := w.net.mach.HoldCPU(w.id)
	if err == nil {
		*w.cpu = *c
	}
	return err
}

func (w *worker) leave() error {
	w.drain()
	w.flush()
	w.cpu.Release()
	return w.err
}

// receive is the receive loop of a queue.
func (w *worker) receive(d *Device, queue int) error {
	bufs, frames, places := make([][]byte, batchSize), make([][]byte, batchSize), make([]place, batchSize)
	const each = packet.XDPHeadroom + frameSize
	memory, err := mem.Alloc(batchSize * each)
	if err != nil {
		return err
	}
	defer memory.Free()
	for i := range bufs {
		bufs[i] = memory.Bytes()[i*each+packet.XDPHeadroom : (i+1)*each]
	}
	receive := d.port.Receive
	if p, ok := d.port.(*pair); ok {
		put := func(i, n int) (buf []byte) {
			if buf, places[i] = d.place(queue, n); places[i] == (place{}) {
				buf = bufs[i]
			}
			return buf
		}
		receive = func(_ int, frames [][]byte) (int, error) { return p.in.take(frames, put) }
	}
	for {
		d.up.pass()
		copy(frames, bufs)
		got, err := receive(queue, frames)
		if got > 0 {
			if err := w.enter(); err != nil {
				return err
			}
			bytes := 0
			for i, f := range frames[:got] {
				bytes += len(f)
				if n := len(f); n >= ethernetHeader && n <= packet.XDPLinear && &f[0] == &bufs[i][:1][0] {
					w.head, f = packet.XDPHeadroom, bufs[i][:n:packet.XDPRoom] // as a driver's page has it
				}
				w.placed(d, queue, f, &hook.Meta{}, places[i])
				w.head = 0
				w.drain()
			}
			count(&w.counted(d).rxPackets, got)
			count(&w.counted(d).rxBytes, bytes)
			if err := w.leave(); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if f := w.net.opts.Ended; f != nil {
				f(d)
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// What is known of a frame goes by a pointer, as it is long to copy; whoever gets one may change
// what is there.

// frame receives one frame.
func (w *worker) frame(d *Device, queue int, f []byte, meta *hook.Meta) {
	x := d.xdp.Load()
	if x == nil || len(f) < ethernetHeader {
		w.stack(d, f, meta)
		return
	}
	hooks := w.xdp[0]
	if x.mode == Generic {
		hooks = w.xdp[1]
	}
	h := hooks[x.prog]
	if h == nil {
		if len(hooks) == maxHooks { // of programs that were exchanged
			clear(hooks)
		}
		var err error
		h, err = hook.NewXDP(w.net.mach, x.prog, &hook.XDPOptions{CPU: w.id, Held: w.cpu, Exception: w.net.exception, Generic: x.mode == Generic})
		if w.failed(err) {
			return
		}
		hooks[x.prog] = h
	}
	action, deliveries, err := h.Run(f, hook.Meta{Ifindex: d.index, RxQueue: uint32(queue), InPlace: max(w.head, w.in.head)})
	if w.failed(err) {
		return
	}
	w.counted(d).verdict(action)
	if len(deliveries) == 0 {
		count(&w.counted(d).rxDropped, 1)
	}
	for i := range deliveries {
		if i < len(deliveries)-1 {
			each := *meta
			w.deliver(d, queue, x.mode, &deliveries[i], &each)
			continue
		}
		w.deliver(d, queue, x.mode, &deliveries[i], meta)
	}
}

// ethernetHeader is the least a frame has, in bytes.
const ethernetHeader = 14

// exception tells of what a program did wrong at a device, if that is still there.
func (n *Network) exception(ifindex uint32, prog *skep.Program, a hook.XDPAction) {
	if d := n.Device(ifindex); d != nil && n.opts.Exception != nil {
		n.opts.Exception(d, prog, a)
	}
}

// failed keeps the first error, which ends the worker.
func (w *worker) failed(err error) bool {
	if err != nil && w.err == nil {
		w.err = err
	}
	return err != nil
}

// deliver carries out a delivery of XDP in a mode.
func (w *worker) deliver(d *Device, queue int, mode XDPMode, del *hook.Delivery, meta *hook.Meta) {
	switch del.To {
	case hook.ToStack:
		if w.head != 0 { // it lies in the worker's memory
			w.head = 0
			w.stack(d, del.Packet, meta)
			return
		}
		if d.ingress.Empty() && !w.watched() && !w.net.received.Active() {
			w.up(d, del.Packet, meta)
			return
		}
		f := w.copied(del.Packet) // the next hook's packet lies where this one's does
		w.stack(d, f, meta)
		w.done(f)
	case hook.ToDevice:
		to := w.net.Device(del.Ifindex)
		if to != nil && (to == d || to.takes(len(del.Packet))) && (mode == Generic || to.sendsFrames()) {
			w.put(to, del.Packet, &hook.Meta{}) // a frame has none
			return
		}
		count(&w.counted(d).rxDropped, 1)
	case hook.ToCPU:
		if !w.net.cpus[del.CPU].put(parcel{d, append([]byte(nil), del.Packet...), hook.Meta{}, past, 0, place{}}) {
			count(&w.counted(d).rxDropped, 1)
		}
	case hook.ToSocket:
		w.socket(d, queue, del)
	}
}

// sendsFrames reports whether the device's driver can be given frames of XDP (NETDEV_XDP_ACT_NDO_XMIT). That of a veth
// end can while the other end has a native program (veth_set_xdp_features); there is no GRO to turn on instead.
func (d *Device) sendsFrames() bool {
	switch {
	case d.netkit != nil || d.tunnel != nil:
		return false
	case d.peer != nil:
		x := d.peer.xdp.Load()
		return x != nil && x.mode != Generic
	}
	p, ok := d.port.(*pair)
	return !ok || p.in != p.out
}

// takes reports whether XDP can send a frame of n bytes out of the device: a tag more than its MTU (xdp_ok_fwd_dev).
func (d *Device) takes(n int) bool { return n <= int(d.MTU())+ethernetHeader+vlanTag }

// vlanTag is the length of a VLAN tag, in bytes.
const vlanTag = 4

// copied returns a copy of a frame, in a buffer of the worker.
func (w *worker) copied(f []byte) []byte {
	var b []byte
	if n := len(w.spare); n > 0 {
		b, w.spare = w.spare[n-1], w.spare[:n-1]
	}
	return append(b[:0], f...)
}

func (w *worker) done(f []byte) { w.spare = append(w.spare, f) }

// view returns a hook's view on this worker's CPU.
func (w *worker) view(c *hook.Clsact) *hook.Clsact {
	v := w.tc[c]
	if v == nil {
		v = c.On(w.cpu)
		w.tc[c] = v
	}
	return v
}

// stack takes a frame through a device's ingress hook and up.
func (w *worker) stack(d *Device, f []byte, meta *hook.Meta) {
	w.happened(w.net.received, d, f, meta, false)
	ws := w.net.watches.Load()
	if d.ingress.Empty() && ws == nil || len(f) < ethernetHeader {
		w.up(d, f, meta)
		return
	}
	if meta.VLANProto == 0 {
		if f, meta.VLANProto, meta.VLANTCI = packet.Untagged(f); f == nil {
			count(&w.counted(d).rxDropped, 1)
			return
		}
	}
	if meta.Type == hook.ByHeader {
		meta.Type = hook.TypeOf(f, d.MAC())
	}
	if ws != nil {
		w.show(ws.all, d, f, meta)
	}
	if d.ingress.Empty() {
		w.arrived(ws, d, f, meta)
		return
	}
	meta.Ifindex = d.index
	var r hook.TCResult
	if w.failed(w.view(d.ingress).RunTo(&r, f, meta)) {
		return
	}
	c := w.counted(d)
	c.tcVerdict(&c.ingress, r.Action, len(f)-ethernetHeader)
	meta = r.After()
	w.sent(&r, meta, 0)
	if len(r.Deliveries) == 0 {
		if r.Action != hook.TCStolen {
			count(&w.counted(d).rxDropped, 1)
		}
		return
	}
	del := &r.Deliveries[0]
	if del.To == hook.ToStack {
		if ws != nil && len(ws.one) > 0 && len(del.Packet) >= ethernetHeader {
			f := w.copied(del.Packet) // watchers may use the CPU's packet
			w.arrived(ws, d, f, meta)
			w.done(f)
			return
		}
		w.up(d, del.Packet, meta)
		return
	}
	if !w.redirect(del, meta, 0) {
		count(&w.counted(d).rxDropped, 1)
	}
}

// happened raises an event of a packet: with its link header, or past it.
func (w *worker) happened(t *skep.Tracepoint, d *Device, f []byte, meta *hook.Meta, link bool) {
	if !t.Active() || len(f) < ethernetHeader {
		return
	}
	pkt := w.cpu.Packet()
	err := pkt.SetSKB(f, skep.SKBOptions{
		L2: link, Live: true, Dev: skep.Device{Ifindex: d.index}, IngressIfindex: meta.Ifindex, Mark: meta.Mark, Priority: meta.Priority,
		Tstamp: meta.Tstamp, QueueMapping: meta.Queue, VLANProto: meta.VLANProto, VLANTCI: meta.VLANTCI,
	})
	if err == nil {
		err = t.Raise(w.cpu, pkt)
	}
	w.failed(err)
}

// sent carries out what actions have sent elsewhere.
func (w *worker) sent(r *hook.TCResult, meta *hook.Meta, depth int) {
	if len(r.Sent) == 0 {
		return
	}
	packet := r.Deliveries // lies where the next hook's packet will
	if len(packet) > 0 {
		packet[0].Packet = w.copied(packet[0].Packet)
		defer func(f []byte) { w.later = append(w.later, f) }(packet[0].Packet)
	}
	sent := slices.Clone(r.Sent) // the hook may be entered again
	for i := range sent {
		sent[i].Packet = w.copied(sent[i].Packet)
	}
	for i := range sent {
		del, each := &sent[i], *meta
		if !w.redirect(del, &each, depth) {
			if d := w.net.Device(del.Ifindex); d != nil {
				count(&w.counted(d).txDropped, 1)
			}
		}
		w.done(del.Packet)
	}
}

func (w *worker) up(d *Device, f []byte, meta *hook.Meta) {
	if w.net.tunnels.Load() > 0 && meta.VLANProto == 0 && w.untunnel(d, f, meta) {
		return
	}
	s := w.net.opts.Stack
	if s == nil {
		return
	}
	if f := w.tagged(f, meta); f != nil {
		s(d, f)
		w.done(f)
		return
	}
	s(d, f)
}

// tagged returns a frame with the tag that stands beside it, in a buffer of the worker; nil if there is none.
func (w *worker) tagged(f []byte, meta *hook.Meta) []byte {
	if meta.VLANProto == 0 || len(f) < ethernetHeader {
		return nil
	}
	b := packet.AppendTagged(w.copied(nil), f, meta.VLANProto, meta.VLANTCI)
	return b
}

// redirect sends a packet of a tc hook where it goes; depth counts the egress
// hooks it has passed.
func (w *worker) redirect(del *hook.Delivery, meta *hook.Meta, depth int) bool {
	to := w.net.Device(del.Ifindex)
	if to != nil && del.Peer {
		to = to.peer
	}
	switch {
	case to == nil || depth >= xmitLimit:
		return false
	case del.To == hook.ToIngress:
		if p := w.enqueue(to, del.Packet, redirected); p != nil {
			p.entering(meta, false)
			if del.Peer {
				p.meta.Type = hook.ToHost // skb_scrub_packet, and nobody asks the header again
			}
		}
		return true
	}
	if to.egress.Empty() && to.plain() && !w.watched() && !w.net.queued.Active() {
		w.put(to, del.Packet, meta) // which copies it
		return true
	}
	f := w.copied(del.Packet)
	w.xmit(to, f, meta, depth)
	w.done(f)
	return true
}

// xmit takes a frame through a device's egress hook and out.
func (w *worker) xmit(d *Device, f []byte, meta *hook.Meta, depth int) {
	if d.egress.Empty() || len(f) < ethernetHeader {
		w.send(d, f, meta, depth)
		return
	}
	meta.Ifindex = d.index
	var r hook.TCResult
	if w.failed(w.view(d.egress).RunTo(&r, f, meta)) {
		return
	}
	c := w.counted(d)
	c.tcVerdict(&c.egress, r.Action, len(f))
	meta = r.After()
	w.sent(&r, meta, depth+1)
	switch {
	case len(r.Deliveries) == 0:
		if r.Action != hook.TCStolen {
			count(&w.counted(d).txDropped, 1)
		}
	case r.Action != hook.TCRedirect:
		f := w.copied(r.Deliveries[0].Packet)
		w.send(d, f, meta, depth)
		w.done(f)
	case !w.redirect(&r.Deliveries[0], meta, depth+1):
		count(&w.counted(d).txDropped, 1)
	}
}

// send gives a frame to a device to be sent.
func (w *worker) send(d *Device, f []byte, meta *hook.Meta, depth int) {
	w.happened(w.net.queued, d, f, meta, true)
	if w.watched() && d.Running() {
		w.showSent(d, f, meta)
	}
	if d.tunnel != nil {
		w.xmitTunnel(d, f, meta, depth)
		return
	}
	if d.netkit != nil && d.Running() && len(f) >= ethernetHeader {
		w.xmitNetkit(d, f, meta, depth)
		return
	}
	w.put(d, f, meta)
}

// put puts a frame into the bulk of a device.
func (w *worker) put(d *Device, f []byte, meta *hook.Meta) {
	if !d.Running() {
		w.drop(d)
		return
	}
	if d.peer != nil { // what is sent is received at once, on the same CPU
		count(&w.counted(d).txPackets, 1)
		count(&w.counted(d).txBytes, len(f))
		if p := w.enqueue(d.peer, f, cabled); p != nil {
			p.forwarded(d, meta)
		}
		return
	}
	b := w.bulk[d]
	if b == nil {
		b = &bulk{}
		w.bulk[d] = b
	}
	out := w.tagged(f, meta)
	if out == nil {
		out = w.copied(f)
	}
	b.frames = append(b.frames, out)
	b.bytes += len(out)
	if len(b.frames) == bulkSize {
		w.transmit(d, b)
	}
}

// enqueue has a device receive a frame once the one under way is done, of which nothing is known yet but
// what the caller puts into the parcel at once; nil if it went in a circle.
func (w *worker) enqueue(d *Device, f []byte, from origin) *parcel {
	if w.hops >= maxHops {
		count(&w.counted(d).rxDropped, 1)
		return nil
	}
	n := len(w.backlog)
	if n < cap(w.backlog) {
		w.backlog = w.backlog[:n+1]
	} else {
		w.backlog = append(w.backlog, parcel{})
	}
	p := &w.backlog[n]
	p.d, p.from, p.hops, p.at = d, from, w.hops+1, place{}
	if from == cabled {
		p.frame, p.at = d.place(0, len(f))
	}
	if p.at == (place{}) {
		p.frame = w.copied(f)
	} else {
		copy(p.frame, f)
	}
	return p
}

// forwarded notes what a packet keeps on its way through a cable or into a device
// (__dev_forward_skb, netkit_prep_forward). Its queue was chosen anew on the way out.
func (p *parcel) forwarded(d *Device, m *hook.Meta) {
	p.entering(m, d.netkit != nil)
	p.meta.Queue = 0
}

// entering notes the same of a redirect into a device, where the queue stays.
func (p *parcel) entering(m *hook.Meta, netkit bool) {
	p.meta = hook.Meta{Mark: m.Mark, Tstamp: m.Tstamp, TCIndex: m.TCIndex, Queue: m.Queue, CB: m.CB,
		VLANProto: m.VLANProto, VLANTCI: m.VLANTCI}
	if netkit {
		p.meta.Priority = m.Priority
	}
}

// plain reports whether what is sent to a device goes to its port or peer.
func (d *Device) plain() bool { return d.tunnel == nil && d.netkit == nil }

func (w *worker) transmit(d *Device, b *bulk) {
	sent, err := d.port.Transmit(b.frames)
	if err != nil && !errors.Is(err, io.ErrClosedPipe) {
		w.failed(fmt.Errorf("device %s: %w", d.Name(), err))
	}
	for i, f := range b.frames {
		if i >= sent {
			b.bytes -= len(f)
		}
		w.done(f)
	}
	count(&w.counted(d).txPackets, sent)
	count(&w.counted(d).txBytes, b.bytes)
	count(&w.counted(d).txDropped, len(b.frames)-sent)
	b.frames, b.bytes = b.frames[:0], 0
}

// flush sends all that waits, at the end of a batch.
func (w *worker) flush() {
	w.tellSockets()
	for d, b := range w.bulk {
		if len(b.frames) > 0 {
			w.transmit(d, b)
		}
	}
}

// drain receives what redirects and pairs have sent into devices, and what programs
// have cloned.
func (w *worker) drain() {
	w.spare = append(w.spare, w.later...)
	w.later = w.later[:0]
	for round := 0; len(w.backlog) > 0 || w.net.sent.Load() > 0; round++ {
		w.hops = round
		for _, c := range w.net.takeClones() {
			if c.ingress {
				if p := w.enqueue(c.d, c.frame, redirected); p != nil {
					p.meta = hook.Meta{}
				}
				continue
			}
			if round >= maxHops {
				count(&w.counted(c.d).txDropped, 1)
				continue
			}
			w.xmit(c.d, c.frame, &hook.Meta{}, 1)
		}
		waiting := w.backlog
		w.backlog = w.emptied[:0]
		for i := range waiting {
			p := &waiting[i]
			w.hops = p.hops
			if p.from != injected {
				count(&w.counted(p.d).rxPackets, 1)
				count(&w.counted(p.d).rxBytes, len(p.frame))
			}
			if p.at != (place{}) {
				w.placed(p.d, 0, p.frame, &p.meta, p.at)
				continue
			}
			x := p.d.xdp.Load()
			if x != nil && (p.from == cabled || p.from != past && x.mode == Generic) {
				w.frame(p.d, 0, p.frame, &p.meta)
			} else {
				w.stack(p.d, p.frame, &p.meta)
			}
			w.done(p.frame)
		}
		w.emptied = waiting
	}
	w.hops = 0
}

// clone is a copy of a packet that a program has sent (bpf_clone_redirect) while
// it still ran.
type clone struct {
	d       *Device
	ingress bool
	frame   []byte
}

// cloned takes such a copy; some worker's drain sends it on.
func (n *Network) cloned(dev *skep.Device, ingress bool, frame []byte) {
	d := n.Device(dev.Ifindex)
	if d == nil {
		return
	}
	n.cloneMu.Lock()
	n.clones = append(n.clones, clone{d, ingress, append([]byte(nil), frame...)})
	n.sent.Store(int64(len(n.clones)))
	n.cloneMu.Unlock()
}

func (n *Network) takeClones() []clone {
	if n.sent.Load() == 0 {
		return nil
	}
	n.cloneMu.Lock()
	defer n.cloneMu.Unlock()
	taken := n.clones
	n.clones = nil
	n.sent.Store(0)
	return taken
}

// cpuBacklog is how many frames wait for a CPU at most.
const cpuBacklog = 1024

// cpuQueue is where a cpumap sends frames: a goroutine per CPU takes them up the
// stack there.
type cpuQueue struct{ in chan parcel }

func (q *cpuQueue) put(p parcel) bool {
	select {
	case q.in <- p:
		return true
	default:
		return false
	}
}

func (q *cpuQueue) serve(w *worker) error {
	for p := range q.in {
		if err := w.enter(); err != nil {
			return err
		}
		for n := 0; ; n++ {
			w.stack(p.d, p.frame, &p.meta)
			w.drain()
			if n == batchSize {
				break
			}
			var more bool
			select {
			case p, more = <-q.in:
			default:
			}
			if !more {
				break
			}
		}
		if err := w.leave(); err != nil {
			return err
		}
	}
	return nil
}
