package image

import (
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
)

// sectionRow says what programs in sections of a name are. A name that ends in
// "+" may be followed by "/" and what to attach to.
type sectionRow struct {
	name   string
	typ    catalog.ProgType
	attach catalog.AttachType
	flags  uint32
}

// Load flags that section names stand for (uapi).
const (
	flagSleepable = 1 << 4 // BPF_F_SLEEPABLE
	flagXDPFrags  = 1 << 5 // BPF_F_XDP_HAS_FRAGS
)

var sectionRows = []sectionRow{
	{"socket", catalog.ProgSocketFilter, 0, 0},
	{"sk_reuseport/migrate", catalog.ProgSkReuseport, catalog.AttachSkReuseportSelectOrMigrate, 0},
	{"sk_reuseport", catalog.ProgSkReuseport, catalog.AttachSkReuseportSelect, 0},
	{"kprobe+", catalog.ProgKprobe, 0, 0},
	{"uprobe+", catalog.ProgKprobe, 0, 0},
	{"uprobe.s+", catalog.ProgKprobe, 0, flagSleepable},
	{"kretprobe+", catalog.ProgKprobe, 0, 0},
	{"uretprobe+", catalog.ProgKprobe, 0, 0},
	{"uretprobe.s+", catalog.ProgKprobe, 0, flagSleepable},
	{"kprobe.multi+", catalog.ProgKprobe, catalog.AttachTraceKprobeMulti, 0},
	{"kretprobe.multi+", catalog.ProgKprobe, catalog.AttachTraceKprobeMulti, 0},
	{"kprobe.session+", catalog.ProgKprobe, catalog.AttachTraceKprobeSession, 0},
	{"uprobe.multi+", catalog.ProgKprobe, catalog.AttachTraceUprobeMulti, 0},
	{"uretprobe.multi+", catalog.ProgKprobe, catalog.AttachTraceUprobeMulti, 0},
	{"uprobe.multi.s+", catalog.ProgKprobe, catalog.AttachTraceUprobeMulti, flagSleepable},
	{"uretprobe.multi.s+", catalog.ProgKprobe, catalog.AttachTraceUprobeMulti, flagSleepable},
	{"ksyscall+", catalog.ProgKprobe, 0, 0},
	{"kretsyscall+", catalog.ProgKprobe, 0, 0},
	{"usdt+", catalog.ProgKprobe, 0, 0},
	{"usdt.s+", catalog.ProgKprobe, 0, flagSleepable},
	{"tc/ingress", catalog.ProgSchedCls, catalog.AttachTCXIngress, 0},
	{"tc/egress", catalog.ProgSchedCls, catalog.AttachTCXEgress, 0},
	{"tcx/ingress", catalog.ProgSchedCls, catalog.AttachTCXIngress, 0},
	{"tcx/egress", catalog.ProgSchedCls, catalog.AttachTCXEgress, 0},
	{"tc", catalog.ProgSchedCls, 0, 0},
	{"classifier", catalog.ProgSchedCls, 0, 0},
	{"action", catalog.ProgSchedAct, 0, 0},
	{"netkit/primary", catalog.ProgSchedCls, catalog.AttachNetkitPrimary, 0},
	{"netkit/peer", catalog.ProgSchedCls, catalog.AttachNetkitPeer, 0},
	{"tracepoint+", catalog.ProgTracepoint, 0, 0},
	{"tp+", catalog.ProgTracepoint, 0, 0},
	{"raw_tracepoint+", catalog.ProgRawTracepoint, 0, 0},
	{"raw_tp+", catalog.ProgRawTracepoint, 0, 0},
	{"raw_tracepoint.w+", catalog.ProgRawTracepointWritable, 0, 0},
	{"raw_tp.w+", catalog.ProgRawTracepointWritable, 0, 0},
	{"tp_btf+", catalog.ProgTracing, catalog.AttachTraceRawTp, 0},
	{"fentry+", catalog.ProgTracing, catalog.AttachTraceFEntry, 0},
	{"fmod_ret+", catalog.ProgTracing, catalog.AttachModifyReturn, 0},
	{"fexit+", catalog.ProgTracing, catalog.AttachTraceFExit, 0},
	{"fentry.s+", catalog.ProgTracing, catalog.AttachTraceFEntry, flagSleepable},
	{"fmod_ret.s+", catalog.ProgTracing, catalog.AttachModifyReturn, flagSleepable},
	{"fexit.s+", catalog.ProgTracing, catalog.AttachTraceFExit, flagSleepable},
	{"freplace+", catalog.ProgExt, 0, 0},
	{"lsm+", catalog.ProgLSM, catalog.AttachLSMMAC, 0},
	{"lsm.s+", catalog.ProgLSM, catalog.AttachLSMMAC, flagSleepable},
	{"lsm_cgroup+", catalog.ProgLSM, catalog.AttachLSMCGroup, 0},
	{"iter+", catalog.ProgTracing, catalog.AttachTraceIter, 0},
	{"iter.s+", catalog.ProgTracing, catalog.AttachTraceIter, flagSleepable},
	{"syscall", catalog.ProgSyscall, 0, flagSleepable},
	{"xdp.frags/devmap", catalog.ProgXDP, catalog.AttachXDPDevMap, flagXDPFrags},
	{"xdp/devmap", catalog.ProgXDP, catalog.AttachXDPDevMap, 0},
	{"xdp.frags/cpumap", catalog.ProgXDP, catalog.AttachXDPCPUMap, flagXDPFrags},
	{"xdp/cpumap", catalog.ProgXDP, catalog.AttachXDPCPUMap, 0},
	{"xdp.frags", catalog.ProgXDP, catalog.AttachXDP, flagXDPFrags},
	{"xdp", catalog.ProgXDP, catalog.AttachXDP, 0},
	{"perf_event", catalog.ProgPerfEvent, 0, 0},
	{"lwt_in", catalog.ProgLWTIn, 0, 0},
	{"lwt_out", catalog.ProgLWTOut, 0, 0},
	{"lwt_xmit", catalog.ProgLWTXmit, 0, 0},
	{"lwt_seg6local", catalog.ProgLWTSeg6Local, 0, 0},
	{"sockops", catalog.ProgSockOps, catalog.AttachCGroupSockOps, 0},
	{"sk_skb/stream_parser", catalog.ProgSkSKB, catalog.AttachSkSKBStreamParser, 0},
	{"sk_skb/stream_verdict", catalog.ProgSkSKB, catalog.AttachSkSKBStreamVerdict, 0},
	{"sk_skb/verdict", catalog.ProgSkSKB, catalog.AttachSkSKBVerdict, 0},
	{"sk_skb", catalog.ProgSkSKB, 0, 0},
	{"sk_msg", catalog.ProgSkMsg, catalog.AttachSkMsgVerdict, 0},
	{"lirc_mode2", catalog.ProgLircMode2, catalog.AttachLircMode2, 0},
	{"flow_dissector", catalog.ProgFlowDissector, catalog.AttachFlowDissector, 0},
	{"cgroup_skb/ingress", catalog.ProgCGroupSKB, catalog.AttachCGroupInetIngress, 0},
	{"cgroup_skb/egress", catalog.ProgCGroupSKB, catalog.AttachCGroupInetEgress, 0},
	{"cgroup/skb", catalog.ProgCGroupSKB, 0, 0},
	{"cgroup/sock_create", catalog.ProgCGroupSock, catalog.AttachCGroupInetSockCreate, 0},
	{"cgroup/sock_release", catalog.ProgCGroupSock, catalog.AttachCGroupInetSockRelease, 0},
	{"cgroup/sock", catalog.ProgCGroupSock, catalog.AttachCGroupInetSockCreate, 0},
	{"cgroup/post_bind4", catalog.ProgCGroupSock, catalog.AttachCGroupInet4PostBind, 0},
	{"cgroup/post_bind6", catalog.ProgCGroupSock, catalog.AttachCGroupInet6PostBind, 0},
	{"cgroup/bind4", catalog.ProgCGroupSockAddr, catalog.AttachCGroupInet4Bind, 0},
	{"cgroup/bind6", catalog.ProgCGroupSockAddr, catalog.AttachCGroupInet6Bind, 0},
	{"cgroup/connect4", catalog.ProgCGroupSockAddr, catalog.AttachCGroupInet4Connect, 0},
	{"cgroup/connect6", catalog.ProgCGroupSockAddr, catalog.AttachCGroupInet6Connect, 0},
	{"cgroup/connect_unix", catalog.ProgCGroupSockAddr, catalog.AttachCGroupUnixConnect, 0},
	{"cgroup/sendmsg4", catalog.ProgCGroupSockAddr, catalog.AttachCGroupUDP4Sendmsg, 0},
	{"cgroup/sendmsg6", catalog.ProgCGroupSockAddr, catalog.AttachCGroupUDP6Sendmsg, 0},
	{"cgroup/sendmsg_unix", catalog.ProgCGroupSockAddr, catalog.AttachCGroupUnixSendmsg, 0},
	{"cgroup/recvmsg4", catalog.ProgCGroupSockAddr, catalog.AttachCGroupUDP4Recvmsg, 0},
	{"cgroup/recvmsg6", catalog.ProgCGroupSockAddr, catalog.AttachCGroupUDP6Recvmsg, 0},
	{"cgroup/recvmsg_unix", catalog.ProgCGroupSockAddr, catalog.AttachCGroupUnixRecvmsg, 0},
	{"cgroup/getpeername4", catalog.ProgCGroupSockAddr, catalog.AttachCGroupInet4Getpeername, 0},
	{"cgroup/getpeername6", catalog.ProgCGroupSockAddr, catalog.AttachCGroupInet6Getpeername, 0},
	{"cgroup/getpeername_unix", catalog.ProgCGroupSockAddr, catalog.AttachCGroupUnixGetpeername, 0},
	{"cgroup/getsockname4", catalog.ProgCGroupSockAddr, catalog.AttachCGroupInet4Getsockname, 0},
	{"cgroup/getsockname6", catalog.ProgCGroupSockAddr, catalog.AttachCGroupInet6Getsockname, 0},
	{"cgroup/getsockname_unix", catalog.ProgCGroupSockAddr, catalog.AttachCGroupUnixGetsockname, 0},
	{"cgroup/sysctl", catalog.ProgCGroupSysctl, catalog.AttachCGroupSysctl, 0},
	{"cgroup/getsockopt", catalog.ProgCGroupSockopt, catalog.AttachCGroupGetsockopt, 0},
	{"cgroup/setsockopt", catalog.ProgCGroupSockopt, catalog.AttachCGroupSetsockopt, 0},
	{"cgroup/dev", catalog.ProgCGroupDevice, catalog.AttachCGroupDevice, 0},
	{"struct_ops+", catalog.ProgStructOps, 0, 0},
	{"struct_ops.s+", catalog.ProgStructOps, 0, flagSleepable},
	{"sk_lookup", catalog.ProgSkLookup, catalog.AttachSkLookup, 0},
	{"netfilter", catalog.ProgNetfilter, catalog.AttachNetfilter, 0},
	{"uprobe.session+", catalog.ProgKprobe, catalog.AttachTraceUprobeSession, 0},
	{"uprobe.session.s+", catalog.ProgKprobe, catalog.AttachTraceUprobeSession, flagSleepable},
}

// classify derives what a program is from its section's name, by libbpf's rules
// and, where those know no such name, by those of its time before 1.0, when a
// prefix was enough ("xdp_drop", "tc/main").
func (p *Program) classify() {
	best, bestLen := -1, 0
	for i, row := range sectionRows {
		name, open := strings.CutSuffix(row.name, "+")
		rest, ok := strings.CutPrefix(p.Section, name)
		if !ok {
			continue
		}
		if rest == "" || open && rest[0] == '/' {
			best = i
			p.AttachTo = strings.TrimPrefix(rest, "/")
			break
		}
		if len(name) > bestLen {
			best, bestLen = i, len(name)
		}
	}
	if best >= 0 {
		row := sectionRows[best]
		p.Type, p.Attach, p.Flags = row.typ, row.attach, row.flags
	}
}
