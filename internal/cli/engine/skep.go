package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// skepCollection is an image in a Machine of its own.
type skepCollection struct {
	img    *image.Image
	opts   Options
	m      *skep.Machine
	clock  *skep.ManualClock // nil: the system's
	last   time.Time         // of the last packet, by PacketClock
	loads  []*skep.Collection
	maps   map[string]*skep.Map
	progs  map[*image.Program]*skepProgram
	rings  map[*image.Map]reader
	traced []string
}

// reader is a ring buffer's or a perf buffer's.
type reader interface {
	// next takes out the next record, and reports false when none waits.
	next() (record []byte, lost uint64, ok bool, err error)
	Close() error
}

// What clocks say when they are not the system's: a round uptime, and the day
// of the first Linux with bpf(2), 3.18.
const fixedUptime = time.Hour

var fixedTime = time.Date(2014, time.December, 7, 0, 0, 0, 0, time.UTC)

func newSkep(img *image.Image, opts *Options) (Collection, error) {
	c := &skepCollection{img: img, opts: *opts, progs: map[*image.Program]*skepProgram{}, rings: map[*image.Map]reader{}}
	mo := skep.MachineOptions{
		CPUs: opts.CPUs, KernelBTF: opts.KernelBTF, Checked: opts.Checked, Unprivileged: opts.Unprivileged,
		Trace: func(l skep.TraceLine) { c.traced = append(c.traced, l.Text) },
	}
	if opts.Seed != 0 {
		mo.Seed = &c.opts.Seed
	}
	if opts.Clock != RealClock {
		c.clock = skep.NewManualClock(uint64(fixedUptime), fixedTime)
		mo.Clock = c.clock
	}
	var err error
	if c.m, err = skep.NewMachine(&mo); err != nil {
		return nil, err
	}
	if opts.VerifyOnly {
		return c, nil
	}
	c.m.CountTime(true)
	coll, err := c.load(nil, 0)
	if err != nil {
		c.Close()
		return nil, err
	}
	c.maps = coll.Maps
	if err := c.openRings(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *skepCollection) openRings() error {
	for _, m := range c.img.Maps {
		if !givesEvents(m) || c.maps[m.Name] == nil {
			continue
		}
		r, err := newReader(c.maps[m.Name])
		if err != nil {
			return err
		}
		c.rings[m] = r
	}
	return nil
}

// load brings programs into the machine, with the maps that are there already.
func (c *skepCollection) load(programs []string, logLevel uint32) (*skep.Collection, error) {
	if programs == nil {
		programs = []string{} // none, not all
	}
	coll, err := c.m.LoadCollectionWithOptions(c.img, skep.CollectionOptions{Programs: programs, Maps: c.maps, LogLevel: logLevel})
	if err == nil {
		c.loads = append(c.loads, coll)
	}
	return coll, err
}

func (c *skepCollection) Load(p *image.Program) (Program, error) {
	if done, ok := c.progs[p]; ok {
		return done, nil
	}
	// With it come the programs that arrays start with: tail calls must find them.
	programs := []*image.Program{p}
	for _, m := range c.img.Maps {
		for _, slot := range m.Slots {
			if slot.Prog != nil && c.progs[slot.Prog] == nil && slot.Prog != p {
				programs = append(programs, slot.Prog)
			}
		}
	}
	var names []string
	for _, p := range programs {
		names = append(names, p.Name)
	}
	coll, err := c.load(names, 0)
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		c.progs[p] = &skepProgram{c: c, p: coll.Programs[p.Name]}
	}
	return c.progs[p], nil
}

func (c *skepCollection) Verify(p *image.Program, logLevel uint32) (*Verdict, error) {
	list, err := c.m.VerifyLog(c.img, logLevel|logStats, p.Name)
	if err != nil {
		return nil, err
	}
	v := list[0]
	if e := (*skep.VerifierError)(nil); errors.As(v.Err, &e) {
		return &Verdict{Log: e.Log, Refused: v.Err}, nil
	}
	if v.Err != nil {
		return nil, v.Err
	}
	return &Verdict{Log: v.Result.Log}, nil
}

func (c *skepCollection) SetSlot(m *image.Map, key uint32, p Program) error {
	return c.maps[m.Name].Put(key, p.(*skepProgram).p)
}

func (c *skepCollection) SetInner(m *image.Map, key []byte, inner *image.Map) error {
	return c.maps[m.Name].Put(key, c.maps[inner.Name])
}

func (c *skepCollection) Map(m *image.Map) Map {
	if target := c.maps[m.Name]; target != nil {
		return &skepMap{target}
	}
	return nil
}

func (c *skepCollection) NameOf(m *image.Map, id uint32) string {
	if holdsPrograms(m) {
		for p, done := range c.progs {
			if done.p.ID() == id {
				return p.Name
			}
		}
		return ""
	}
	for name, done := range c.maps {
		if done.ID() == id {
			return name
		}
	}
	return ""
}

func (c *skepCollection) Traced() ([]string, error) {
	lines := c.traced
	c.traced = nil
	return lines, nil
}

func (c *skepCollection) Events(f func(*image.Map, []byte, uint64)) error {
	for m, r := range c.rings {
		for {
			record, lost, ok, err := r.next()
			if err != nil {
				return fmt.Errorf("map %s: %w", m.Name, err)
			}
			if !ok {
				break
			}
			f(m, record, lost)
		}
	}
	return nil
}

func (c *skepCollection) Close() error {
	for _, r := range c.rings {
		r.Close()
	}
	for i := len(c.loads) - 1; i >= 0; i-- {
		c.loads[i].Close()
	}
	return c.m.Close()
}

// pass lets the time of a packet come, where packets make the time.
func (c *skepCollection) pass(at time.Time) {
	if c.opts.Clock != PacketClock || at.IsZero() {
		return
	}
	if !c.last.IsZero() && at.After(c.last) {
		c.clock.Advance(at.Sub(c.last))
	}
	c.last = at
}

// skepProgram is a program in the machine.
type skepProgram struct {
	c *skepCollection
	p *skep.Program
}

// Run does what a test run does, without handing the packet in and out as a
// copy. It runs on CPU 0, as the kernel's engine keeps to one CPU too.
func (p *skepProgram) Run(packet []byte, at time.Time) (Result, error) {
	p.c.pass(at)
	cpu, err := p.c.m.HoldCPU(0)
	if err != nil {
		return Result{}, err
	}
	defer cpu.Release() // timers need it between packets
	if err := p.set(cpu.Packet(), packet); err != nil {
		return Result{}, err
	}
	var res Result
	before := p.p.RunTime()
	repeat := max(p.c.opts.Repeat, 1)
	for range repeat {
		if p.p.Type() == catalog.ProgNetfilter {
			res.Ret, err = cpu.RunNetfilter(p.p, skep.HookState{Hook: catalog.NFPreRouting, PF: netfilterFamily(packet), Out: 1})
		} else {
			res.Ret, err = cpu.Run(p.p)
		}
		if err != nil {
			return Result{}, err
		}
	}
	res.Took = (p.p.RunTime() - before) / time.Duration(repeat)
	cpu.Packet().Finish()
	res.Data = cpu.Packet().Bytes()
	return res, nil
}

func (p *skepProgram) Bulk(n int) (Bulk, error) {
	o := &p.c.opts
	if o.Clock == PacketClock || o.Repeat > 1 || o.Checked || p.p.Type() == catalog.ProgNetfilter {
		return nil, nil
	}
	b, err := p.c.m.NewBatch(n)
	if err != nil {
		return nil, err
	}
	return &skepBulk{p, b}, nil
}

// skepBulk is packets in the machine.
type skepBulk struct {
	p *skepProgram
	b *skep.Batch
}

func (b *skepBulk) Set(i int, packet []byte) error { return b.p.set(b.b.Packet(i), packet) }

func (b *skepBulk) Run(n int) (done int, took time.Duration, err error) {
	cpu, err := b.p.c.m.HoldCPU(0)
	if err != nil {
		return 0, 0, err
	}
	defer cpu.Release() // timers need it in between
	before := b.p.p.RunTime()
	err = cpu.RunBatch(b.p.p, b.b, n)
	return b.b.Done(), b.p.p.RunTime() - before, err
}

func (b *skepBulk) Result(i int) Result {
	pkt := b.b.Packet(i)
	pkt.Finish()
	return Result{Ret: b.b.Verdict(i), Data: pkt.Bytes()}
}

func (b *skepBulk) Close() { b.b.Close() }

// set makes pkt what a test run of this type of program begins with.
func (p *skepProgram) set(pkt *skep.Packet, data []byte) error {
	var err error
	switch p.p.Type() {
	case catalog.ProgXDP:
		err = pkt.SetXDP(data, skep.XDPOptions{})
	case catalog.ProgSchedCls, catalog.ProgSchedAct:
		err = pkt.SetSKB(data, skep.SKBOptions{L2: true, OwnSock: true})
	case catalog.ProgSocketFilter:
		err = pkt.SetSKB(data, skep.SKBOptions{L2: p.c.opts.LinkHeader, OwnSock: true})
	case catalog.ProgNetfilter:
		if netfilterFamily(data) == 0 {
			return fmt.Errorf("%w: it is no IP packet", ErrNotRun)
		}
		err = pkt.SetSKB(data, skep.SKBOptions{})
	default:
		err = pkt.SetSKB(data, skep.SKBOptions{OwnSock: true})
	}
	if errors.Is(err, errno.EINVAL) || errors.Is(err, errno.E2BIG) {
		return fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	return err
}

// netfilterFamily is the family of the hook of netfilter at which a test run has a frame, PRE_ROUTING; 0: it passes none.
func netfilterFamily(frame []byte) uint8 {
	const eth, ipv4, ipv6 = 14, 20, 40
	switch {
	case len(frame) >= eth+ipv4 && frame[12] == 0x08 && frame[13] == 0x00:
		return catalog.NFProtoIPv4
	case len(frame) >= eth+ipv6 && frame[12] == 0x86 && frame[13] == 0xdd:
		return catalog.NFProtoIPv6
	}
	return 0
}

// skepMap is a map in the machine.
type skepMap struct{ m *skep.Map }

func (m *skepMap) NextKey(key, next []byte) error {
	if key == nil {
		return m.m.NextKey(nil, next)
	}
	return m.m.NextKey(key, next)
}

func (m *skepMap) Lookup(key []byte) ([]byte, error) {
	value, err := m.m.LookupBytes(key)
	if err == nil && value == nil {
		err = errno.ENOENT
	}
	return value, err
}

func (m *skepMap) Pop() ([]byte, error) {
	var value []byte
	err := m.m.LookupAndDelete(nil, &value)
	return value, err
}

func (m *skepMap) Update(key, value []byte) error { return m.m.Put(key, value) }
func (m *skepMap) PerCPU() bool                   { return m.m.PerCPU() }

func (m *skepMap) CPUs() int {
	if m.m.PerCPU() {
		return m.m.CPUs()
	}
	return 1
}
