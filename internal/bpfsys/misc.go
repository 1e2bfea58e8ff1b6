package bpfsys

import (
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/run"
)

// statsFile measures run times as long as it is open.
type statsFile struct{ s *System }

// Acquire is not for files of this kind: nothing shares them but descriptors.
func (f *statsFile) Acquire() { f.s.countTime(1) }

// Close ends the measurement.
func (f *statsFile) Close() { f.s.countTime(-1) }

func (s *System) countTime(n int32) { s.m.CountTime(s.stats.Add(n) > 0) }

// enableStats follows bpf_enable_stats.
func (c *call) enableStats() (int32, errno.Errno) {
	if !c.who.can(CapSysAdmin) {
		return 0, errno.EPERM
	}
	if as[enableStats](&c.attr).Type != 0 { // BPF_STATS_RUN_TIME
		return 0, errno.EINVAL
	}
	c.s.countTime(1)
	return c.install(&statsFile{c.s})
}

// tokenCreate follows bpf_token_create: there is no file system that delegates.
func (c *call) tokenCreate() (int32, errno.Errno) {
	a := as[tokenCreate](&c.attr)
	if a.Flags != 0 {
		return 0, errno.EINVAL
	}
	f, e := c.who.Files.File(a.BpffsFd)
	if e != 0 {
		return 0, e
	}
	if f != nil {
		f.Put()
	}
	return 0, errno.EINVAL
}

// streamRead follows prog_stream_read: nothing prints to streams.
func (c *call) streamRead() (int32, errno.Errno) {
	a := as[streamRead](&c.attr)
	p, f, e := open[*run.Program](c, a.ProgFd)
	if e != 0 {
		return 0, e
	}
	defer f.Put()
	_ = p
	if a.StreamId != 1 && a.StreamId != 2 { // BPF_STDOUT, BPF_STDERR
		return 0, errno.ENOENT
	}
	return 0, 0
}

// offload says why no device takes programs or maps.
func (c *call) offload(ifindex uint32) errno.Errno {
	if c.s.device(ifindex) {
		return errno.EOPNOTSUPP
	}
	return errno.EINVAL
}
