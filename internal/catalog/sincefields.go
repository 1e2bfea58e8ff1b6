package catalog

import (
	"maps"
	"slices"
)

// fieldTable says since when a context's fields are there: since the first
// release, but for those named.
type fieldTable struct {
	first Since
	later []fieldRow
}

// fieldRow is a group of fields that came together.
type fieldRow struct {
	fields []string
	progs  ProgSet // 0: all that may access them
	since  Since
}

// fieldTables lists the contexts with a table, in order.
var fieldTables = slices.Sorted(maps.Keys(fieldSince))

// fieldSince has the tables by the name of the context.
var fieldSince = map[string]fieldTable{
	"__sk_buff": {Since{"4.1", "9bac3d6d548e"}, []fieldRow{
		{[]string{"ingress_ifindex", "ifindex"}, 0, Since{"4.2", "37e82c2f974b"}},
		{[]string{"tc_index", "cb"}, 0, Since{"4.2", "d691f9e8d440"}},
		{[]string{"hash"}, 0, Since{"4.3", "ba7591d8b28b"}},
		{[]string{"tc_classid"}, 0, Since{"4.4", "045efa82ff56"}},
		{[]string{"data", "data_end"}, 0, Since{"4.7", "969bf05eb3ce"}},
		{[]string{"data", "data_end"}, inCGroupSKB, Since{"5.0", "b39b5f411dcf"}},
		{[]string{"napi_id"}, 0, Since{"4.12", "b1d9fc41aab1"}},
		{[]string{"family", "remote_ip4", "local_ip4", "remote_ip6", "local_ip6", "remote_port", "local_port"}, 0,
			Since{"4.14", "8a31db561566"}},
		{[]string{"data_meta"}, 0, Since{"4.15", "de8f3a83b0a0"}},
		{[]string{"flow_keys"}, 0, Since{"4.20", "d58e468b1112"}},
		{[]string{"tstamp"}, 0, Since{"5.0", "f11216b24219"}},
		{[]string{"wire_len"}, 0, Since{"5.0", "e3da08d05700"}},
		{[]string{"gso_segs"}, 0, Since{"5.1", "d9ff286a0f59"}},
		{[]string{"sk"}, 0, Since{"5.1", "46f8bc92758c"}},
		{[]string{"gso_size"}, 0, Since{"5.7", "cf62089b0edd"}},
		{[]string{"hwtstamp"}, 0, Since{"5.16", "f64c4acea51f"}},
		{[]string{"tstamp_type"}, 0, Since{"5.18", "9bb984f28d5b"}},
	}},
	"xdp_md": {Since{"4.8", "6a773a15a1e8"}, []fieldRow{
		{[]string{"data_meta"}, 0, Since{"4.15", "de8f3a83b0a0"}},
		{[]string{"ingress_ifindex", "rx_queue_index"}, 0, Since{"4.16", "02dd3291b2f0"}},
		{[]string{"egress_ifindex"}, 0, Since{"5.8", "64b59025c15b"}},
	}},
	"bpf_sock": {Since{"4.10", "aa4c1037a30f"}, []fieldRow{
		{[]string{"mark", "priority"}, 0, Since{"4.14", "482dca939fb7"}},
		{[]string{"src_ip4", "src_ip6", "src_port", "dst_port", "dst_ip4", "dst_ip6", "state"}, 0, Since{"5.1", "aa65d6960a98"}},
		{[]string{"rx_queue_mapping"}, 0, Since{"5.8", "c3c16f2ea6d2"}},
	}},
	"bpf_tcp_sock": {Since{"5.1", "655a51e536c0"}, []fieldRow{
		{[]string{"dsack_dups", "delivered", "delivered_ce", "icsk_retransmits"}, 0, Since{"5.3", ""}},
	}},
	"bpf_xdp_sock": {Since{"5.3", ""}, nil},
	"bpf_sock_addr": {Since{"4.17", "4fbac77d2d09"}, []fieldRow{
		{[]string{"msg_src_ip4", "msg_src_ip6"}, 0, Since{"4.18", "1cedee13d25a"}},
		{[]string{"sk"}, 0, Since{"5.3", "fb85c4a730af"}},
	}},
	"bpf_sock_ops": {Since{"4.13", "40304b2a1567"}, []fieldRow{
		{[]string{"is_fullsock", "snd_cwnd", "srtt_us"}, 0, Since{"4.16", "f19397a5c656"}},
		{[]string{"bpf_sock_ops_cb_flags"}, 0, Since{"4.16", "b13d88072172"}},
		{[]string{"args"}, 0, Since{"4.16", "de525be2ca27"}},
		{[]string{"state", "rtt_min", "snd_ssthresh", "rcv_nxt", "snd_nxt", "snd_una", "mss_cache", "ecn_flags",
			"rate_delivered", "rate_interval_us", "packets_out", "retrans_out", "total_retrans", "segs_in", "data_segs_in",
			"segs_out", "data_segs_out", "lost_out", "sacked_out", "sk_txhash", "bytes_received", "bytes_acked"}, 0,
			Since{"4.16", "44f0e43037d3"}},
		{[]string{"sk"}, 0, Since{"5.3", "1314ef561102"}},
		{[]string{"skb_data", "skb_data_end", "skb_len", "skb_tcp_flags"}, 0, Since{"5.10", "0813a841566f"}},
		{[]string{"skb_hwtstamp"}, 0, Since{"6.2", "9bb053490f1a"}},
	}},
	"sk_msg_md": {Since{"4.17", "4f738adba30a"}, []fieldRow{
		{[]string{"family", "remote_ip4", "local_ip4", "remote_ip6", "local_ip6", "remote_port", "local_port"}, 0,
			Since{"4.18", "303def35f64e"}},
		{[]string{"size"}, 0, Since{"5.0", "3bdbd0228e75"}},
		{[]string{"sk"}, 0, Since{"5.8", ""}},
	}},
	"sk_reuseport_md": {Since{"4.19", "2dbb9b9e6df6"}, []fieldRow{
		{[]string{"sk", "migrating_sk"}, 0, Since{"5.14", "e061047684af"}},
	}},
	"bpf_sk_lookup": {Since{"5.9", "e9ddbb7707ff"}, []fieldRow{
		{[]string{"ingress_ifindex"}, 0, Since{"5.17", "f89315650ba3"}},
	}},
	"bpf_sysctl":              {Since{"5.2", "7b146cebe30c"}, nil},
	"bpf_sockopt":             {Since{"5.3", "0d01da6afc54"}, nil},
	"bpf_cgroup_dev_ctx":      {Since{"4.15", "ebc614f68736"}, nil},
	"pt_regs":                 {Since{"4.1", "2541517c32be"}, nil},
	"trace_entry":             {Since{"4.7", "98b5c2c65c29"}, nil},
	"bpf_raw_tracepoint_args": {Since{"4.17", "c4f6699dfcb8"}, nil},
	"bpf_perf_event_data": {Since{"4.9", "0515e5999a46"}, []fieldRow{
		{[]string{"addr"}, 0, Since{"4.16", ""}},
	}},
	"void":         {Since{"5.14", "79a7f8bdb159"}, nil},
	"bpf_nf_ctx":   {Since{"6.4", "84601d6ee68a"}, nil},
	"unsigned int": {Since{"4.18", "f4364dcfc86d"}, nil},
}
