package rtnl

import (
	"fmt"
	"slices"
	"time"

	"github.com/skep-bpf/skep/hook"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// qdiscAdd gives a device a clsact or ingress qdisc.
func (s *Server) qdiscAdd(_ *request, a *QdiscChange) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.named(a.Dev)
	switch {
	case l == nil:
		return noDevice(a.Dev)
	case a.Kind != "clsact" && a.Kind != "ingress":
		return refuse(errno.ENOENT, fmt.Sprintf("Specified qdisc kind is unknown: %q: there are clsact and ingress", a.Kind))
	case l.qdisc == "":
		l.qdisc = a.Kind
	case !a.Replace:
		return refuse(errno.EEXIST, "Exclusivity flag on, cannot modify")
	case l.qdisc != a.Kind:
		return refuse(errno.EINVAL, "Invalid qdisc name: must match existing qdisc")
	}
	return nil
}

// qdiscDel takes it away, and its filters.
func (s *Server) qdiscDel(_ *request, a *QdiscChange) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.named(a.Dev)
	switch {
	case l == nil:
		return noDevice(a.Dev)
	case l.qdisc == "":
		return refuse(errno.ENOENT, "Cannot find specified qdisc on specified device")
	case a.Kind != "" && a.Kind != l.qdisc:
		return refuse(errno.EINVAL, "Invalid qdisc name: must match existing qdisc")
	}
	for key := range l.held {
		s.dropFilter(l, key)
	}
	l.qdisc = ""
	return nil
}

// qdiscList tells of one device's, or of all.
func (s *Server) qdiscList(r *request, a *Named) error {
	s.mu.Lock()
	var out []Qdisc
	for _, l := range s.sorted() {
		if a.Name != "" && l.dev.Name() != a.Name {
			continue
		}
		if l.wasUp {
			out = append(out, Qdisc{Dev: l.dev.Name(), Kind: "noqueue"})
		}
		if l.qdisc != "" {
			st := l.dev.Stats()
			q := Qdisc{Dev: l.dev.Name(), Kind: l.qdisc}
			for i := range st.Ingress {
				n := st.Ingress[i] + st.Egress[i]
				q.Packets += n
				if hook.TCAction(i-1) == hook.TCShot {
					q.Drops += n
				}
			}
			q.Bytes = st.TCBytes
			out = append(out, q)
		}
	}
	found := a.Name == "" || s.named(a.Name) != nil
	s.mu.Unlock()
	if !found {
		return noDevice(a.Name)
	}
	for _, q := range out {
		if err := r.send(q); err != nil {
			return err
		}
	}
	return nil
}

// filterKey is where a filter stands.
type filterKey struct {
	hook     string
	priority uint16
	handle   uint32
}

// heldFilter is what the server keeps of a filter beside what package hook does.
type heldFilter struct {
	prog    attached
	name    string
	code    string
	spec    FilterChange
	actions []heldAction
}

type heldAction struct {
	prog  attached
	name  string
	spec  ActionSpec
	stats *hook.ActionStats
	index uint32
	since time.Duration
}

// hookOf is a direction of a device's qdisc; that of an ingress qdisc is one.
func (l *link) hookOf(name string) (*hook.Clsact, string, error) {
	switch {
	case name != Ingress && name != Egress:
		return nil, "", refuse(errno.EOPNOTSUPP, "Qdisc not classful")
	case l.qdisc == "":
		return nil, "", refuse(errno.EINVAL, fmt.Sprintf("Parent Qdisc doesn't exists: tc qdisc add dev %s clsact makes one", l.dev.Name()))
	case l.qdisc == "ingress" || name == Ingress:
		return l.dev.Ingress(), Ingress, nil
	}
	return l.dev.Egress(), Egress, nil
}

const protocolAll = hook.ProtocolAll

// filterChange follows tc_new_tfilter and tc_del_tfilter.
func (s *Server) filterChange(r *request, a *FilterChange) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.named(a.Dev)
	if l == nil {
		return noDevice(a.Dev)
	}
	h, name, err := l.hookOf(a.Hook)
	if err != nil {
		return err
	}
	a.Hook = name
	if a.Op == "del" {
		return s.filterDel(l, h, a)
	}
	if a.Kind != "bpf" {
		return refuse(errno.ENOENT, fmt.Sprintf("TC classifier not found: %q: there is bpf", a.Kind))
	}
	if a.AnyProto {
		a.Protocol = protocolAll
	}
	there := h.Filters()
	same := slices.DeleteFunc(slices.Clone(there), func(f hook.Filter) bool { return f.Priority != a.Priority })
	if len(same) > 0 && same[0].Protocol != a.Protocol {
		return refuse(errno.EINVAL, "Protocol mismatch for filter with specified priority")
	}
	exists := slices.ContainsFunc(same, func(f hook.Filter) bool { return f.Handle == a.Handle && a.Handle != 0 })
	switch {
	case a.Op == "change" && a.Priority == 0:
		return refuse(errno.ENOENT, "Invalid filter command with priority of zero")
	case a.Op == "change" && !exists:
		return refuse(errno.ENOENT, "Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter")
	case a.Op == "add" && exists:
		return refuse(errno.EEXIST, "Filter already exists")
	}
	held, f, err := s.buildFilter(r, a)
	if err != nil {
		return err
	}
	if exists {
		err = h.Replace(f)
	} else {
		f, err = h.Add(f)
	}
	if err != nil {
		s.releaseFilter(held)
		return err
	}
	key := filterKey{name, f.Priority, f.Handle}
	s.releaseFilter(l.held[key])
	l.held[key] = held
	return nil
}

// buildFilter loads a filter's programs.
func (s *Server) buildFilter(r *request, a *FilterChange) (held heldFilter, f hook.Filter, err error) {
	if a.Object.File == "" && a.Object.Pinned == "" && a.Object.Code == "" {
		return held, f, refuse(errno.EINVAL, "Invalid argument: a bpf filter needs a program: obj, object-pinned or bytecode")
	}
	if a.Direct && len(a.Actions) > 0 {
		return held, f, refuse(errno.EINVAL, "Invalid argument: a filter in direct-action mode has no other actions")
	}
	p, err := s.load(r, &a.Object, r.file(0), catalog.ProgSchedCls)
	if err != nil {
		return held, f, err
	}
	held = heldFilter{prog: s.hold(p.prog), name: p.name, code: p.code, spec: *a}
	defer func() {
		if err != nil {
			s.releaseFilter(held)
		}
	}()
	f = hook.Filter{Priority: a.Priority, Handle: a.Handle, Protocol: a.Protocol, Program: held.prog.handle, Direct: a.Direct, ClassID: a.ClassID}
	for i := range a.Actions {
		act, h, err := s.buildAction(r, &a.Actions[i])
		if err != nil {
			return held, f, err
		}
		held.actions, f.Actions = append(held.actions, h), append(f.Actions, act)
	}
	return held, f, r.log(p)
}

// controls are the words for what follows an action.
var controls = map[string]hook.TCAction{
	"pass": hook.TCOK, "ok": hook.TCOK, "drop": hook.TCShot, "shot": hook.TCShot, "pipe": hook.TCPipe,
	"reclassify": hook.TCReclassify, "continue": hook.TCUnspec, "stolen": hook.TCStolen, "trap": hook.TCTrap,
}

func (s *Server) buildAction(r *request, a *ActionSpec) (act hook.Action, h heldAction, err error) {
	control, ok := controls[a.Control]
	if !ok {
		return act, h, refuse(errno.EINVAL, fmt.Sprintf("action control %q", a.Control))
	}
	act.Code = control
	switch a.Kind {
	case "gact":
	case "mirred":
		to := s.named(a.Dev)
		if to == nil {
			return act, h, noDevice(a.Dev)
		}
		act.Mirred = &hook.Mirred{Ifindex: to.dev.Index(), Ingress: a.Ingress, Copy: a.Mirror}
	case "bpf":
		p, err := s.load(r, &a.Object, r.file(a.File), catalog.ProgSchedAct)
		if err != nil {
			return act, h, err
		}
		h.prog, h.name = s.hold(p.prog), p.name
		act.Program = h.prog.handle
	default:
		return act, h, refuse(errno.ENOENT, fmt.Sprintf("there is no action %q: there are gact, mirred and bpf", a.Kind))
	}
	s.actions++
	act.Stats = &hook.ActionStats{Now: func() uint64 { return uint64(s.now()) }}
	h.spec, h.stats, h.index, h.since = *a, act.Stats, s.actions, s.now()
	return act, h, nil
}

func (s *Server) releaseFilter(h heldFilter) {
	s.release(h.prog)
	for _, a := range h.actions {
		s.release(a.prog)
	}
}

// dropFilter takes a filter off its hook.
func (s *Server) dropFilter(l *link, key filterKey) error {
	h := l.dev.Ingress()
	if key.hook == Egress {
		h = l.dev.Egress()
	}
	err := h.Delete(key.priority, key.handle)
	s.releaseFilter(l.held[key])
	delete(l.held, key)
	return err
}

// filterDel removes one filter, those of a priority, or all.
func (s *Server) filterDel(l *link, h *hook.Clsact, a *FilterChange) error {
	if a.Priority == 0 && (!a.AnyProto || a.Handle != 0 || a.Kind != "") {
		return refuse(errno.ENOENT, "Cannot flush filters with protocol, handle or kind set")
	}
	var gone []filterKey
	priority := false
	for _, f := range h.Filters() {
		if a.Priority != 0 && f.Priority != a.Priority {
			continue
		}
		priority = true
		if !a.AnyProto && f.Protocol != a.Protocol {
			return refuse(errno.EINVAL, "Protocol mismatch for filter with specified priority")
		}
		if a.Handle == 0 || f.Handle == a.Handle {
			gone = append(gone, filterKey{a.Hook, f.Priority, f.Handle})
		}
	}
	switch {
	case a.Priority != 0 && !priority:
		return refuse(errno.ENOENT, "Filter with specified priority/protocol not found")
	case a.Handle != 0 && a.Kind == "":
		return refuse(errno.EINVAL, "Must specify filter type when using \"handle\"")
	case a.Handle != 0 && len(gone) == 0:
		return refuse(errno.ENOENT, "Specified filter handle not found")
	}
	for _, key := range gone {
		if err := s.dropFilter(l, key); err != nil {
			return err
		}
	}
	return nil
}

// filterList tells of the filters at a hook, in the order they are asked.
func (s *Server) filterList(r *request, a *FilterQuery) error {
	s.mu.Lock()
	l := s.named(a.Dev)
	if l == nil {
		s.mu.Unlock()
		return noDevice(a.Dev)
	}
	var out []Filter
	if h, name, err := l.hookOf(a.Hook); err == nil {
		for _, f := range h.Filters() {
			held := l.held[filterKey{name, f.Priority, f.Handle}]
			d := s.describeFilter(f, &held)
			d.Parent = l.qdisc == "ingress"
			out = append(out, d)
		}
	}
	s.mu.Unlock()
	for _, f := range out {
		if err := r.send(f); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) describeFilter(f hook.Filter, h *heldFilter) Filter {
	out := Filter{Priority: f.Priority, Protocol: f.Protocol, Handle: f.Handle, ClassID: f.ClassID, Name: h.name, Code: h.code, Direct: f.Direct}
	if h.prog.prog != nil && h.code == "" {
		out.Prog = about(h.prog.prog, 0)
	}
	seconds := func(d time.Duration) float64 { return d.Seconds() }
	for _, a := range h.actions {
		act := Action{ActionSpec: a.spec, Name: a.name, Index: a.index, Packets: a.stats.Packets.Load(), Bytes: a.stats.Bytes.Load(),
			Drops: a.stats.Drops.Load(), Installed: seconds(s.now() - a.since), Used: -1, First: -1}
		if last := a.stats.Last.Load(); last != 0 {
			act.Used, act.First = seconds(s.now()-time.Duration(last)), seconds(s.now()-time.Duration(a.stats.First.Load()))
		}
		if a.prog.prog != nil {
			p := about(a.prog.prog, 0)
			act.Prog = &p
		}
		out.Actions = append(out.Actions, act)
	}
	return out
}
