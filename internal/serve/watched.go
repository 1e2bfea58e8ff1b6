//go:build linux && (amd64 || arm64)

package serve

import (
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/bpfsys"
)

// watch is one system call that goes to the session.
type watch struct {
	nr uint32
	on []condition // all must hold; nil: always
	do func(*client, *notif) answer
}

// condition is one on the low word of an argument: that it is a value, or at least that.
type condition struct {
	arg, value uint32
	least      bool
}

// answer is how a call ends: with a value or an error, or as the kernel answers it.
type answer struct {
	pass bool
	val  int64
	err  unix.Errno
}

var pass = answer{pass: true}

func failed(e unix.Errno) answer { return answer{err: e} }

// Options of setsockopt that take a program by its descriptor.
const (
	soAttachBPF          = 50
	soAttachReuseportBPF = 52
)

// watched are the system calls that the filter picks.
var watched []watch

func init() { // the functions refer to the rows
	watched = append([]watch{
		{nr: unix.SYS_BPF, do: (*client).bpf},
		{nr: unix.SYS_EPOLL_CTL, do: (*client).epollCtl},
		{nr: unix.SYS_OPENAT, do: (*client).openat},
		{nr: unix.SYS_READLINKAT, do: func(c *client, n *notif) answer { return c.readlink(n, 1) }},
		{nr: unix.SYS_CAPGET, do: (*client).capget},
		{nr: unix.SYS_CAPSET, do: (*client).capset},
		{nr: unix.SYS_SETSOCKOPT, on: []condition{{arg: 1, value: unix.SOL_SOCKET}, {arg: 2, value: soAttachBPF}}, do: (*client).setsockopt},
		{nr: unix.SYS_SETSOCKOPT, on: []condition{{arg: 1, value: unix.SOL_NETLINK}, {arg: 2, value: unix.NETLINK_EXT_ACK}}, do: (*client).setsockopt},
		{nr: unix.SYS_SETSOCKOPT, on: []condition{{arg: 1, value: unix.SOL_SOCKET}, {arg: 2, value: unix.SO_SNDTIMEO}}, do: (*client).setsockopt},
		{nr: unix.SYS_SETSOCKOPT, on: []condition{{arg: 1, value: unix.SOL_SOCKET}, {arg: 2, value: soAttachReuseportBPF}}, do: (*client).setsockopt},
		{nr: unix.SYS_PERF_EVENT_OPEN, do: (*client).perfEventOpen},
		{nr: unix.SYS_MMAP, on: []condition{{arg: 3, value: unix.MAP_SHARED}}, do: (*client).mmap},
	}, olderCalls...)
	for _, req := range []uint32{bpfsys.PerfEnable, bpfsys.PerfDisable, bpfsys.PerfReset, bpfsys.PerfSetBPF, bpfsys.PerfPauseOutput, bpfsys.PerfQueryBPF} {
		watched = append(watched, watch{nr: unix.SYS_IOCTL, on: []condition{{arg: 1, value: req}}, do: (*client).perfIoctl})
	}
	watched = append(watched, xskCalls()...)
	for _, row := range pathRows {
		watched = append(watched, watch{nr: row.nr, do: func(c *client, n *notif) answer { return c.pathCall(&row, n) }})
	}
}
