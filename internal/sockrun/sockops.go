package sockrun

import (
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/socket"
)

// SockOps is a TCP connection, or a request for one, whose programs of type sock_ops are told what happens to it.
type SockOps struct {
	helpers.SockOps
	TxHash uint32 // sk_txhash, which programs may change
}

// NewSockOps begins with a socket.
func NewSockOps(s *socket.Socket) *SockOps { return &SockOps{SockOps: helpers.SockOps{Socket: s}} }

// SockOpsCall is one thing that happens to a connection.
type SockOpsCall struct {
	Op   uint32
	Args [4]uint32
	// Segment is the TCP segment that it happens by, from its header on, the first Seen bytes of which programs see; nil: none.
	Segment []byte
	Seen    int
	Flags   uint16 // of the segment's header
	// Room is how many bytes of header options may be reserved, or written behind those that are seen.
	Room uint32
}

// SockOpsReply is what programs made of a call.
type SockOpsReply struct {
	// Reply is what they left in reply, or -1 where one refused.
	Reply int32
	// Used is how many bytes of the room they took, 0 where one refused.
	Used uint32
	// Segment is the call's, with what programs wrote into it; valid until the CPU's next run.
	Segment []byte
}

// Offsets in struct bpf_sock_ops.
const (
	opsOp, opsArgs, opsFamily                    = 0, 4, 20
	opsRemote4, opsLocal4, opsRemote6, opsLocal6 = 24, 28, 32, 48
	opsRemotePort, opsLocalPort, opsFull         = 64, 68, 72
	opsSRTT, opsState, opsRTTMin                 = 80, 88, 92
	opsTxHash, opsReceived, opsSk                = 164, 168, 184
	opsLen, opsTCPFlags                          = 208, 212
)

// Call runs programs (tcp_call_bpf and its kin).
func (o *SockOps) Call(c *run.CPU, progs []CgroupProg, call *SockOpsCall) (SockOpsReply, error) {
	ctx, err := c.Context()
	if err != nil {
		return SockOpsReply{}, err
	}
	s := o.Socket
	mem.Store32(ctx+opsOp, call.Op)
	for i, v := range call.Args {
		mem.Store32(ctx+opsArgs+uint64(4*i), v)
	}
	mem.Store32(ctx+opsFamily, s.Family)
	mem.Store32(ctx+opsRemote4, s.DstIP4)
	mem.Store32(ctx+opsLocal4, s.SrcIP4)
	for i := range s.SrcIP6 {
		mem.Store32(ctx+opsRemote6+uint64(4*i), s.DstIP6[i])
		mem.Store32(ctx+opsLocal6+uint64(4*i), s.SrcIP6[i])
	}
	mem.Store32(ctx+opsRemotePort, uint32(s.DstPort)<<16)
	mem.Store32(ctx+opsLocalPort, s.SrcPort)
	mem.Store32(ctx+opsState, s.State)
	mem.Store32(ctx+opsTxHash, o.TxHash)
	if s.Full() {
		mem.Store32(ctx+opsFull, 1)
		mem.Store64(ctx+opsSk, s.Addr())
		mem.Store32(ctx+helpers.OpsFlags, s.OpsFlags)
		o.showTCP(ctx)
	}
	var pkt *packet.Packet
	if call.Segment != nil {
		pkt = c.Packet()
		if err := pkt.SetStream(call.Segment, s); err != nil {
			return SockOpsReply{}, err
		}
		pkt.DataEnd = pkt.Data + uint64(call.Seen)
		mem.Store64(ctx+helpers.OpsData, pkt.Data)
		mem.Store64(ctx+helpers.OpsDataEnd, pkt.DataEnd)
		mem.Store32(ctx+opsLen, uint32(len(call.Segment)))
		mem.Store32(ctx+opsTCPFlags, uint32(call.Flags))
	}
	o.Op, o.Remaining = call.Op, call.Room
	c.Happen(&o.SockOps)
	defer c.Happen(nil)
	c.Choose(&socket.Choice{Own: s})
	defer c.Choose(nil)
	r, err := cgroup(c, progs, ctx, pkt, 0, nil)
	if err != nil {
		return SockOpsReply{}, err
	}
	o.TxHash = mem.Load32(ctx + opsTxHash)
	reply := SockOpsReply{Reply: -1}
	if r.Retval == 0 {
		reply.Reply = int32(mem.Load32(ctx + opsArgs))
		reply.Used = call.Room - o.Remaining
	}
	if pkt != nil {
		reply.Segment = pkt.Bytes()
	}
	return reply, nil
}

// showTCP writes down what programs see of a connection's state.
func (o *SockOps) showTCP(ctx uint64) {
	t := o.Socket.TCPInfo()
	if t == nil {
		return
	}
	mem.Store32(ctx+helpers.OpsCwnd, t.SndCwnd)
	mem.Store32(ctx+opsSRTT, t.SRTTUs)
	mem.Store32(ctx+opsRTTMin, t.RTTMin)
	for i, v := range [...]uint32{
		t.SndSsthresh, t.RcvNxt, t.SndNxt, t.SndUna, t.MSSCache, t.ECNFlags, t.RateDelivered, t.RateIntervalUs, t.PacketsOut, t.RetransOut,
		t.TotalRetrans, t.SegsIn, t.DataSegsIn, t.SegsOut, t.DataSegsOut, t.LostOut, t.SackedOut,
	} {
		mem.Store32(ctx+helpers.OpsSsthresh+uint64(4*i), v)
	}
	mem.Store64(ctx+opsReceived, t.BytesReceived)
	mem.Store64(ctx+opsReceived+8, t.BytesAcked)
}
