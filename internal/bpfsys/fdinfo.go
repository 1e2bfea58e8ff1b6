package bpfsys

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
)

// linkNames are the link_type lines of fdinfo.
var linkNames = map[LinkType]string{
	LinkRawTracepoint: "raw_tracepoint", LinkTracing: "tracing", LinkCGroup: "cgroup", LinkIter: "iter",
	LinkNetNS: "netns", LinkXDP: "xdp", LinkPerfEvent: "perf", LinkTCX: "tcx", LinkUprobeMulti: "uprobe_multi", LinkNetfilter: "netfilter", LinkNetkit: "netkit", LinkSockMap: "sockmap",
}

// FDInfo is what /proc/…/fdinfo/N shows of the file.
func (f *File) FDInfo() string {
	text := "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t1057\n"
	add := func(format string, args ...any) { text += fmt.Sprintf(format, args...) }
	switch o := f.object.(type) {
	case Map:
		d := o.Def()
		frozen := 0
		if o.Frozen() {
			frozen = 1
		}
		add("map_type:\t%d\nkey_size:\t%d\nvalue_size:\t%d\nmax_entries:\t%d\nmap_flags:\t%#x\nmap_extra:\t%#x\nmemlock:\t%d\nmap_id:\t%d\nfrozen:\t%d\n",
			d.Type, d.KeySize, d.ValueSize, d.MaxEntries, d.Flags, d.Extra, memlock(d), d.ID, frozen)
		if p, ok := maps.Unwrap(o.Map).(interface{ Owner() (maps.ProgOwner, bool) }); ok {
			if own, ok := p.Owner(); ok {
				jited := 0
				if own.Native {
					jited = 1
				}
				add("owner_prog_type:\t%d\nowner_jited:\t%d\n", own.Type, jited)
			}
		}
	case *run.Program:
		jited := 0
		if _, ok := o.NativeCode(); ok {
			jited = 1
		}
		runs, took := o.Timed()
		add("prog_type:\t%d\nprog_jited:\t%d\nprog_tag:\t%x\nmemlock:\t4096\nprog_id:\t%d\nrun_time_ns:\t%d\nrun_cnt:\t%d\nrecursion_misses:\t%d\nverified_insns:\t%d\n",
			o.Info.Type, jited, o.About.Tag, o.ID(), took.Nanoseconds(), runs, o.Misses(), o.About.VerifiedInsns)
	case *BTF:
		add("btf_id:\t%d\n", o.id)
	case *Link:
		add("link_type:\t%s\nlink_id:\t%d\n", linkNames[o.typ], o.id)
		if p := o.program(); p != nil {
			add("prog_tag:\t%x\nprog_id:\t%d\n", p.About.Tag, p.ID())
			p.Close()
		}
		if o.typ == LinkSockMap {
			add("map_id:\t%d\nattach_type:\t%d\n", o.sockMapID(), o.attach)
		}
	}
	return text
}

// memlock is about what a map takes, in bytes (map_mem_usage).
func memlock(d *catalog.MapDef) uint64 {
	return (uint64(d.KeySize)+uint64(d.ValueSize)+63)&^7*uint64(max(d.MaxEntries, 1)) + 320
}
