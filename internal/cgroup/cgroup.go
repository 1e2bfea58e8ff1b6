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
	"slices"

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
	ID       = 1 << 5  // what Before and After refer to is named by its id
	Preorder = 1 << 6  // before programs of groups below
	Link     = 1 << 13 // what Before and After refer to is a link

	// Mode is the flags that belong to a chain, not to a program of it.
	Mode = Override | Multi
	// ProgFlags and LinkFlags are those that programs and links are attached with.
	ProgFlags = Mode | Replace | Before | After | ID | Preorder | Link
	LinkFlags = ProgFlags &^ (Mode | Replace)
)

// Max is how many programs a chain takes (BPF_CGROUP_MAX_PROGS).
const Max = 64

// Entry is a program or link of a chain.
type Entry interface {
	AttachFlags() uint32 // that it came with
	Linked() bool        // a link, not a program alone
}

// Chain is what is attached at one group for one attach type.
type Chain[E Entry] struct {
	Entries  []E
	Flags    uint32 // of Mode
	Revision uint64 // counts changes, from 1
}

// Wish is a program or link that is to be attached.
type Wish[E Entry] struct {
	Flags uint32
	Link  bool
	Type  catalog.ProgType
	// Same says of an entry that it is of the same program; it is asked of programs alone.
	Same func(E) bool
	// Old says of an entry that it is of the program whose place is to be taken; nil: of none.
	Old func(E) bool
	// Relative finds out what Before and After refer to, and its type; nil: nothing is named.
	Relative func() (match func(E) bool, typ catalog.ProgType, e errno.Errno)
	Revision uint64 // that the chain has to have; 0: any
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

// Insert says where in a chain a wish goes, and whether it takes the place of what is there. above are the
// chains of the groups above, the nearest first (__cgroup_bpf_attach).
func Insert[E Entry](own Chain[E], above []Chain[E], w *Wish[E]) (i int, replace bool, e errno.Errno) {
	switch f := w.Flags; {
	case f&Mode == Mode, f&Replace != 0 && f&Multi == 0, f&Replace != 0 && f&(Before|After) != 0, (w.Old != nil) != (f&Replace != 0):
		return 0, false, errno.EINVAL
	case w.Revision != 0 && w.Revision != own.Revision:
		return 0, false, errno.ESTALE
	case !allows(above), len(own.Entries) != 0 && own.Flags != f&Mode:
		return 0, false, errno.EPERM
	case len(own.Entries) >= Max:
		return 0, false, errno.E2BIG
	case f&Multi == 0 && len(own.Entries) != 0:
		return 0, true, 0
	}
	find := func(match func(E) bool) int {
		return slices.IndexFunc(own.Entries, func(ent E) bool { return !ent.Linked() && match(ent) })
	}
	old := -1
	if w.Old != nil {
		old = find(w.Old)
	}
	if same := -1; !w.Link {
		if same = find(w.Same); same >= 0 && same != old {
			return 0, false, errno.EINVAL // the same program twice
		}
	}
	switch {
	case old >= 0:
		return old, true, 0
	case w.Old != nil:
		return 0, false, errno.ENOENT
	}
	i, e = anchor(own.Entries, w)
	return i, false, e
}

// anchor follows insert_pl_to_hlist: before or after another program or
// link, which has to be as early or late as the new one.
func anchor[E Entry](entries []E, w *Wish[E]) (int, errno.Errno) {
	before, after := w.Flags&Before != 0, w.Flags&After != 0
	named := w.Relative != nil
	switch {
	case named && (before == after || w.Link != (w.Flags&Link != 0)), // a link by a link, a program by a program
		!named && before && after && len(entries) != 0:
		return 0, errno.EINVAL
	case !named && before:
		return 0, 0
	case !named:
		return len(entries), 0
	}
	match, typ, e := w.Relative()
	if e != 0 {
		return 0, e
	}
	if typ != w.Type {
		return 0, errno.EINVAL
	}
	i := slices.IndexFunc(entries, func(ent E) bool { return ent.Linked() == w.Link && match(ent) })
	switch {
	case i < 0:
		return 0, errno.ENOENT
	case (entries[i].AttachFlags()^w.Flags)&Preorder != 0:
		return 0, errno.EINVAL
	case after:
		i++
	}
	return i, 0
}

// Detach says which entry goes when a program is to be detached, nil if none is named: where
// there can only be one, it goes whatever is named (__cgroup_bpf_detach).
func Detach[E Entry](own Chain[E], program func(E) bool, revision uint64) (int, errno.Errno) {
	single := own.Flags&Multi == 0
	switch {
	case revision != 0 && revision != own.Revision:
		return 0, errno.ESTALE
	case !single && program == nil:
		return 0, errno.EINVAL
	}
	i := slices.IndexFunc(own.Entries, func(ent E) bool { return !ent.Linked() && (single || program(ent)) })
	if i < 0 {
		return 0, errno.ENOENT
	}
	return i, 0
}

// allows follows hierarchy_allows_attach: what the nearest group with programs says.
func allows[E Entry](above []Chain[E]) bool {
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
func Effective[E Entry](path []Chain[E]) (all []E) {
	var early []E
	for _, ch := range path {
		if len(all)+len(early) > 0 && ch.Flags&Multi == 0 {
			continue
		}
		var first []E
		for _, ent := range ch.Entries {
			if ent.AttachFlags()&Preorder != 0 {
				first = append(first, ent)
			} else {
				all = append(all, ent)
			}
		}
		early = append(first, early...)
	}
	return append(early, all...)
}
