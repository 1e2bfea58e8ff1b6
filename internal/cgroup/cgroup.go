// Package cgroup has the rules by which programs at control groups get on with
// each other (kernel/bpf/cgroup.c), for bpf(2) and for hooks alike. Who keeps the programs
// is the caller's affair: rules are asked with [Chain] values, one per group.
//
// A chain's flags say how its programs get on with others:
//
//	none      one program, none below this group
//	override  one program, those below it replace it
//	multi     any number, those of all groups up to the root run
package cgroup

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// Flags of an attachment (uapi BPF_F_*).
const (
	Override = 1 << 0
	Multi    = 1 << 1
	Replace  = 1 << 2 // takes the place of another program
	Before   = 1 << 3
	After    = 1 << 4
	Preorder = 1 << 6 // before programs of groups below

	// Mode is the flags that belong to a chain, not to a program of it.
	Mode = Override | Multi
)

// Max is how many programs a chain takes (BPF_CGROUP_MAX_PROGS).
const Max = 64

// Chain is what is attached at one group for one attach type.
type Chain[E any] struct {
	Entries []E
	Flags   uint32 // of Mode
}

// Fits says whether a program of type t, loaded for own, may be attached for attach:
// EINVAL if not (bpf_prog_attach_check_attach_type).
func Fits(t catalog.ProgType, own, attach catalog.AttachType) errno.Errno {
	if catalog.AttachesProg(attach) != t {
		return errno.EINVAL
	}
	ok := true
	switch t {
	case catalog.ProgCGroupSock, catalog.ProgCGroupSockAddr, catalog.ProgCGroupSockopt:
		ok = own == attach
	case catalog.ProgCGroupSKB: // 6.18 asks for the same direction only where the program's verdict depends on it
		ok = own == attach || own != catalog.AttachCGroupInetEgress
	}
	if !ok {
		return errno.EINVAL
	}
	return 0
}

// CheckFlags refuses flags that contradict each other; replaces says that a
// program is named whose place is to be taken.
func CheckFlags(flags uint32, replaces bool) errno.Errno {
	if flags&Mode == Mode || flags&Replace != 0 && flags&Multi == 0 ||
		flags&Replace != 0 && flags&(Before|After) != 0 || replaces != (flags&Replace != 0) {
		return errno.EINVAL
	}
	return 0
}

// Admit says whether a chain takes a program with these flags, and whether the
// new one replaces the only one there. above are the chains of the groups above,
// the nearest first (__cgroup_bpf_attach).
func Admit[E any](own Chain[E], above []Chain[E], flags uint32) (replace bool, e errno.Errno) {
	switch {
	case !allows(above), len(own.Entries) != 0 && own.Flags != flags&Mode:
		return false, errno.EPERM
	case len(own.Entries) >= Max:
		return false, errno.E2BIG
	}
	return flags&Multi == 0 && len(own.Entries) != 0, 0
}

// allows follows hierarchy_allows_attach: what the nearest group with programs says.
func allows[E any](above []Chain[E]) bool {
	for _, ch := range above {
		switch {
		case ch.Flags&Multi != 0:
			return true
		case len(ch.Entries) != 0:
			return ch.Flags&Override != 0
		}
	}
	return true
}

// Effective are the programs that run for a group, in order (compute_effective_progs): first those
// with Preorder, the root's before its children's, then the others, the group's own first.
// path are the chains of the group and of those above it, the root's last.
func Effective[E any](path []Chain[E], flags func(E) uint32) (all []E) {
	var early []E
	for _, ch := range path {
		if len(all)+len(early) > 0 && ch.Flags&Multi == 0 {
			continue
		}
		var first []E
		for _, ent := range ch.Entries {
			if flags(ent)&Preorder != 0 {
				first = append(first, ent)
			} else {
				all = append(all, ent)
			}
		}
		early = append(first, early...)
	}
	return append(early, all...)
}
