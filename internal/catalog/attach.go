package catalog

// attachesProg is, by attach type, the type of the programs that PROG_ATTACH
// puts there (attach_type_to_prog_type); ProgUnspec where links alone attach.
var attachesProg = [...]ProgType{
	AttachCGroupInetIngress: ProgCGroupSKB, AttachCGroupInetEgress: ProgCGroupSKB,
	AttachCGroupInetSockCreate: ProgCGroupSock, AttachCGroupInetSockRelease: ProgCGroupSock,
	AttachCGroupInet4PostBind: ProgCGroupSock, AttachCGroupInet6PostBind: ProgCGroupSock,
	AttachCGroupInet4Bind: ProgCGroupSockAddr, AttachCGroupInet6Bind: ProgCGroupSockAddr,
	AttachCGroupInet4Connect: ProgCGroupSockAddr, AttachCGroupInet6Connect: ProgCGroupSockAddr,
	AttachCGroupInet4Getpeername: ProgCGroupSockAddr, AttachCGroupInet6Getpeername: ProgCGroupSockAddr,
	AttachCGroupInet4Getsockname: ProgCGroupSockAddr, AttachCGroupInet6Getsockname: ProgCGroupSockAddr,
	AttachCGroupUDP4Sendmsg: ProgCGroupSockAddr, AttachCGroupUDP6Sendmsg: ProgCGroupSockAddr,
	AttachCGroupUDP4Recvmsg: ProgCGroupSockAddr, AttachCGroupUDP6Recvmsg: ProgCGroupSockAddr,
	AttachCGroupUnixConnect: ProgCGroupSockAddr, AttachCGroupUnixSendmsg: ProgCGroupSockAddr,
	AttachCGroupUnixRecvmsg: ProgCGroupSockAddr, AttachCGroupUnixGetpeername: ProgCGroupSockAddr,
	AttachCGroupUnixGetsockname: ProgCGroupSockAddr,
	AttachCGroupSockOps:         ProgSockOps, AttachCGroupDevice: ProgCGroupDevice,
	AttachSkMsgVerdict:      ProgSkMsg,
	AttachSkSKBStreamParser: ProgSkSKB, AttachSkSKBStreamVerdict: ProgSkSKB, AttachSkSKBVerdict: ProgSkSKB,
	AttachLircMode2: ProgLircMode2, AttachFlowDissector: ProgFlowDissector,
	AttachCGroupSysctl: ProgCGroupSysctl, AttachCGroupGetsockopt: ProgCGroupSockopt, AttachCGroupSetsockopt: ProgCGroupSockopt,
	AttachTraceIter: ProgTracing, AttachTraceRawTp: ProgTracing, AttachTraceFEntry: ProgTracing,
	AttachTraceFExit: ProgTracing, AttachModifyReturn: ProgTracing,
	AttachLSMMAC: ProgLSM, AttachLSMCGroup: ProgLSM, AttachSkLookup: ProgSkLookup, AttachXDP: ProgXDP,
	AttachTCXIngress: ProgSchedCls, AttachTCXEgress: ProgSchedCls,
	AttachNetkitPrimary: ProgSchedCls, AttachNetkitPeer: ProgSchedCls,
}

// AttachesProg returns the type of the programs that PROG_ATTACH puts at a
// place, or ProgUnspec.
func AttachesProg(a AttachType) ProgType {
	if int64(a) >= int64(len(attachesProg)) {
		return ProgUnspec
	}
	return attachesProg[a]
}

// InCGroup reports whether programs of a type attach to control groups.
func (t ProgType) InCGroup() bool {
	switch t {
	case ProgCGroupSKB, ProgCGroupSock, ProgCGroupSockAddr, ProgSockOps, ProgCGroupDevice, ProgCGroupSysctl, ProgCGroupSockopt:
		return true
	}
	return false
}
