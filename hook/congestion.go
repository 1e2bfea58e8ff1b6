package hook

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/errno"
)

// Congestion is one TCP connection as its congestion control sees it: a tcp_sock in memory, driven through what happens
// to a sender that always has data to send, with the calls and the bookkeeping of the kernel's TCP around them.
//
//	init ─▶ Ack: pkts_acked, in_ack_event, cong_avoid or cong_control ─▶ … ─▶ release
//	        Lose: ssthresh, set_state    Timeout: ssthresh, cwnd_event, set_state    Undo: undo_cwnd
//
// It is used by one goroutine at a time.
type Congestion struct {
	m   *skep.Machine
	ops *skep.Ops
	has map[string]bool
	// how many arguments cong_control takes: Linux 6.10 added two
	control int

	sk, sample, rate *skep.KernelStruct
	socket           *skep.Socket
	sent             []uint32
	f                congestionFields
	mss              uint32
	again            bool // nothing came back since the last timeout
}

// CongestionState is what a connection's congestion control is in (icsk_ca_state).
type CongestionState uint8

// States.
const (
	CongestionOpen     CongestionState = iota // nothing is wrong
	CongestionDisorder                        // packets arrive out of order
	CongestionCWR                             // the window is reduced after a mark
	CongestionRecovery                        // it is reduced after a loss, lost packets are sent again
	CongestionLoss                            // nothing came back in time
)

func (s CongestionState) String() string {
	names := [...]string{"Open", "Disorder", "CWR", "Recovery", "Loss"}
	if int(s) < len(names) {
		return names[s]
	}
	return unknown("CongestionState", uint32(s))
}

// congestionFields are the members of a tcp_sock that TCP keeps around a congestion control.
type congestionFields struct {
	state, cwnd, cwndCnt, stamp, clamp, ssthresh, priorSsthresh, priorCwnd,
	una, nxt, highSeq, undoMarker, prrDelivered, prrOut,
	out, lost, retrans, maxOut, delivered, deliveredCE, mssCache, limited, srtt, segsOut, dataSegsOut, mstamp, lastSent skep.KernelField
}

// Events of cwnd_event (enum tcp_ca_event).
const (
	eventTxStart     = 0
	eventCompleteCWR = 2
	eventLoss        = 3
)

// Flags of in_ack_event (enum tcp_ca_ack_event_flags).
const (
	ackSlowPath  = 1
	ackWinUpdate = 2
	ackECE       = 4
)

// Who the connection is between.
var (
	sender   = netip.MustParseAddrPort("192.0.2.1:49152")
	receiver = netip.MustParseAddrPort("192.0.2.2:80")
)

// What the kernel begins with.
const (
	initialCwnd      = 10
	infiniteSsthresh = 0x7fffffff
	established      = 1 // TCP_ESTABLISHED
	defaultMSS       = 1460
)

// NewCongestion opens a connection under a congestion control, an implementation of tcp_congestion_ops. mss is
// the size of a packet's data in bytes; 0: 1460.
func NewCongestion(m *skep.Machine, ops *skep.Ops, mss uint32) (*Congestion, error) {
	c, err := newCongestion(m, ops, mss)
	if err != nil {
		return nil, fmt.Errorf("hook congestion: %w", err)
	}
	if err := c.begin(); err != nil {
		c.free()
		return nil, err
	}
	return c, nil
}

func newCongestion(m *skep.Machine, ops *skep.Ops, mss uint32) (c *Congestion, err error) {
	if s := ops.Structure(); s != "tcp_congestion_ops" {
		return nil, fmt.Errorf("a struct %s is no congestion control", s)
	}
	if mss == 0 {
		mss = defaultMSS
	}
	c = &Congestion{m: m, ops: ops, has: map[string]bool{}, control: ops.Arguments("cong_control"), mss: mss}
	for _, name := range ops.Members() {
		c.has[name] = true
	}
	defer func() {
		if err != nil {
			c.free()
		}
	}()
	for _, s := range []struct {
		name string
		to   **skep.KernelStruct
	}{{"tcp_sock", &c.sk}, {"ack_sample", &c.sample}, {"rate_sample", &c.rate}} {
		if *s.to, err = m.NewKernelStruct(s.name); err != nil {
			return nil, err
		}
	}
	if c.socket, err = m.NewSocket(skep.SocketSpec{Protocol: skep.ProtoTCP, Local: sender, Remote: receiver, State: skep.SocketClose}); err != nil {
		return nil, err
	}
	c.socket.State = skep.SocketEstablished // but not one that lookups find
	c.socket.Control = c.switchTo
	c.socket.SetControl(ops.Name())
	if err = c.sk.Bind(c.socket, func(rcvNxt uint32) { c.sent = append(c.sent, rcvNxt) }); err != nil {
		return nil, err
	}
	f := &c.f
	for path, to := range map[string]*skep.KernelField{
		"inet_conn.icsk_ca_state": &f.state, "snd_cwnd": &f.cwnd, "snd_cwnd_cnt": &f.cwndCnt, "snd_cwnd_stamp": &f.stamp,
		"snd_cwnd_clamp": &f.clamp, "snd_ssthresh": &f.ssthresh, "prior_ssthresh": &f.priorSsthresh, "prior_cwnd": &f.priorCwnd,
		"snd_una": &f.una, "snd_nxt": &f.nxt, "high_seq": &f.highSeq, "undo_marker": &f.undoMarker,
		"prr_delivered": &f.prrDelivered, "prr_out": &f.prrOut, "packets_out": &f.out, "lost_out": &f.lost, "retrans_out": &f.retrans,
		"max_packets_out": &f.maxOut, "delivered": &f.delivered, "delivered_ce": &f.deliveredCE, "mss_cache": &f.mssCache,
		"is_cwnd_limited": &f.limited, "srtt_us": &f.srtt, "segs_out": &f.segsOut, "data_segs_out": &f.dataSegsOut, "tcp_mstamp": &f.mstamp, "lsndtime": &f.lastSent,
	} {
		if *to, err = c.sk.Field(path); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// begin is a connection that is established, and sends the first window.
func (c *Congestion) begin() error {
	f := &c.f
	c.put(f.cwnd, initialCwnd)
	c.put(f.ssthresh, infiniteSsthresh)
	c.put(f.clamp, ^uint32(0))
	c.put(f.mssCache, c.mss)
	c.put(f.limited, 1)
	for _, seq := range []skep.KernelField{f.una, f.nxt} {
		c.put(seq, 1)
	}
	c.sk.Set("inet_conn.icsk_inet.sk.__sk_common.skc_state", established)
	c.tick()
	if err := c.call("init"); err != nil {
		return err
	}
	return c.send()
}

// tick tells the connection what time it is (tcp_mstamp_refresh).
func (c *Congestion) tick() { c.f.mstamp.Put(c.sk, uint64(c.m.Now().UnixMicro())) }

func (c *Congestion) get(f skep.KernelField) uint32    { return uint32(f.Get(c.sk)) }
func (c *Congestion) put(f skep.KernelField, v uint32) { f.Put(c.sk, uint64(v)) }

// call calls a member if a program implements it; the connection is its first argument.
func (c *Congestion) call(member string, args ...any) error {
	if !c.has[member] {
		return nil
	}
	_, err := c.ask(member, args...)
	return err
}

func (c *Congestion) ask(member string, args ...any) (uint32, error) {
	v, err := c.ops.Call(member, append([]any{c.sk}, args...)...)
	return uint32(v), err
}

// Sock is the connection's tcp_sock, to be looked at and changed between events.
func (c *Congestion) Sock() *skep.KernelStruct { return c.sk }

// Socket is the connection's socket: options that members set, storages of sockets that they keep values in.
func (c *Congestion) Socket() *skep.Socket { return c.socket }

// SentAcks are the acknowledgments that members have sent by bpf_tcp_send_ack, each the sequence number that all before
// it is acknowledged.
func (c *Congestion) SentAcks() []uint32 { return c.sent }

// switchTo answers TCP_CONGESTION: a connection stays under the control that it was opened with.
func (c *Congestion) switchTo(name string) skep.Errno {
	if name == c.ops.Name() {
		return 0
	}
	return errno.ENOENT
}

// Cwnd is the congestion window and Ssthresh the slow start threshold, in packets.
func (c *Congestion) Cwnd() uint32 { return c.get(c.f.cwnd) }

// Ssthresh is described with Cwnd.
func (c *Congestion) Ssthresh() uint32 { return c.get(c.f.ssthresh) }

// State is what the connection is in.
func (c *Congestion) State() CongestionState { return CongestionState(c.get(c.f.state)) }

// InFlight is how many packets are on the way and not known to be lost.
func (c *Congestion) InFlight() uint32 {
	return c.get(c.f.out) - c.get(c.f.lost) + c.get(c.f.retrans)
}

// Ack is an acknowledgment that arrives.
type Ack struct {
	Packets uint32        // that it acknowledges
	Marked  uint32        // of which came with a mark of congestion (ECN), as the receiver echoes
	RTT     time.Duration // the time since they were sent; 0: not known
}

var errAck = errors.New("hook congestion: more packets are acknowledged or lost than are in flight")

// Ack tells of an acknowledgment, and has the connection send as much as the window then lets it (tcp_ack).
func (c *Congestion) Ack(a Ack) error {
	f := &c.f
	if a.Packets == 0 || a.Packets > c.get(f.out) || a.Marked > a.Packets {
		return errAck
	}
	c.again = false
	c.tick()
	inFlight := c.InFlight()
	c.put(f.una, c.get(f.una)+a.Packets*c.mss)
	c.put(f.out, c.get(f.out)-a.Packets)
	// What was lost is acknowledged first: it was sent again, and is the oldest.
	again := min(c.get(f.lost), a.Packets)
	c.put(f.lost, c.get(f.lost)-again)
	c.put(f.retrans, c.get(f.retrans)-min(c.get(f.retrans), again))
	c.put(f.delivered, c.get(f.delivered)+a.Packets)
	c.put(f.deliveredCE, c.get(f.deliveredCE)+a.Marked)
	rtt := uint64(a.RTT.Microseconds())
	if rtt == 0 {
		rtt = ^uint64(0) // -1: not known
	} else if old := c.get(f.srtt); old == 0 {
		c.put(f.srtt, uint32(rtt)<<3)
	} else { // an eighth of the news at once; the member counts eighths
		c.put(f.srtt, old-old>>3+uint32(rtt))
	}
	if c.has["pkts_acked"] {
		c.sample.Set("pkts_acked", uint64(a.Packets))
		c.sample.Set("rtt_us", rtt)
		c.sample.Set("in_flight", uint64(inFlight))
		if err := c.call("pkts_acked", c.sample); err != nil {
			return err
		}
	}
	flags := uint32(ackSlowPath | ackWinUpdate)
	if a.Marked > 0 {
		flags |= ackECE
	}
	if err := c.call("in_ack_event", flags); err != nil {
		return err
	}
	if err := c.progress(a); err != nil {
		return err
	}
	if err := c.follow(a, inFlight, rtt); err != nil {
		return err
	}
	return c.send()
}

// progress ends what an acknowledgment ends, and begins a reduction if it bears marks (tcp_fastretrans_alert).
func (c *Congestion) progress(a Ack) error {
	f := &c.f
	past := int32(c.get(f.una) - c.get(f.highSeq))
	switch state := c.State(); {
	case past < 0 && state != CongestionOpen, past == 0 && state == CongestionCWR:
		return nil
	case state == CongestionCWR || state == CongestionRecovery:
		if !c.has["cong_control"] && c.get(f.ssthresh) < infiniteSsthresh {
			c.put(f.cwnd, c.get(f.ssthresh))
		}
		if err := c.call("cwnd_event", eventCompleteCWR); err != nil {
			return err
		}
		fallthrough
	case state == CongestionLoss:
		c.put(f.undoMarker, 0)
		if err := c.setState(CongestionOpen); err != nil {
			return err
		}
	}
	if a.Marked == 0 || c.State() != CongestionOpen {
		return nil
	}
	c.put(f.priorSsthresh, 0)
	c.put(f.undoMarker, 0)
	if err := c.reduce(); err != nil {
		return err
	}
	return c.setState(CongestionCWR)
}

// follow has the window follow an acknowledgment (tcp_cong_control).
func (c *Congestion) follow(a Ack, inFlight uint32, rtt uint64) error {
	ack := c.get(c.f.una)
	if c.has["cong_control"] {
		for path, v := range map[string]uint64{
			"delivered": uint64(a.Packets), "acked_sacked": uint64(a.Packets), "rtt_us": rtt, "interval_us": rtt, "prior_in_flight": uint64(inFlight),
		} {
			c.rate.Set(path, v)
		}
		if c.control == 2 {
			return c.call("cong_control", c.rate)
		}
		return c.call("cong_control", ack, 0, c.rate)
	}
	if s := c.State(); s == CongestionCWR || s == CongestionRecovery {
		c.proportion(a.Packets)
		return nil
	}
	return c.call("cong_avoid", ack, a.Packets)
}

// proportion lets the window shrink while packets arrive (tcp_cwnd_reduction, RFC 6937).
func (c *Congestion) proportion(acked uint32) {
	f := &c.f
	prior := c.get(f.priorCwnd)
	if prior == 0 {
		return
	}
	delivered := c.get(f.prrDelivered) + acked
	c.put(f.prrDelivered, delivered)
	flight, ssthresh, out := int64(c.InFlight()), int64(c.get(f.ssthresh)), int64(c.get(f.prrOut))
	var n int64
	if ssthresh < flight {
		n = (ssthresh*int64(delivered)+int64(prior)-1)/int64(prior) - out
	} else {
		n = min(max(int64(delivered)-out, int64(acked))+1, ssthresh-flight)
	}
	if out == 0 {
		n = max(n, 1)
	}
	c.put(f.cwnd, uint32(flight+max(n, 0)))
}

// Lose tells that packets are known to be lost, by duplicate acknowledgments (tcp_enter_recovery). They are sent again.
func (c *Congestion) Lose(packets uint32) error {
	f := &c.f
	if packets == 0 || packets > c.InFlight() {
		return errAck
	}
	c.tick()
	c.put(f.lost, c.get(f.lost)+packets)
	if s := c.State(); s == CongestionOpen || s == CongestionDisorder || s == CongestionCWR {
		c.put(f.priorSsthresh, 0)
		c.put(f.undoMarker, c.get(f.una))
		if s != CongestionCWR {
			c.put(f.priorSsthresh, c.currentSsthresh())
			if err := c.reduce(); err != nil {
				return err
			}
		}
		if err := c.setState(CongestionRecovery); err != nil {
			return err
		}
	}
	if s := c.State(); s == CongestionRecovery && !c.has["cong_control"] {
		c.proportion(0)
	}
	return c.send()
}

// currentSsthresh is the threshold that a loss found wrong is undone to (tcp_current_ssthresh).
func (c *Congestion) currentSsthresh() uint32 {
	f := &c.f
	if s := c.State(); s == CongestionCWR || s == CongestionRecovery {
		return c.get(f.ssthresh)
	}
	cwnd := c.get(f.cwnd)
	return max(c.get(f.ssthresh), cwnd>>1+cwnd>>2)
}

// reduce begins a reduction (tcp_init_cwnd_reduction).
func (c *Congestion) reduce() error {
	f := &c.f
	c.put(f.highSeq, c.get(f.nxt))
	c.put(f.cwndCnt, 0)
	c.put(f.priorCwnd, c.get(f.cwnd))
	c.put(f.prrDelivered, 0)
	c.put(f.prrOut, 0)
	v, err := c.ask("ssthresh")
	c.put(f.ssthresh, v)
	return err
}

// Timeout tells that nothing came back in time: all in flight counts as lost (tcp_enter_loss).
func (c *Congestion) Timeout() error {
	f := &c.f
	if c.get(f.out) == 0 {
		return errAck
	}
	c.tick()
	s := c.State()
	if s <= CongestionDisorder || int32(c.get(f.una)-c.get(f.highSeq)) >= 0 || s == CongestionLoss && !c.again {
		c.put(f.priorSsthresh, c.currentSsthresh())
		c.put(f.priorCwnd, c.get(f.cwnd))
		v, err := c.ask("ssthresh")
		if err != nil {
			return err
		}
		c.put(f.ssthresh, v)
		if err := c.call("cwnd_event", eventLoss); err != nil {
			return err
		}
		c.put(f.undoMarker, c.get(f.una))
	}
	c.again = true
	c.put(f.lost, c.get(f.out))
	c.put(f.retrans, 0)
	c.put(f.cwnd, 1)
	c.put(f.cwndCnt, 0)
	if err := c.setState(CongestionLoss); err != nil {
		return err
	}
	c.put(f.highSeq, c.get(f.nxt))
	return c.send()
}

// Undo tells that nothing was lost after all: the packets were late (tcp_undo_cwnd_reduction). It does
// nothing where there is nothing to undo.
func (c *Congestion) Undo() error {
	f := &c.f
	if c.get(f.undoMarker) == 0 {
		return nil
	}
	c.put(f.lost, 0)
	c.put(f.retrans, 0)
	if prior := c.get(f.priorSsthresh); prior != 0 {
		v, err := c.ask("undo_cwnd")
		if err != nil {
			return err
		}
		c.put(f.cwnd, v)
		c.put(f.ssthresh, max(prior, c.get(f.ssthresh)))
	}
	c.put(f.undoMarker, 0)
	if err := c.setState(CongestionOpen); err != nil {
		return err
	}
	return c.send()
}

func (c *Congestion) setState(s CongestionState) error {
	if err := c.call("set_state", uint8(s)); err != nil {
		return err
	}
	c.put(c.f.state, uint32(s))
	return nil
}

// send sends what the window lets it: lost packets first, then new ones.
func (c *Congestion) send() error {
	f := &c.f
	flight, cwnd := c.InFlight(), c.get(f.cwnd)
	if flight >= cwnd {
		return nil
	}
	if c.get(f.out) == 0 {
		if err := c.call("cwnd_event", eventTxStart); err != nil {
			return err
		}
		cwnd = c.get(f.cwnd)
	}
	n := cwnd - min(flight, cwnd)
	again := min(n, c.get(f.lost)-c.get(f.retrans))
	c.put(f.retrans, c.get(f.retrans)+again)
	fresh := n - again
	c.put(f.out, c.get(f.out)+fresh)
	c.put(f.nxt, c.get(f.nxt)+fresh*c.mss)
	c.put(f.segsOut, c.get(f.segsOut)+n)
	c.put(f.dataSegsOut, c.get(f.dataSegsOut)+n)
	c.put(f.lastSent, uint32(c.m.Jiffies()))
	c.put(f.maxOut, max(c.get(f.maxOut), c.get(f.out)))
	if s := c.State(); s == CongestionCWR || s == CongestionRecovery {
		c.put(f.prrOut, c.get(f.prrOut)+n)
	}
	return nil
}

// Close ends the connection.
func (c *Congestion) Close() error {
	if c.sk == nil {
		return nil
	}
	err := c.call("release")
	c.free()
	return err
}

func (c *Congestion) free() {
	for _, s := range []**skep.KernelStruct{&c.sk, &c.sample, &c.rate} {
		if *s != nil {
			(*s).Close()
			*s = nil
		}
	}
	if c.socket != nil {
		c.socket.Close()
		c.socket = nil
	}
}
