package catalog

const (
	attachSockLife  AttachSet = 1<<AttachCGroupInetSockCreate | 1<<AttachCGroupInetSockRelease
	attachPostBind4 AttachSet = 1 << AttachCGroupInet4PostBind
	attachPostBind6 AttachSet = 1 << AttachCGroupInet6PostBind
	attachAddr4     AttachSet = 1<<AttachCGroupInet4Bind | 1<<AttachCGroupInet4Connect |
		1<<AttachCGroupInet4Getpeername | 1<<AttachCGroupInet4Getsockname |
		1<<AttachCGroupUDP4Sendmsg | 1<<AttachCGroupUDP4Recvmsg
	attachAddr6 AttachSet = 1<<AttachCGroupInet6Bind | 1<<AttachCGroupInet6Connect |
		1<<AttachCGroupInet6Getpeername | 1<<AttachCGroupInet6Getsockname |
		1<<AttachCGroupUDP6Sendmsg | 1<<AttachCGroupUDP6Recvmsg
	// attachSockAddr holds all hooks of cgroup_sock_addr programs.
	attachSockAddr = attachAddr4 | attachAddr6 | 1<<AttachCGroupUnixConnect | 1<<AttachCGroupUnixSendmsg |
		1<<AttachCGroupUnixRecvmsg | 1<<AttachCGroupUnixGetpeername | 1<<AttachCGroupUnixGetsockname
)

// bpfSock is the context of cgroup_sock programs and what socket pointers point
// to (bpf_sock_is_valid_access, __sock_filter_check_attach_type).
var bpfSock = Context{
	Name: "bpf_sock", Size: 80,
	Fields: []Field{
		{Name: "bound_dev_if", Off: 0, Size: 4, Read: inCGroupSock, Write: inCGroupSock,
			ReadAt: attachSockLife, WriteAt: attachSockLife},
		{Name: "family", Off: 4, Size: 4, Read: inCGroupSock, Narrow: 1, Start: true},
		{Name: "type", Off: 8, Size: 4, Read: inCGroupSock, Narrow: 1, Start: true, NotCommon: true},
		{Name: "protocol", Off: 12, Size: 4, Read: inCGroupSock, Narrow: 1, Start: true, NotCommon: true},
		{Name: "mark", Off: 16, Size: 4, Read: inCGroupSock, Write: inCGroupSock,
			ReadAt: attachSockLife, WriteAt: attachSockLife, NotCommon: true},
		{Name: "priority", Off: 20, Size: 4, Read: inCGroupSock, Write: inCGroupSock,
			ReadAt: attachSockLife, WriteAt: attachSockLife, NotCommon: true},
		{Name: "src_ip4", Off: 24, Size: 4, Read: inCGroupSock, ReadAt: attachPostBind4, Narrow: 1},
		{Name: "src_ip6", Off: 28, Size: 16, Elem: 4, Read: inCGroupSock, ReadAt: attachPostBind6, Narrow: 1},
		{Name: "src_port", Off: 44, Size: 4, Read: inCGroupSock, ReadAt: attachPostBind4 | attachPostBind6,
			Narrow: 1, Start: true},
		{Name: "dst_port", Off: 48, Size: 2, Read: inCGroupSock, Narrow: 1, Pad4: true},
		{Name: "dst_ip4", Off: 52, Size: 4, Read: inCGroupSock, Narrow: 1},
		{Name: "dst_ip6", Off: 56, Size: 16, Elem: 4, Read: inCGroupSock, Narrow: 1},
		{Name: "state", Off: 72, Size: 4, Read: inCGroupSock, Narrow: 1, Start: true},
		{Name: "rx_queue_mapping", Off: 76, Size: 4, Read: inCGroupSock, Narrow: 1, Start: true},
	},
}

// bpfTCPSock is what bpf_tcp_sock's result points to (bpf_tcp_sock_is_valid_access).
var bpfTCPSock = Context{
	Name: "bpf_tcp_sock", Size: 112,
	Fields: []Field{
		{Name: "snd_cwnd", Off: 0, Size: 4},
		{Name: "srtt_us", Off: 4, Size: 4},
		{Name: "rtt_min", Off: 8, Size: 4},
		{Name: "snd_ssthresh", Off: 12, Size: 4},
		{Name: "rcv_nxt", Off: 16, Size: 4},
		{Name: "snd_nxt", Off: 20, Size: 4},
		{Name: "snd_una", Off: 24, Size: 4},
		{Name: "mss_cache", Off: 28, Size: 4},
		{Name: "ecn_flags", Off: 32, Size: 4},
		{Name: "rate_delivered", Off: 36, Size: 4},
		{Name: "rate_interval_us", Off: 40, Size: 4},
		{Name: "packets_out", Off: 44, Size: 4},
		{Name: "retrans_out", Off: 48, Size: 4},
		{Name: "total_retrans", Off: 52, Size: 4},
		{Name: "segs_in", Off: 56, Size: 4},
		{Name: "data_segs_in", Off: 60, Size: 4},
		{Name: "segs_out", Off: 64, Size: 4},
		{Name: "data_segs_out", Off: 68, Size: 4},
		{Name: "lost_out", Off: 72, Size: 4},
		{Name: "sacked_out", Off: 76, Size: 4},
		{Name: "bytes_received", Off: 80, Size: 8},
		{Name: "bytes_acked", Off: 88, Size: 8},
		{Name: "dsack_dups", Off: 96, Size: 4},
		{Name: "delivered", Off: 100, Size: 4},
		{Name: "delivered_ce", Off: 104, Size: 4},
		{Name: "icsk_retransmits", Off: 108, Size: 4},
	},
}

// bpfXDPSock is what a lookup in an xskmap points to (bpf_xdp_sock_is_valid_access).
var bpfXDPSock = Context{
	Name: "bpf_xdp_sock", Size: 4,
	Fields: []Field{{Name: "queue_id", Off: 0, Size: 4}},
}

// bpfSockAddr is the context of cgroup_sock_addr programs (sock_addr_is_valid_access).
var bpfSockAddr = Context{
	Name: "bpf_sock_addr", Size: 72,
	Fields: []Field{
		{Name: "user_family", Off: 0, Size: 4, Read: inCGroupSockAddr},
		{Name: "user_ip4", Off: 4, Size: 4, Read: inCGroupSockAddr, Write: inCGroupSockAddr,
			ReadAt: attachAddr4, WriteAt: attachAddr4, Narrow: 1},
		{Name: "user_ip6", Off: 8, Size: 16, Elem: 4, Read: inCGroupSockAddr, Write: inCGroupSockAddr,
			ReadAt: attachAddr6, WriteAt: attachAddr6, Narrow: 1, Wide: true},
		{Name: "user_port", Off: 24, Size: 4, Read: inCGroupSockAddr, Write: inCGroupSockAddr, Narrow: 1},
		{Name: "family", Off: 28, Size: 4, Read: inCGroupSockAddr},
		{Name: "type", Off: 32, Size: 4, Read: inCGroupSockAddr},
		{Name: "protocol", Off: 36, Size: 4, Read: inCGroupSockAddr},
		{Name: "msg_src_ip4", Off: 40, Size: 4, Read: inCGroupSockAddr, Write: inCGroupSockAddr,
			ReadAt: 1 << AttachCGroupUDP4Sendmsg, WriteAt: 1 << AttachCGroupUDP4Sendmsg, Narrow: 1},
		{Name: "msg_src_ip6", Off: 44, Size: 16, Elem: 4, Read: inCGroupSockAddr, Write: inCGroupSockAddr,
			ReadAt: 1 << AttachCGroupUDP6Sendmsg, WriteAt: 1 << AttachCGroupUDP6Sendmsg, Narrow: 1, Wide: true},
		{Name: "sk", Off: 64, Size: 8, Kind: FieldSock, Read: inCGroupSockAddr},
	},
}

// bpfSockOps is the context of sock_ops programs (sock_ops_is_valid_access).
var bpfSockOps = Context{
	Name: "bpf_sock_ops", Size: 224,
	Fields: []Field{
		{Name: "op", Off: 0, Size: 4, Read: inSockOps},
		{Name: "reply", Off: 4, Size: 4, Read: inSockOps, Write: inSockOps}, // also args[0], replylong[0]
		{Name: "args", Off: 8, Size: 12, Elem: 4, Read: inSockOps},          // args[1] to args[3]
		{Name: "family", Off: 20, Size: 4, Read: inSockOps},
		{Name: "remote_ip4", Off: 24, Size: 4, Read: inSockOps},
		{Name: "local_ip4", Off: 28, Size: 4, Read: inSockOps},
		{Name: "remote_ip6", Off: 32, Size: 16, Elem: 4, Read: inSockOps},
		{Name: "local_ip6", Off: 48, Size: 16, Elem: 4, Read: inSockOps},
		{Name: "remote_port", Off: 64, Size: 4, Read: inSockOps},
		{Name: "local_port", Off: 68, Size: 4, Read: inSockOps},
		{Name: "is_fullsock", Off: 72, Size: 4, Read: inSockOps},
		{Name: "snd_cwnd", Off: 76, Size: 4, Read: inSockOps},
		{Name: "srtt_us", Off: 80, Size: 4, Read: inSockOps},
		{Name: "bpf_sock_ops_cb_flags", Off: 84, Size: 4, Read: inSockOps},
		{Name: "state", Off: 88, Size: 4, Read: inSockOps},
		{Name: "rtt_min", Off: 92, Size: 4, Read: inSockOps},
		{Name: "snd_ssthresh", Off: 96, Size: 4, Read: inSockOps},
		{Name: "rcv_nxt", Off: 100, Size: 4, Read: inSockOps},
		{Name: "snd_nxt", Off: 104, Size: 4, Read: inSockOps},
		{Name: "snd_una", Off: 108, Size: 4, Read: inSockOps},
		{Name: "mss_cache", Off: 112, Size: 4, Read: inSockOps},
		{Name: "ecn_flags", Off: 116, Size: 4, Read: inSockOps},
		{Name: "rate_delivered", Off: 120, Size: 4, Read: inSockOps},
		{Name: "rate_interval_us", Off: 124, Size: 4, Read: inSockOps},
		{Name: "packets_out", Off: 128, Size: 4, Read: inSockOps},
		{Name: "retrans_out", Off: 132, Size: 4, Read: inSockOps},
		{Name: "total_retrans", Off: 136, Size: 4, Read: inSockOps},
		{Name: "segs_in", Off: 140, Size: 4, Read: inSockOps},
		{Name: "data_segs_in", Off: 144, Size: 4, Read: inSockOps},
		{Name: "segs_out", Off: 148, Size: 4, Read: inSockOps},
		{Name: "data_segs_out", Off: 152, Size: 4, Read: inSockOps},
		{Name: "lost_out", Off: 156, Size: 4, Read: inSockOps},
		{Name: "sacked_out", Off: 160, Size: 4, Read: inSockOps},
		{Name: "sk_txhash", Off: 164, Size: 4, Read: inSockOps, Write: inSockOps},
		{Name: "bytes_received", Off: 168, Size: 8, Read: inSockOps},
		{Name: "bytes_acked", Off: 176, Size: 8, Read: inSockOps},
		{Name: "sk", Off: 184, Size: 8, Kind: FieldSock, MaybeNull: true, Read: inSockOps},
		{Name: "skb_data", Off: 192, Size: 8, Kind: FieldPkt, Read: inSockOps},
		{Name: "skb_data_end", Off: 200, Size: 8, Kind: FieldPktEnd, Read: inSockOps},
		{Name: "skb_len", Off: 208, Size: 4, Read: inSockOps},
		{Name: "skb_tcp_flags", Off: 212, Size: 4, Read: inSockOps, Narrow: 1, Start: true},
		{Name: "skb_hwtstamp", Off: 216, Size: 8, Read: inSockOps},
	},
}

// skMsgMD is the context of sk_msg programs (sk_msg_is_valid_access).
var skMsgMD = Context{
	Name: "sk_msg_md", Size: 80,
	Fields: []Field{
		{Name: "data", Off: 0, Size: 8, Kind: FieldPkt, Read: inSkMsg},
		{Name: "data_end", Off: 8, Size: 8, Kind: FieldPktEnd, Read: inSkMsg},
		{Name: "family", Off: 16, Size: 4, Read: inSkMsg},
		{Name: "remote_ip4", Off: 20, Size: 4, Read: inSkMsg},
		{Name: "local_ip4", Off: 24, Size: 4, Read: inSkMsg},
		{Name: "remote_ip6", Off: 28, Size: 16, Elem: 4, Read: inSkMsg},
		{Name: "local_ip6", Off: 44, Size: 16, Elem: 4, Read: inSkMsg},
		{Name: "remote_port", Off: 60, Size: 4, Read: inSkMsg},
		{Name: "local_port", Off: 64, Size: 4, Read: inSkMsg},
		{Name: "size", Off: 68, Size: 4, Read: inSkMsg},
		{Name: "sk", Off: 72, Size: 8, Kind: FieldSock, Read: inSkMsg},
	},
}

// skReuseportMD is the context of sk_reuseport programs (sk_reuseport_is_valid_access).
var skReuseportMD = Context{
	Name: "sk_reuseport_md", Size: 56,
	Fields: []Field{
		{Name: "data", Off: 0, Size: 8, Kind: FieldPkt, Read: inSkReuseport},
		{Name: "data_end", Off: 8, Size: 8, Kind: FieldPktEnd, Read: inSkReuseport},
		{Name: "len", Off: 16, Size: 4, Read: inSkReuseport, Narrow: 1},
		{Name: "eth_protocol", Off: 20, Size: 4, Read: inSkReuseport, Narrow: 2},
		{Name: "ip_protocol", Off: 24, Size: 4, Read: inSkReuseport, Narrow: 1},
		{Name: "bind_inany", Off: 28, Size: 4, Read: inSkReuseport, Narrow: 1},
		{Name: "hash", Off: 32, Size: 4, Read: inSkReuseport},
		{Name: "sk", Off: 40, Size: 8, Kind: FieldSock, Read: inSkReuseport},
		{Name: "migrating_sk", Off: 48, Size: 8, Kind: FieldSockCommon, MaybeNull: true, Read: inSkReuseport},
	},
}

// bpfSkLookup is the context of sk_lookup programs (sk_lookup_is_valid_access).
var bpfSkLookup = Context{
	Name: "bpf_sk_lookup", Size: 72,
	Fields: []Field{
		{Name: "sk", Off: 0, Size: 8, Kind: FieldSock, MaybeNull: true, Read: inSkLookup},
		{Name: "family", Off: 8, Size: 4, Read: inSkLookup, Narrow: 1},
		{Name: "protocol", Off: 12, Size: 4, Read: inSkLookup, Narrow: 1},
		{Name: "remote_ip4", Off: 16, Size: 4, Read: inSkLookup, Narrow: 1},
		{Name: "remote_ip6", Off: 20, Size: 16, Elem: 4, Read: inSkLookup, Narrow: 1},
		{Name: "remote_port", Off: 36, Size: 2, Read: inSkLookup, Narrow: 1, Pad4: true},
		{Name: "padding", Off: 38, Size: 2, Read: inSkLookup, Narrow: 1, Conv: ConvConst0},
		{Name: "local_ip4", Off: 40, Size: 4, Read: inSkLookup, Narrow: 1},
		{Name: "local_ip6", Off: 44, Size: 16, Elem: 4, Read: inSkLookup, Narrow: 1},
		{Name: "local_port", Off: 60, Size: 4, Read: inSkLookup, Narrow: 1},
		{Name: "ingress_ifindex", Off: 64, Size: 4, Read: inSkLookup, Narrow: 1},
	},
}
