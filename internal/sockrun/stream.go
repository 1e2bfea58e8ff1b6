package sockrun

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/helpers"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/socket"
)

// Verdict is where bytes go that came through a program of a map of sockets.
type Verdict struct {
	Pass    bool           // else they are dropped
	To      *socket.Socket // nil: their own way
	Ingress bool           // to who reads from To, not out of it
}

// verdictOf reads a program's return value (sk_psock_map_verd).
func verdictOf(c *run.CPU, r0 uint64) Verdict {
	v := Verdict{Pass: uint32(r0) == SkPass}
	if r := c.Redirect(); v.Pass && r.Kind == helpers.RedirectSocket {
		v.To, v.Ingress = r.Socket, r.Flags != 0
	}
	return v
}

// progOf returns the program that the socket took over from its maps, with a
// reference to give back, or nil.
func progOf(s *socket.Socket, at catalog.AttachType) *run.Program {
	ps := maps.PsockOf(s)
	if ps == nil {
		return nil
	}
	p, _ := ps.Prog(at).(*run.Program)
	return p
}

// Parse asks the parser of a socket how long the message is that begins with
// data: 0 means that it wants to see more, a negative number that it gives up. Without
// parser, or without stream verdict program, what there is is a message.
func Parse(c *run.CPU, s *socket.Socket, data []byte) (int32, error) {
	p := progOf(s, catalog.AttachSkSKBStreamParser)
	if p == nil {
		return int32(len(data)), nil
	}
	defer p.Close()
	verdict := progOf(s, catalog.AttachSkSKBStreamVerdict)
	if verdict == nil {
		return int32(len(data)), nil
	}
	verdict.Close()
	pkt := c.Packet()
	if err := pkt.SetStream(data, s); err != nil {
		return 0, err
	}
	r0, err := c.Run(p, pkt.Addr(), pkt)
	return int32(r0), err
}

// Judge runs a socket's verdict program on bytes that came in, and returns them as it left
// them, valid until the CPU's next run. Without a program they pass.
func Judge(c *run.CPU, s *socket.Socket, data []byte) ([]byte, Verdict, error) {
	p := progOf(s, catalog.AttachSkSKBStreamVerdict)
	if p == nil {
		p = progOf(s, catalog.AttachSkSKBVerdict)
	}
	if p == nil {
		return data, Verdict{Pass: true}, nil
	}
	defer p.Close()
	pkt := c.Packet()
	if err := pkt.SetStream(data, s); err != nil {
		return nil, Verdict{}, err
	}
	r0, err := c.Run(p, pkt.Addr(), pkt)
	return pkt.Bytes(), verdictOf(c, r0), err
}

// Message is what an sk_msg program made of bytes to be sent.
type Message struct {
	Data []byte // as it left them, valid until the CPU's next run
	Verdict
	Apply uint32 // the verdict is for so many bytes, of later messages too; 0: for this one
	Cork  uint32 // the program wants to see so many bytes at once; 0: any
}

// Send runs a socket's sk_msg program on bytes to be sent. ok is false for a
// socket without one.
func Send(c *run.CPU, s *socket.Socket, data []byte) (m Message, ok bool, err error) {
	p := progOf(s, catalog.AttachSkMsgVerdict)
	if p == nil {
		return m, false, nil
	}
	defer p.Close()
	ctx, err := c.Context()
	if err != nil {
		return m, true, err
	}
	pkt := c.Packet()
	msg, err := pkt.SetMessage(ctx, data, s)
	if err != nil {
		return m, true, err
	}
	c.Send(&msg)
	defer c.Send(nil)
	r0, err := c.Run(p, ctx, pkt)
	m = Message{Data: pkt.Bytes(), Verdict: verdictOf(c, r0), Apply: msg.Apply, Cork: msg.Cork}
	return m, true, err
}
