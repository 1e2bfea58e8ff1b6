package hook

import (
	"fmt"
	"slices"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/internal/cgroup"
)

// Flags of [Cgroup.Attach] and [CgroupOptions] (BPF_F_*).
const (
	CgroupAllowOverride = cgroup.Override // programs at groups below replace this one
	CgroupAllowMulti    = cgroup.Multi    // there may be others, here and below, and all run
	CgroupReplace       = cgroup.Replace  // takes the place of another program; with CgroupAllowMulti
	CgroupBefore        = cgroup.Before   // before those that are here, or before one of them
	CgroupAfter         = cgroup.After    // after those that are here, or after one of them
	CgroupPreorder      = cgroup.Preorder // before those at groups below
)

type (
	cgroupChain = cgroup.Chain[*cgroupEntry]
	cgroupEntry struct {
		skep.CgroupProgram
		flags uint32
		link  *CgroupLink // nil: attached until it is detached
	}
)

func (ent *cgroupEntry) AttachFlags() uint32 { return ent.flags }
func (ent *cgroupEntry) Linked() bool        { return ent.link != nil }

// CgroupOptions say where among others a program is attached.
type CgroupOptions struct {
	Flags uint32
	// Replace is the program whose place is taken, with CgroupReplace.
	Replace *skep.Program
	// Program, or of a link Link, is what CgroupBefore and CgroupAfter refer to; nil: the first, or the last.
	Program *skep.Program
	Link    *CgroupLink
	// Revision is what [CgroupQuery] has to say of the group, else it is ESTALE; 0: anything.
	Revision uint64
}

// Attach attaches a program to the group until it is detached, as BPF_PROG_ATTACH does and with its errors: EPERM
// where programs above, or here, do not allow for it. Without CgroupAllowMulti it takes the place of the one that is here.
func (g *Cgroup) Attach(p *skep.Program, at skep.AttachType, flags uint32) error {
	return g.AttachProgram(p, at, CgroupOptions{Flags: flags})
}

// AttachProgram is Attach among others.
func (g *Cgroup) AttachProgram(p *skep.Program, at skep.AttachType, o CgroupOptions) error {
	return g.attach(&cgroupEntry{skep.CgroupProgram{Program: p, Group: g.ID, At: at}, o.Flags, nil}, cgroup.ProgFlags, o)
}

// CgroupLink keeps a program attached to a control group.
type CgroupLink struct {
	g   *Cgroup
	at  skep.AttachType
	ent *cgroupEntry // g.mu holds it
}

// AttachLink attaches a program as long as the link is not closed, as BPF_LINK_CREATE does: with CgroupAllowMulti,
// which goes without saying. The same program may be there several times.
func (g *Cgroup) AttachLink(p *skep.Program, at skep.AttachType, o CgroupOptions) (*CgroupLink, error) {
	l := &CgroupLink{g: g, at: at, ent: &cgroupEntry{skep.CgroupProgram{Program: p, Group: g.ID, At: at}, o.Flags | CgroupAllowMulti, nil}}
	l.ent.link = l
	if err := g.attach(l.ent, cgroup.LinkFlags, o); err != nil {
		return nil, err
	}
	return l, nil
}

// attach attaches an entry whose flags are of allowed.
func (g *Cgroup) attach(ent *cgroupEntry, allowed uint32, o CgroupOptions) error {
	p, at := ent.Program, ent.At
	fail := func(e error) error {
		return fmt.Errorf("hook cgroup: attaching program %s (%s) to %s with flags %#x: %w", p.Name(), p.Type(), at, o.Flags, e)
	}
	const named = cgroup.ID | cgroup.Link // of descriptors, which are none here
	if cgroup.Fits(p.Type(), p.AttachType(), at) != 0 || o.Flags&^(allowed&^named) != 0 || o.Program != nil && o.Link != nil {
		return fail(eINVAL)
	}
	w := cgroup.Wish[*cgroupEntry]{Flags: ent.flags, Link: ent.Linked(), Type: p.Type(), Revision: o.Revision,
		Same: func(x *cgroupEntry) bool { return x.Program == p }}
	if o.Replace != nil {
		if o.Replace.Type() != p.Type() {
			return fail(eINVAL)
		}
		w.Old = func(x *cgroupEntry) bool { return x.Program == o.Replace }
	}
	switch {
	case o.Program != nil:
		w.Relative = func() (func(*cgroupEntry) bool, skep.ProgramType, skep.Errno) {
			return func(x *cgroupEntry) bool { return x.Program == o.Program }, o.Program.Type(), 0
		}
	case o.Link != nil:
		w.Flags |= cgroup.Link
		w.Relative = func() (func(*cgroupEntry) bool, skep.ProgramType, skep.Errno) {
			return func(x *cgroupEntry) bool { return x.link == o.Link }, o.Link.ent.Program.Type(), 0
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return fail(eNOENT)
	}
	path := g.path(at)
	ch := path[0]
	i, replace, e := cgroup.Insert(ch, path[1:], &w)
	if e != 0 {
		return fail(e)
	}
	if err := ent.MakeStorages(); err != nil {
		return fail(err)
	}
	if ch.Entries = slices.Clone(ch.Entries); replace {
		ch.Entries[i] = ent
	} else {
		ch.Entries = slices.Insert(ch.Entries, i, ent)
	}
	ch.Flags = ent.flags & cgroup.Mode
	ch.Revision++
	g.at[at] = ch
	return nil
}

// Detach takes a program away from the group; ENOENT if it is not there. Where there
// can only be one, it goes whatever is named, as BPF_PROG_DETACH has it.
func (g *Cgroup) Detach(p *skep.Program, at skep.AttachType) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	i, e := cgroup.Detach(g.chain(at), func(x *cgroupEntry) bool { return x.Program == p }, 0)
	if e != 0 {
		return fmt.Errorf("hook cgroup: program %s is not attached to %s: %w", p.Name(), at, e)
	}
	g.drop(at, i)
	return nil
}

// drop takes an entry away; the mu is held.
func (g *Cgroup) drop(at skep.AttachType, i int) {
	ch := g.chain(at)
	ch.Entries = slices.Delete(slices.Clone(ch.Entries), i, i+1)
	if len(ch.Entries) == 0 {
		ch.Flags = 0
	}
	ch.Revision++
	g.at[at] = ch
}

// Close takes the link's program away from its group.
func (l *CgroupLink) Close() error {
	g := l.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.chain(l.at).Entries, l.ent); i >= 0 {
		g.drop(l.at, i)
	}
	return nil
}

// Update puts another program of the same type in the place of the link's (BPF_LINK_UPDATE); ENOLINK after Close.
func (l *CgroupLink) Update(p *skep.Program) error {
	g, at := l.g, l.at
	g.mu.Lock()
	defer g.mu.Unlock()
	fail := func(e error) error {
		return fmt.Errorf("hook cgroup: program %s (%s) for a link at %s: %w", p.Name(), p.Type(), at, e)
	}
	ch := g.chain(at)
	i := slices.Index(ch.Entries, l.ent)
	switch {
	case i < 0:
		return fail(eNOLINK)
	case p.Type() != l.ent.Program.Type(): // nobody asks what it was loaded for
		return fail(eINVAL)
	}
	ent := *l.ent // runs may have the other still
	ent.Program = p
	if err := ent.MakeStorages(); err != nil {
		return fail(err)
	}
	l.ent = &ent
	ch.Entries = slices.Clone(ch.Entries)
	ch.Entries[i] = l.ent
	ch.Revision++
	g.at[at] = ch
	return nil
}

// Remove is the end of the group: what is attached goes, and what maps keep for it. It
// fails with EBUSY as long as there are groups below.
func (g *Cgroup) Remove() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.gone:
		return nil
	case g.below > 0:
		return fmt.Errorf("hook cgroup: %d groups are below the one to remove: %w", g.below, eBUSY)
	}
	g.gone = true
	clear(g.at)
	if g.parent != nil {
		g.parent.below--
	}
	g.mach.CgroupGone(g.ID)
	return nil
}

// chain is what is attached to the group; the mu is held.
func (g *Cgroup) chain(at skep.AttachType) cgroupChain {
	if ch, ok := g.at[at]; ok {
		return ch
	}
	return cgroupChain{Revision: 1}
}

// path are the chains of the group and those above it; the mu is held.
func (g *Cgroup) path(at skep.AttachType) (path []cgroupChain) {
	for ; g != nil; g = g.parent {
		path = append(path, g.chain(at))
	}
	return path
}

// CgroupQuery is what is attached to a group itself.
type CgroupQuery struct {
	Programs []*skep.Program // in their order
	Flags    uint32          // CgroupAllowOverride or CgroupAllowMulti, which all have
	Revision uint64          // 1 at first, and more with each change
}

// Query tells what is attached to the group for an attach type.
func (g *Cgroup) Query(at skep.AttachType) CgroupQuery {
	g.mu.RLock()
	defer g.mu.RUnlock()
	ch := g.chain(at)
	q := CgroupQuery{Flags: ch.Flags, Revision: ch.Revision}
	for _, ent := range ch.Entries {
		q.Programs = append(q.Programs, ent.Program)
	}
	return q
}

// Effective is the programs that run for the group, in their order.
func (g *Cgroup) Effective(at skep.AttachType) (progs []*skep.Program) {
	for _, p := range g.effective(at) {
		progs = append(progs, p.Program)
	}
	return progs
}

func (g *Cgroup) effective(at skep.AttachType) (progs []skep.CgroupProgram) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, ent := range cgroup.Effective(g.path(at)) {
		progs = append(progs, ent.CgroupProgram)
	}
	return progs
}
