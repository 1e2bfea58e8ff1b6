package run

import "sync"

// groups are the control groups that a machine has numbered, and which is below which.
type groups struct {
	mu     sync.RWMutex
	last   uint64
	parent map[uint64]uint64 // 0: of a root
}

// NewGroup numbers a control group below another, or a root with 0; the first is 1.
func (m *Machine) NewGroup(parent uint64) uint64 {
	g := &m.groups
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.parent == nil {
		g.parent = map[uint64]uint64{}
	}
	g.last++
	g.parent[g.last] = parent
	return g.last
}

// GroupGone forgets a control group.
func (m *Machine) GroupGone(group uint64) {
	m.groups.mu.Lock()
	defer m.groups.mu.Unlock()
	delete(m.groups.parent, group)
}

// GroupAbove returns the group that a control group is below, 0 for a root; not ok for one
// that the machine has not numbered.
func (m *Machine) GroupAbove(group uint64) (parent uint64, ok bool) {
	m.groups.mu.RLock()
	defer m.groups.mu.RUnlock()
	parent, ok = m.groups.parent[group]
	return parent, ok
}
