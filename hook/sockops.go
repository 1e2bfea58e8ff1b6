package hook

import (
	"fmt"
	"net/netip"

	"github.com/skep-bpf/skep"
)

// What happens to a connection (BPF_SOCK_OPS_*), which programs find in op.
const (
	opTimeoutInit = 1 + iota
	opRwndInit
	opConnect
	opActiveEstablished
	opPassiveEstablished
	opNeedsECN
	opBaseRTT
	opRTO
	opRetrans
	opState
	opListen
	opRTT
	opParseHeader
	opHeaderLength
	opWriteHeader
)

// Callbacks that programs ask for by bpf_sock_ops_cb_flags_set (BPF_SOCK_OPS_*_CB_FLAG), see [SockOps.Flags].
const (
	SockOpsRTO          = 1 << iota // timeouts
	SockOpsRetrans                  // segments sent again
	SockOpsState                    // changes of state
	SockOpsRTT                      // round trips
	SockOpsParseAll                 // headers of all segments that come
	SockOpsParseUnknown             // those with options that are unknown to TCP
	SockOpsWriteHeader              // headers of segments that are sent
)

// States of TCP, as programs see them.
const (
	TCPEstablished = 1 + iota
	TCPSynSent
	TCPSynRecv
	TCPFinWait1
	TCPFinWait2
	TCPTimeWait
	TCPClose
	TCPCloseWait
	TCPLastAck
	TCPListen
	TCPClosing
	TCPNewSynRecv
)

// SockOps is a TCP socket of a control group, as programs of type sock_ops look after it: its methods are what
// happens to it, and run them as Linux does, in its order:
//
//	active    Connect  Send(SYN)  RTT  Established(SYN|ACK)
//	listening Listen  Request(SYN) ─▶ a request:  Send(SYN|ACK)  Accept(ACK) ─▶ a connection
//	both      Send, Received, RTT, RTO, Retransmit, SetState
//
// Segments begin with their TCP header. Of what is seen besides, owners of the socket keep state
// ([skep.Socket] has TCPInfo). It is used by one goroutine at a time.
type SockOps struct {
	g   *Cgroup
	ops *skep.TCPOps
	syn []byte // of a request that was not answered: the header of its segment
}

// SockOps looks after a socket of TCP, which may be that of a real connection.
func (g *Cgroup) SockOps(s *skep.Socket) (*SockOps, error) {
	if s.Protocol != skep.ProtoTCP {
		return nil, fmt.Errorf("hook sockops: a socket of protocol %d; programs look after TCP alone", s.Protocol)
	}
	return &SockOps{g: g, ops: skep.NewTCPOps(s)}, nil
}

// Socket is the socket that is looked after.
func (o *SockOps) Socket() *skep.Socket { return o.ops.Socket }

// Flags are the callbacks that programs have asked for. A connection begins with its listener's.
func (o *SockOps) Flags() uint32 { return o.ops.Socket.OpsFlags }

func (o *SockOps) wants(flag uint32) bool { return o.ops.Socket.OpsFlags&flag != 0 }

func (o *SockOps) call(c skep.TCPOpsCall) (r skep.TCPOpsReply, err error) {
	progs := o.g.effective(skep.AttachCGroupSockOps)
	if len(progs) == 0 {
		return skep.TCPOpsReply{Reply: int32(c.Args[0]), Segment: c.Segment}, nil
	}
	cpu := o.g.mach.AcquireCPU()
	defer cpu.Release()
	r, err = cpu.SockOps(progs, o.ops, &c)
	r.Segment = append([]byte(nil), r.Segment...) // the CPU is another's next
	return r, err
}

// ask is a call without a segment.
func (o *SockOps) ask(op uint32, args ...uint32) (int32, error) {
	c := skep.TCPOpsCall{Op: op}
	copy(c.Args[:], args)
	r, err := o.call(c)
	return r.Reply, err
}

// SockOpsStart is what programs want a connection to begin with.
type SockOpsStart struct {
	Window  int32 // initial receive window, in segments; 0 or less: what is usual
	Timeout int32 // of the SYN, or SYN|ACK, in ticks; 0 or less: what is usual
	ECN     bool  // the congestion control needs ECN; of a request it is Send that asks
}

// start asks what a connection begins with; between is called between the questions.
func (o *SockOps) start(between func()) (st SockOpsStart, err error) {
	if st.Window, err = o.ask(opRwndInit); err != nil {
		return st, err
	}
	between()
	st.Timeout, err = o.ask(opTimeoutInit)
	return st, err
}

// NeedsECN asks whether the congestion control needs ECN.
func (o *SockOps) NeedsECN() (bool, error) {
	r, err := o.ask(opNeedsECN)
	return r == 1, err
}

// BaseRTT asks for the base round trip time of the congestion control NV, in microseconds; 0 or less: there is none.
func (o *SockOps) BaseRTT() (int32, error) { return o.ask(opBaseRTT) }

// Connect begins a connection: the socket becomes TCPSynSent.
func (o *SockOps) Connect() (st SockOpsStart, err error) {
	if err = o.SetState(TCPSynSent); err != nil {
		return st, err
	}
	if _, err = o.ask(opConnect); err != nil {
		return st, err
	}
	if st, err = o.start(func() {}); err != nil {
		return st, err
	}
	st.ECN, err = o.NeedsECN()
	return st, err
}

// Established is the answer to Connect, a segment with SYN and ACK.
func (o *SockOps) Established(segment []byte) error {
	c, err := arrived(opActiveEstablished, segment)
	if err != nil {
		return err
	}
	if err := o.SetState(TCPEstablished); err != nil {
		return err
	}
	_, err = o.call(c)
	return err
}

// Listen makes the socket a listener.
func (o *SockOps) Listen() error {
	o.ops.Socket.State = TCPListen // of which programs are not told as of other changes
	_, err := o.ask(opListen)
	return err
}

// Request is a SYN for a listener, from an address to one of its own. What is returned is a request, which programs see without state
// of a connection; its socket is closed by Accept, or who gives it up. Programs can load options of the SYN
// (BPF_LOAD_HDR_OPT_TCP_SYN) while the first answer is sent, and later if keep says so (TCP_SAVE_SYN).
func (o *SockOps) Request(from, to netip.AddrPort, syn []byte, keep bool) (*SockOps, SockOpsStart, error) {
	c, err := arrived(0, syn)
	if err != nil {
		return nil, SockOpsStart{}, err
	}
	s, err := o.g.mach.NewSocket(skep.SocketSpec{Protocol: skep.ProtoTCP, Local: to, Remote: from, State: skep.SocketNewSynRecv})
	if err != nil {
		return nil, SockOpsStart{}, err
	}
	s.CGroupID = o.ops.Socket.CGroupID
	req := &SockOps{g: o.g, ops: skep.NewTCPOps(s), syn: append([]byte(nil), c.Segment[:c.Seen]...)}
	s.OpsFlags = o.ops.Socket.OpsFlags
	st, err := req.start(func() {
		if keep {
			req.ops.Syn = req.syn
		}
	})
	if err != nil {
		s.Close()
		return nil, st, err
	}
	return req, st, nil
}

// Accept makes a connection of a request, by the ACK that ends it. The connection's socket, nil for a new one, begins with
// the listener's callbacks. rtt, where it is measured, is told as by RTT.
func (o *SockOps) Accept(s *skep.Socket, ack []byte, rtt ...uint32) (*SockOps, error) {
	c, err := arrived(opPassiveEstablished, ack)
	if err != nil {
		return nil, err
	}
	req := o.ops.Socket
	if s == nil {
		if s, err = o.g.mach.NewSocket(skep.SocketSpec{Protocol: skep.ProtoTCP, Local: req.Local(), Remote: req.Remote(), State: TCPSynRecv}); err != nil {
			return nil, err
		}
	}
	conn, err := o.g.SockOps(s)
	if err != nil {
		return nil, err
	}
	s.OpsFlags, conn.ops.Syn = req.OpsFlags, o.ops.Syn
	s.State, s.CGroupID = TCPSynRecv, o.g.ID
	if len(rtt) == 2 {
		if err := conn.RTT(rtt[0], rtt[1]); err != nil {
			return nil, err
		}
	}
	if _, err := conn.call(c); err != nil {
		return nil, err
	}
	req.Close()
	return conn, conn.SetState(TCPEstablished)
}

// RTT tells of a round trip that was measured, in microseconds, and the smoothed time, in eighths of those.
func (o *SockOps) RTT(measured, smoothed uint32) error {
	return o.tell(SockOpsRTT, opRTT, measured, smoothed)
}

// RTO tells of a timeout: how many there were, how long they are by now, in ticks, and whether that was the last.
func (o *SockOps) RTO(timeouts, ticks uint32, last bool) error {
	end := uint32(0)
	if last {
		end = 1
	}
	return o.tell(SockOpsRTO, opRTO, timeouts, ticks, end)
}

// Retransmit tells of segments that were sent again, the first of which begins with seq, and how that ended: 0, or a negative errno.
func (o *SockOps) Retransmit(seq, segments uint32, result int32) error {
	return o.tell(SockOpsRetrans, opRetrans, seq, segments, uint32(result))
}

// SetState changes the socket's state (TCPEstablished and the others); programs are told before.
func (o *SockOps) SetState(state uint32) error {
	if err := o.tell(SockOpsState, opState, o.ops.Socket.State, state); err != nil {
		return err
	}
	o.ops.Socket.State = state
	return nil
}

func (o *SockOps) tell(flag, op uint32, args ...uint32) error {
	if !o.wants(flag) {
		return nil
	}
	_, err := o.ask(op, args...)
	return err
}
