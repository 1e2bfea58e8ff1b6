package opsrun

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/socket"
)

// Sock is a socket that has a tcp_sock in memory, for helpers that programs hand it to: options and storages are the
// socket's, and options that the structure has a member for are seen in it.
type Sock struct {
	o    *Object
	s    *socket.Socket
	sent func(rcvNxt uint32)

	shown []shown

	cwnd, ssthresh, clamp, segsOut, dataSegsOut, rcvNxt, pending, retry *Field
}

// shown is an option that a member of the structure shows.
type shown struct {
	level, name int32
	at          Field
}

const inSock = "inet_conn.icsk_inet.sk."

// options are the members that show options as they are.
var options = [...]struct {
	level, name int32
	path        string
}{
	{socket.SolSocket, 7, inSock + "sk_sndbuf"},                     // SO_SNDBUF
	{socket.SolSocket, 8, inSock + "sk_rcvbuf"},                     // SO_RCVBUF
	{socket.SolSocket, 12, inSock + "sk_priority"},                  // SO_PRIORITY
	{socket.SolSocket, 18, inSock + "sk_rcvlowat"},                  // SO_RCVLOWAT
	{socket.SolSocket, 36, inSock + "sk_mark"},                      // SO_MARK
	{socket.SolSocket, 47, inSock + "sk_max_pacing_rate"},           // SO_MAX_PACING_RATE
	{socket.SolSocket, 62, inSock + "__sk_common.skc_bound_dev_if"}, // SO_BINDTOIFINDEX
	{socket.SolIP, 1, "inet_conn.icsk_inet.tos"},                    // IP_TOS
	{socket.SolTCP, 1, "nonagle"},                                   // TCP_NODELAY: TCP_NAGLE_OFF
	{socket.SolTCP, 16, "thin_lto"},                                 // TCP_THIN_LINEAR_TIMEOUTS
	{socket.SolTCP, 25, "notsent_lowat"},                            // TCP_NOTSENT_LOWAT
	{socket.SolTCP, socket.TCPSaveSyn, "save_syn"},                  // TCP_SAVE_SYN
}

// NewSock lets a tcp_sock be that of a socket; sent, if there is one, is told of acknowledgments that programs send.
func NewSock(o *Object, s *socket.Socket, sent func(rcvNxt uint32)) *Sock {
	k := &Sock{o: o, s: s, sent: sent}
	for path, to := range map[string]**Field{
		"snd_cwnd": &k.cwnd, "snd_ssthresh": &k.ssthresh, "snd_cwnd_clamp": &k.clamp, "segs_out": &k.segsOut, "data_segs_out": &k.dataSegsOut,
		"rcv_nxt": &k.rcvNxt, "inet_conn.icsk_ack.pending": &k.pending, "inet_conn.icsk_ack.retry": &k.retry,
	} {
		if f, err := o.Number(path); err == nil {
			*to = &f
		}
	}
	for _, row := range options {
		if f, err := o.Number(row.path); err == nil {
			k.shown = append(k.shown, shown{row.level, row.name, f})
		}
	}
	for i := range k.shown {
		k.show(&k.shown[i])
	}
	return k
}

func (k *Sock) get(f *Field) uint32 {
	if f == nil {
		return 0
	}
	return uint32(f.Get(k.o))
}

func (k *Sock) put(f *Field, v uint32) {
	if f != nil {
		f.Put(k.o, uint64(v))
	}
}

// show writes an option's value to its member.
func (k *Sock) show(r *shown) {
	var b [4]byte
	if k.s.Option(r.level, r.name, b[:]) == 0 {
		r.at.Put(k.o, uint64(int64(int32(uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24))))
	}
}

// Socket is whose structure it is.
func (k *Sock) Socket() *socket.Socket { return k.s }

// SetOption sets an option (bpf_setsockopt), and what shows it.
func (k *Sock) SetOption(level, name int32, value []byte) errno.Errno {
	t := k.s.TCPInfo()
	if t != nil { // the structure is what counts
		t.SndCwnd, t.SndSsthresh, t.DataSegsOut = k.get(k.cwnd), k.get(k.ssthresh), k.get(k.dataSegsOut)
	}
	if e := k.s.SetOption(level, name, value); e != 0 {
		return e
	}
	if level == socket.SolTCP && t != nil {
		switch name {
		case socket.TCPBPFIW:
			k.put(k.cwnd, t.SndCwnd)
		case socket.TCPBPFCwndClamp:
			k.put(k.clamp, t.SndSsthresh)
			k.put(k.ssthresh, t.SndSsthresh)
		}
	}
	for i := range k.shown {
		if r := &k.shown[i]; r.level == level && r.name == name {
			k.show(r)
		}
	}
	return 0
}

// SendAck sends an acknowledgment of all before rcvNxt (__tcp_send_ack). One that is due is then sent.
func (k *Sock) SendAck(rcvNxt uint32) {
	k.put(k.segsOut, k.get(k.segsOut)+1)
	if rcvNxt == k.get(k.rcvNxt) {
		k.put(k.pending, 0)
		k.put(k.retry, 0)
	}
	if k.sent != nil {
		k.sent(rcvNxt)
	}
}
