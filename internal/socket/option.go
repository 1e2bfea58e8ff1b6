package socket

import (
	"bytes"
	"math"

	"github.com/skep-bpf/skep/internal/errno"
)

// Levels of options.
const (
	SolSocket = 1
	SolIP     = 0
	SolTCP    = 6
	SolIPv6   = 41
)

// Numbers of options, as Linux has them.
const (
	soReuseaddr, soSndbuf, soRcvbuf, soKeepalive, soPriority   = 2, 7, 8, 9, 12
	soReuseport, soRcvlowat, soMark, soPacing, soBindToIfindex = 15, 18, 36, 47, 62

	ipTos, ipv6Tclass = 1, 67

	tcpNodelay, tcpMaxseg, tcpKeepidle, tcpKeepintvl, tcpKeepcnt, tcpSyncnt = 1, 2, 4, 5, 6, 7
	tcpThinLinear, tcpUserTimeout, tcpNotsentLowat                          = 16, 18, 25
	tcpCongestion                                                           = 13
	tcpBPFCbFlags                                                           = 1008
)

// Options that others tell apart: TCP_SAVE_SYN, TCP_BPF_IW and TCP_BPF_SNDCWND_CLAMP.
const (
	TCPSaveSyn      = 27
	TCPBPFIW        = 1001
	TCPBPFCwndClamp = 1002
)

// Bounds of buffers: Linux doubles what is asked for.
const (
	maxBuffer            = 212992 // net.core.wmem_max, unless set otherwise
	minSndbuf, minRcvbuf = 4608, 2304
	mssDefault           = 536 // TCP_MSS_DEFAULT
	caName               = 16  // TCP_CA_NAME_MAX
	ecnMask              = 3
)

// AllOpsFlags are the bits of [Socket.OpsFlags] (BPF_SOCK_OPS_ALL_CB_FLAGS).
const AllOpsFlags = 0x7f

// optionRow is an option of four bytes that programs can set and read.
type optionRow struct {
	level, name int32
	initial     int32
	min, max    int32
	keep        func(v int32) int32 // what is kept of a value; nil: the value
	zero        bool                // 0 is allowed too: back to the initial value
	at          func(s *Socket) *uint32
	setOnly     bool
}

func yesNo(v int32) int32 {
	if v != 0 {
		return 1
	}
	return 0
}

func doubled(least int32) func(int32) int32 {
	return func(v int32) int32 { return max(2*int32(min(uint32(v), maxBuffer)), least) }
}

// options are the rows (sol_socket_sockopt and its kin in net/core/filter.c).
var options = []optionRow{
	{level: SolSocket, name: soReuseaddr, min: math.MinInt32, max: math.MaxInt32, keep: yesNo},
	{level: SolSocket, name: soSndbuf, initial: 16384, min: math.MinInt32, max: math.MaxInt32, keep: doubled(minSndbuf)},
	{level: SolSocket, name: soRcvbuf, initial: 131072, min: math.MinInt32, max: math.MaxInt32, keep: doubled(minRcvbuf)},
	{level: SolSocket, name: soKeepalive, min: math.MinInt32, max: math.MaxInt32, keep: yesNo},
	{level: SolSocket, name: soPriority, min: math.MinInt32, max: math.MaxInt32, at: func(s *Socket) *uint32 { return &s.Priority }},
	{level: SolSocket, name: soReuseport, min: math.MinInt32, max: math.MaxInt32, keep: yesNo},
	{level: SolSocket, name: soRcvlowat, initial: 1, min: math.MinInt32, max: math.MaxInt32, keep: func(v int32) int32 { return max(v, 1) }},
	{level: SolSocket, name: soMark, min: math.MinInt32, max: math.MaxInt32, at: func(s *Socket) *uint32 { return &s.Mark }},
	{level: SolSocket, name: soPacing, initial: -1, min: math.MinInt32, max: math.MaxInt32},
	{level: SolSocket, name: soBindToIfindex, max: math.MaxInt32, at: func(s *Socket) *uint32 { return &s.BoundDevIf }},
	{level: SolIP, name: ipTos, min: math.MinInt32, max: math.MaxInt32, keep: func(v int32) int32 { return v & 0xff }},
	{level: SolIPv6, name: ipv6Tclass, min: -1, max: 0xff, keep: func(v int32) int32 { return max(v, 0) }},
	{level: SolTCP, name: tcpNodelay, min: math.MinInt32, max: math.MaxInt32, keep: yesNo},
	{level: SolTCP, name: tcpMaxseg, initial: mssDefault, min: 88, max: 32767, zero: true},
	{level: SolTCP, name: tcpKeepidle, initial: 7200, min: 1, max: 32767},
	{level: SolTCP, name: tcpKeepintvl, initial: 75, min: 1, max: 32767},
	{level: SolTCP, name: tcpKeepcnt, initial: 9, min: 1, max: 127},
	{level: SolTCP, name: tcpSyncnt, initial: 6, min: 1, max: 127},
	{level: SolTCP, name: tcpThinLinear, max: 1},
	{level: SolTCP, name: tcpUserTimeout, max: math.MaxInt32},
	{level: SolTCP, name: tcpNotsentLowat, min: math.MinInt32, max: math.MaxInt32},
	{level: SolTCP, name: TCPSaveSyn, max: 2},
	{level: SolTCP, name: TCPBPFIW, min: 1, max: math.MaxInt32, setOnly: true},
	{level: SolTCP, name: TCPBPFCwndClamp, min: 1, max: math.MaxInt32, setOnly: true},
	{level: SolTCP, name: tcpBPFCbFlags, max: AllOpsFlags, at: func(s *Socket) *uint32 { return &s.OpsFlags }},
}

// congestion controls there are. Nothing here is controlled by them, unless [Socket.Control] says otherwise.
var congestion = []string{"cubic", "reno", "bbr"}

type optionKey struct{ level, name int32 }

// row finds the row of an option that the socket has.
func (s *Socket) row(level, name int32) *optionRow {
	if !s.Full() || level == SolTCP && s.Protocol != TCP || level == SolIP && s.Family == AFUnix || level == SolIPv6 && s.Family != AFInet6 {
		return nil
	}
	for i := range options {
		if r := &options[i]; r.level == level && r.name == name {
			return r
		}
	}
	return nil
}

// SetOption sets an option as programs do by bpf_setsockopt: EINVAL for what they cannot set.
func (s *Socket) SetOption(level, name int32, value []byte) errno.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	if level == SolTCP && name == tcpCongestion && s.Protocol == TCP && s.Full() {
		return s.setCongestion(value)
	}
	r := s.row(level, name)
	if r == nil || len(value) != 4 {
		return errno.EINVAL
	}
	v := int32(le32(value))
	switch {
	case r.zero && v == 0:
		delete(s.options, optionKey{level, name})
		return 0
	case v < r.min, v > r.max:
		return errno.EINVAL
	}
	if r.keep != nil {
		v = r.keep(v)
	}
	if (level == SolIP || level == SolIPv6) && s.Type == Stream { // of which the congestion's bits are TCP's
		v = v&^ecnMask | s.options[optionKey{level, name}]&ecnMask
	}
	switch t := s.TCPInfo(); name {
	case TCPBPFIW:
		if t.DataSegsOut > 0 {
			return errno.EINVAL
		}
		t.SndCwnd = uint32(v)
		return 0
	case TCPBPFCwndClamp:
		t.SndSsthresh = uint32(v)
		return 0
	}
	if r.at != nil {
		*r.at(s) = uint32(v)
		return 0
	}
	if s.options == nil {
		s.options = map[optionKey]int32{}
	}
	s.options[optionKey{level, name}] = v
	return 0
}

// SetControl names the congestion control that the socket is under.
func (s *Socket) SetControl(name string) {
	s.mu.Lock()
	s.congestion = name
	s.mu.Unlock()
}

// minCongestion is the shortest name, with its end.
const minCongestion = 2

func (s *Socket) setCongestion(value []byte) errno.Errno {
	name, _, _ := bytes.Cut(value[:min(len(value), caName-1)], []byte{0})
	switch {
	case len(value) < minCongestion:
		return errno.EINVAL
	case string(name) == "cdg":
		return errno.ENOTSUPP
	case s.Control != nil:
		e := s.Control(string(name))
		if e == 0 {
			s.congestion = string(name)
		}
		return e
	}
	for _, known := range congestion {
		if string(name) == known {
			s.congestion = known
			return 0
		}
	}
	return errno.ENOENT
}

// Option reads an option as programs do by bpf_getsockopt; where there is less than there is room for, zeroes follow.
func (s *Socket) Option(level, name int32, value []byte) errno.Errno {
	clear(value)
	s.mu.Lock()
	defer s.mu.Unlock()
	if level == SolTCP && name == tcpCongestion && s.Protocol == TCP && s.Full() {
		if len(value) < minCongestion {
			return errno.EINVAL
		}
		known := s.congestion
		if known == "" && s.Control == nil {
			known = congestion[0]
		}
		copy(value[:len(value)-1], known)
		return 0
	}
	r := s.row(level, name)
	if r == nil || r.setOnly || len(value) != 4 {
		return errno.EINVAL
	}
	v, set := s.options[optionKey{level, name}]
	switch {
	case r.at != nil:
		v = int32(*r.at(s))
	case !set:
		v = r.initial
	}
	u := uint32(v)
	copy(value, []byte{byte(u), byte(u >> 8), byte(u >> 16), byte(u >> 24)})
	return 0
}
