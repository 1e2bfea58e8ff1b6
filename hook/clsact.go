package hook

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/skep-bpf/skep"
)

// ProtocolAll as a filter's protocol stands for every one (ETH_P_ALL), as 0 does.
const ProtocolAll = 3

// Filter is a classifier at a clsact hook, as tc filter add makes one (cls_bpf).
type Filter struct {
	// Priority says when its turn comes, the lowest first (tc's pref). 0: before all that are there.
	Priority uint16
	// Handle tells filters of one priority apart, of which the newest is asked first.
	// 0: the first free one.
	Handle uint32
	// Protocol is the Ethernet type of the packets it looks at, in host order. All
	// filters of a priority have the same.
	Protocol uint16
	Program  *skep.Program // of type sched_cls
	// Direct takes what the program returns as an action. Else it is a class, 0 for
	// no match and -1 for ClassID, and what matches goes through Actions.
	Direct  bool
	ClassID uint32
	Actions []Action
}

// Action is what becomes of a packet that a filter matched. The next one's turn
// comes after TC_ACT_PIPE.
type Action struct {
	// Program decides (act_bpf), of type sched_act; nil: Code does (act_gact).
	Program *skep.Program
	// Code is the action, or what TC_ACT_UNSPEC of the program stands for.
	Code TCAction
	// Mirred sends the packet to a device (act_mirred); nil: it does not.
	Mirred *Mirred
	// Stats count what came by; nil: nobody does.
	Stats *ActionStats
}

// Mirred sends packets, or copies of them, to another device.
type Mirred struct {
	Ifindex uint32
	Ingress bool // into the device, not out of it
	Copy    bool // mirror: the packet goes on; else it has gone (TC_ACT_STOLEN)
}

// ActionStats are what an action has seen, while packets pass. Bytes count, as the
// kernel's do, without link headers on the way in.
type ActionStats struct {
	Packets, Bytes, Drops atomic.Uint64
	First, Last           atomic.Uint64 // when the first and the last one came, by Now
	Now                   func() uint64 // nil: Last stays 0
}

func (a *Action) count(pkt *skep.Packet) {
	if s := a.Stats; s != nil {
		s.Packets.Add(1)
		s.Bytes.Add(uint64(pkt.WireLen))
		if s.Now != nil {
			now := s.Now()
			s.First.CompareAndSwap(0, now)
			s.Last.Store(now)
		}
	}
}

// Limits of loops that filters can make (net/sched/cls_api.c, act_api.c).
const (
	maxReclassify = 16
	maxRepeat     = 32
)

// firstPriority is what tc gives the first filter without one; each after it is
// one less.
const firstPriority = 0xc000

// Clsact is one direction of a device's clsact qdisc: links (tcx), then filters
// by priority. Filters and links may come and go while packets pass:
// each packet meets those that were there when it came.
type Clsact struct {
	opts TCOptions
	cpu  *skep.CPU
	out  [1]Delivery
	sent []Delivery // by mirred, of the packet that is under way

	*shared
}

// shared is what all views of a hook have in common.
type shared struct {
	mu    sync.Mutex // of changes
	state atomic.Pointer[clsact]
}

// clsact is what packets pass; it is never changed, but exchanged.
type clsact struct {
	links   []*skep.Program
	filters []Filter
}

// NewClsact makes a hook without filters, which lets everything pass. Of the
// options, those that concern one filter are not looked at.
func NewClsact(m *skep.Machine, opts *TCOptions) (*Clsact, error) {
	c := &Clsact{shared: &shared{}}
	if opts != nil {
		c.opts = *opts
	}
	c.state.Store(&clsact{})
	var err error
	c.cpu, err = hold(m, c.opts.CPU, c.opts.Held)
	return c, err
}

// Close gives the CPU back.
func (c *Clsact) Close() {
	if c.opts.Held == nil {
		c.cpu.Release()
	}
}

// On returns a view of the same links and filters for another CPU, which the
// caller holds whenever it runs packets there: devices pass packets on several.
func (c *Clsact) On(cpu *skep.CPU) *Clsact {
	opts := c.opts
	opts.Held = cpu
	return &Clsact{opts: opts, cpu: cpu, shared: c.shared}
}

// Empty reports whether there are neither links nor filters.
func (c *Clsact) Empty() bool {
	s := c.state.Load()
	return len(s.links) == 0 && len(s.filters) == 0
}

// change exchanges the state for one that f has changed a copy of.
func (c *shared) change(f func(*clsact) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.state.Load()
	s := &clsact{slices.Clone(old.links), slices.Clone(old.filters)}
	if err := f(s); err != nil {
		return err
	}
	c.state.Store(s)
	return nil
}

func (f *Filter) check() error {
	if f.Program == nil || f.Program.Type() != skep.SchedCLS {
		return fmt.Errorf("hook clsact: a filter needs a program of type %s", skep.SchedCLS)
	}
	if f.Direct && len(f.Actions) > 0 {
		return fmt.Errorf("hook clsact: filter %s: direct action leaves no place for others", f.Program.Name())
	}
	for _, a := range f.Actions {
		if a.Program != nil && a.Program.Type() != skep.SchedACT {
			return fmt.Errorf("hook clsact: action %s is of type %s", a.Program.Name(), a.Program.Type())
		}
	}
	return nil
}

// find returns where the filter of a priority and handle stands.
func (s *clsact) find(priority uint16, handle uint32) (int, error) {
	i := slices.IndexFunc(s.filters, func(f Filter) bool { return f.Priority == priority && f.Handle == handle })
	if i < 0 {
		return 0, fmt.Errorf("hook clsact: no filter of priority %d and handle %#x", priority, handle)
	}
	return i, nil
}

// Add puts a filter in its place and returns it with the priority and handle it got.
func (c *Clsact) Add(f Filter) (Filter, error) {
	if err := f.check(); err != nil {
		return f, err
	}
	err := c.change(func(s *clsact) error {
		if f.Priority == 0 {
			if f.Priority = firstPriority; len(s.filters) > 0 {
				f.Priority = min(firstPriority, s.filters[0].Priority-1)
			}
			if f.Priority == 0 {
				return fmt.Errorf("hook clsact: no priority is left before 1")
			}
		}
		for _, g := range s.filters {
			switch {
			case g.Priority != f.Priority:
			case f.Handle == g.Handle && f.Handle != 0:
				return fmt.Errorf("hook clsact: there is a filter of priority %d and handle %#x", f.Priority, f.Handle)
			case all(g.Protocol) != all(f.Protocol) || !all(g.Protocol) && g.Protocol != f.Protocol:
				return fmt.Errorf("hook clsact: filters of priority %d look at protocol %#04x", f.Priority, g.Protocol)
			}
		}
		if f.Handle == 0 {
			for f.Handle = 1; ; f.Handle++ {
				if _, err := s.find(f.Priority, f.Handle); err != nil {
					break
				}
			}
		}
		at, _ := slices.BinarySearchFunc(s.filters, f, func(g, f Filter) int { return cmp.Compare(g.Priority, f.Priority) })
		s.filters = slices.Insert(s.filters, at, f)
		return nil
	})
	return f, err
}

func all(protocol uint16) bool { return protocol == 0 || protocol == ProtocolAll }

// Replace exchanges the filter of the same priority and handle for f. No packet
// passes without one of the two.
func (c *Clsact) Replace(f Filter) error {
	if err := f.check(); err != nil {
		return err
	}
	return c.change(func(s *clsact) error {
		i, err := s.find(f.Priority, f.Handle)
		if err == nil {
			s.filters[i] = f
		}
		return err
	})
}

// Delete takes a filter away; handle 0 all those of the priority.
func (c *Clsact) Delete(priority uint16, handle uint32) error {
	return c.change(func(s *clsact) error {
		if handle != 0 {
			if _, err := s.find(priority, handle); err != nil {
				return err
			}
		}
		n := len(s.filters)
		s.filters = slices.DeleteFunc(s.filters, func(f Filter) bool {
			return f.Priority == priority && (f.Handle == handle || handle == 0)
		})
		if len(s.filters) == n {
			return fmt.Errorf("hook clsact: no filter of priority %d", priority)
		}
		return nil
	})
}

// Filters returns the filters in the order they are asked.
func (c *Clsact) Filters() []Filter { return slices.Clone(c.state.Load().filters) }

// AttachTCX puts a program before the one at position at (0: first; the number of
// links: last), ahead of all filters. Detach takes it away.
func (c *Clsact) AttachTCX(p *skep.Program, at int) error {
	if p == nil || p.Type() != skep.SchedCLS {
		return fmt.Errorf("hook clsact: a tcx link needs a program of type %s", skep.SchedCLS)
	}
	return c.change(func(s *clsact) error {
		if at < 0 || at > len(s.links) {
			return fmt.Errorf("hook clsact: position %d of %d links", at, len(s.links))
		}
		s.links = slices.Insert(s.links, at, p)
		return nil
	})
}

// DetachTCX takes the link at a position away.
func (c *Clsact) DetachTCX(at int) error {
	return c.change(func(s *clsact) error {
		if at < 0 || at >= len(s.links) {
			return fmt.Errorf("hook clsact: position %d of %d links", at, len(s.links))
		}
		s.links = slices.Delete(s.links, at, at+1)
		return nil
	})
}

// SetTCX puts programs in the place of all links; no packet passes without the
// ones or the others.
func (c *Clsact) SetTCX(progs []*skep.Program) error {
	for _, p := range progs {
		if p == nil || p.Type() != skep.SchedCLS {
			return fmt.Errorf("hook clsact: a tcx link needs a program of type %s", skep.SchedCLS)
		}
	}
	return c.change(func(s *clsact) error {
		s.links = slices.Clone(progs)
		return nil
	})
}

// TCX returns the programs of the links in the order they run.
func (c *Clsact) TCX() []*skep.Program { return slices.Clone(c.state.Load().links) }

// Run sends one packet, which starts with its link header, through links and
// filters (sch_handle_ingress, sch_handle_egress). What they write to it beside
// its bytes (mark, control block, class) those after them see; it is on the CPU's
// packet afterwards.
func (c *Clsact) Run(data []byte, meta Meta) (r TCResult, err error) {
	err = c.RunTo(&r, data, &meta)
	return r, err
}

// RunTo is Run with the result put into r, whatever that was, for loops over many packets: both are
// long to copy.
func (c *Clsact) RunTo(r *TCResult, data []byte, meta *Meta) error {
	*r = TCResult{}
	pkt := c.cpu.Packet()
	if err := setSKB(pkt, data, meta, c.opts.Egress); err != nil {
		return err
	}
	s := c.state.Load()
	c.sent = c.sent[:0]
	r.Action = TCUnspec
	if err := c.tcx(s, r); err != nil {
		return err
	}
	if r.Action == TCUnspec {
		if err := c.classify(s, r); err != nil {
			return err
		}
	}
	r.Packet, r.Mark = pkt.Bytes(), pkt.Mark
	setMeta(&r.after, pkt)
	r.Deliveries = deliverTC(c.cpu, c.opts.Egress, r, &c.out)
	r.Sent = c.sent
	return nil
}

// RunNetkit sends one packet through the links alone, as a netkit device does: the
// first verdict but TC_ACT_UNSPEC is the action, whatever it is (netkit_run).
func (c *Clsact) RunNetkit(data []byte, meta Meta) (TCResult, error) {
	pkt := c.cpu.Packet()
	if err := setSKB(pkt, data, &meta, c.opts.Egress); err != nil {
		return TCResult{}, err
	}
	r := TCResult{Action: TCUnspec}
	for _, p := range c.state.Load().links {
		var err error
		if r.Action, err = c.run(p, &r); err != nil {
			return r, err
		}
		if r.Action != TCUnspec {
			break
		}
	}
	r.Packet, r.Mark = pkt.Bytes(), pkt.Mark
	setMeta(&r.after, pkt)
	r.Deliveries = deliverTC(c.cpu, c.opts.Egress, &r, &c.out)
	return r, nil
}

// run runs a program and notes what it returned.
func (c *Clsact) run(p *skep.Program, r *TCResult) (TCAction, error) {
	r0, err := c.cpu.Run(p)
	r.Return = r0
	return TCAction(r0), err
}

// tcx runs the links until one decides (tcx_run).
func (c *Clsact) tcx(s *clsact, r *TCResult) error {
	for _, p := range s.links {
		a, err := c.run(p, r)
		if err != nil {
			return err
		}
		if a == TCUnspec { // TCX_NEXT
			continue
		}
		switch a {
		case TCOK:
			pkt := c.cpu.Packet()
			pkt.TCIndex, r.ClassID = pkt.TCClassID, pkt.TCClassID
			r.Action = a
		case TCShot, TCRedirect:
			r.Action = a
		}
		return nil // anything else: as if there were no links
	}
	return nil
}

// classify asks the filters (tcf_classify).
func (c *Clsact) classify(s *clsact, r *TCResult) error {
	if len(s.filters) == 0 {
		return nil
	}
	pkt := c.cpu.Packet()
	for turn := 0; ; turn++ {
		again := false
		for i := range s.filters {
			f := &s.filters[i]
			if !all(f.Protocol) && !pkt.IsProtocol(f.Protocol) {
				continue
			}
			if err := c.filter(f, r); err != nil {
				return err
			}
			if again = r.Action == TCReclassify; again || r.Action != TCUnspec {
				break
			}
		}
		if !again {
			break
		}
		if turn == maxReclassify {
			r.Action = TCShot
			return nil
		}
	}
	if r.Action == TCOK {
		pkt.TCIndex = r.ClassID & 0xffff
	}
	return nil
}

// filter asks one filter (cls_bpf_classify).
func (c *Clsact) filter(f *Filter, r *TCResult) error {
	pkt := c.cpu.Packet()
	pkt.TCClassID = f.ClassID
	a, err := c.run(f.Program, r)
	if err != nil {
		return err
	}
	if f.Direct {
		r.ClassID = f.ClassID&0xffff0000 | pkt.TCClassID
		r.Action = directVerdict(a)
		return nil
	}
	if r.Action, r.ClassID = classVerdict(r.Return, f.ClassID); r.Action != TCUnspec && len(f.Actions) > 0 {
		return c.act(f.Actions, r)
	}
	return nil
}

// mirred notes where the packet, or a copy of it as it is now, goes (tcf_mirred_act).
func (c *Clsact) mirred(a *Action, r *TCResult) {
	m := a.Mirred
	to := Delivery{To: ToDevice, Ifindex: m.Ifindex}
	if m.Ingress {
		to.To = ToIngress
	}
	n := len(c.sent)
	if n < cap(c.sent) {
		c.sent = c.sent[:n+1]
		to.Packet = c.sent[n].Packet[:0]
	} else {
		c.sent = append(c.sent, Delivery{})
	}
	to.Packet = append(to.Packet, c.cpu.Packet().Bytes()...)
	c.sent[n] = to
	if !m.Copy {
		r.Action = TCStolen
	}
}

// act carries out the actions of a filter that matched (tcf_action_exec).
func (c *Clsact) act(actions []Action, r *TCResult) error {
	repeats := 0
	for i := 0; i < len(actions); i++ {
		a := &actions[i]
		r.Action = a.Code
		a.count(c.cpu.Packet())
		if a.Mirred != nil {
			c.mirred(a, r)
		} else if a.Program != nil {
			verdict, err := c.run(a.Program, r)
			if err != nil {
				return err
			}
			r.Action = actionVerdict(verdict, a.Code)
		}
		if r.Action == TCShot && a.Stats != nil {
			a.Stats.Drops.Add(1)
		}
		switch r.Action {
		case TCRepeat:
			if repeats++; repeats < maxRepeat {
				i--
				continue
			}
			r.Action = TCOK
			return nil
		case TCPipe:
			continue
		}
		return nil
	}
	return nil
}
