package catalog

// attachNames holds the names of the attach types as libbpf and bpftool print
// them: the uapi's without BPF_, in lower case.
var attachNames = [...]string{
	AttachCGroupInetIngress:          "cgroup_inet_ingress",
	AttachCGroupInetEgress:           "cgroup_inet_egress",
	AttachCGroupInetSockCreate:       "cgroup_inet_sock_create",
	AttachCGroupSockOps:              "cgroup_sock_ops",
	AttachSkSKBStreamParser:          "sk_skb_stream_parser",
	AttachSkSKBStreamVerdict:         "sk_skb_stream_verdict",
	AttachCGroupDevice:               "cgroup_device",
	AttachSkMsgVerdict:               "sk_msg_verdict",
	AttachCGroupInet4Bind:            "cgroup_inet4_bind",
	AttachCGroupInet6Bind:            "cgroup_inet6_bind",
	AttachCGroupInet4Connect:         "cgroup_inet4_connect",
	AttachCGroupInet6Connect:         "cgroup_inet6_connect",
	AttachCGroupInet4PostBind:        "cgroup_inet4_post_bind",
	AttachCGroupInet6PostBind:        "cgroup_inet6_post_bind",
	AttachCGroupUDP4Sendmsg:          "cgroup_udp4_sendmsg",
	AttachCGroupUDP6Sendmsg:          "cgroup_udp6_sendmsg",
	AttachLircMode2:                  "lirc_mode2",
	AttachFlowDissector:              "flow_dissector",
	AttachCGroupSysctl:               "cgroup_sysctl",
	AttachCGroupUDP4Recvmsg:          "cgroup_udp4_recvmsg",
	AttachCGroupUDP6Recvmsg:          "cgroup_udp6_recvmsg",
	AttachCGroupGetsockopt:           "cgroup_getsockopt",
	AttachCGroupSetsockopt:           "cgroup_setsockopt",
	AttachTraceRawTp:                 "trace_raw_tp",
	AttachTraceFEntry:                "trace_fentry",
	AttachTraceFExit:                 "trace_fexit",
	AttachModifyReturn:               "modify_return",
	AttachLSMMAC:                     "lsm_mac",
	AttachTraceIter:                  "trace_iter",
	AttachCGroupInet4Getpeername:     "cgroup_inet4_getpeername",
	AttachCGroupInet6Getpeername:     "cgroup_inet6_getpeername",
	AttachCGroupInet4Getsockname:     "cgroup_inet4_getsockname",
	AttachCGroupInet6Getsockname:     "cgroup_inet6_getsockname",
	AttachXDPDevMap:                  "xdp_devmap",
	AttachCGroupInetSockRelease:      "cgroup_inet_sock_release",
	AttachXDPCPUMap:                  "xdp_cpumap",
	AttachSkLookup:                   "sk_lookup",
	AttachXDP:                        "xdp",
	AttachSkSKBVerdict:               "sk_skb_verdict",
	AttachSkReuseportSelect:          "sk_reuseport_select",
	AttachSkReuseportSelectOrMigrate: "sk_reuseport_select_or_migrate",
	AttachPerfEvent:                  "perf_event",
	AttachTraceKprobeMulti:           "trace_kprobe_multi",
	AttachLSMCGroup:                  "lsm_cgroup",
	AttachStructOps:                  "struct_ops",
	AttachNetfilter:                  "netfilter",
	AttachTCXIngress:                 "tcx_ingress",
	AttachTCXEgress:                  "tcx_egress",
	AttachTraceUprobeMulti:           "trace_uprobe_multi",
	AttachCGroupUnixConnect:          "cgroup_unix_connect",
	AttachCGroupUnixSendmsg:          "cgroup_unix_sendmsg",
	AttachCGroupUnixRecvmsg:          "cgroup_unix_recvmsg",
	AttachCGroupUnixGetpeername:      "cgroup_unix_getpeername",
	AttachCGroupUnixGetsockname:      "cgroup_unix_getsockname",
	AttachNetkitPrimary:              "netkit_primary",
	AttachNetkitPeer:                 "netkit_peer",
	AttachTraceKprobeSession:         "trace_kprobe_session",
	AttachTraceUprobeSession:         "trace_uprobe_session",
}

// String returns the attach type's name as bpftool prints it, or "unknown".
func (t AttachType) String() string {
	if int64(t) < int64(len(attachNames)) {
		return attachNames[t]
	}
	return "unknown"
}
