package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/linuxload"
)

// linuxCollection is an image in the kernel. Its goroutine keeps one thread on
// one CPU, so that per-CPU maps count in one place and every traced line is heard.
type linuxCollection struct {
	img   *image.Image
	opts  Options
	btf   *linux.BTF // nil: the object has no types
	maps  map[*image.Map]*linuxMap
	progs map[*image.Program]*linuxProgram
	rings map[*image.Map]*linux.Events
	trace *linux.Trace // nil where nothing prints, or tracefs is not to be had
	mute  []string     // said once in place of what is not heard
	unpin func()
}

func newLinux(img *image.Image, opts *Options) (Collection, error) {
	switch {
	case opts.Clock != RealClock || opts.Seed != 0:
		return nil, errors.New("clock and random numbers of the kernel are its own")
	case opts.Checked:
		return nil, errors.New("the kernel has no checked mode")
	case opts.LinkHeader:
		return nil, errors.New("the kernel's test run shows socket filters no link header")
	case opts.Unprivileged:
		return nil, errors.New("the kernel asks who the caller is: give up the capabilities instead")
	}
	if err := linux.Available(); err != nil {
		return nil, err
	}
	if err := image.CheckOrder(img); err != nil {
		return nil, err
	}
	c := &linuxCollection{
		img:   img,
		opts:  *opts,
		maps:  map[*image.Map]*linuxMap{},
		progs: map[*image.Program]*linuxProgram{},
		rings: map[*image.Map]*linux.Events{},
	}
	runtime.LockOSThread()
	c.unpin = pinCPU()
	if err := c.create(); err != nil {
		c.Close()
		return nil, err
	}
	if traces(img) { // a tracing instance takes its time
		var err error // without tracefs a run is still a run
		if c.trace, err = linux.OpenTrace(threadID()); err != nil {
			c.mute = []string{fmt.Sprintf("(not heard: %v; mount -t tracefs tracefs /sys/kernel/tracing)", err)}
		}
	}
	return c, nil
}

// traces says whether a program of the image can print.
func traces(img *image.Image) bool {
	for _, p := range img.Programs {
		for _, ins := range p.Insns {
			if !ins.IsHelperCall() {
				continue
			}
			switch catalog.HelperID(ins.Imm) {
			case catalog.FnTracePrintk, catalog.FnTraceVprintk:
				return true
			}
		}
	}
	return false
}

func (c *linuxCollection) create() (err error) {
	if len(c.img.RawBTF) > 0 {
		if c.btf, err = linux.LoadBTF(c.img.RawBTF); err != nil {
			return err
		}
	}
	for _, m := range c.img.Maps {
		if m.Optional || m.Kind == image.KindStructOps { // which skep struct_ops register makes
			continue
		}
		if err := c.createMap(m); err != nil {
			return fmt.Errorf("map %s: %w", m.Name, err)
		}
	}
	return linuxload.FillMaps(c.img, c.made) // programs follow when they are loaded
}

// made returns the map that was made of one of the image, or nil.
func (c *linuxCollection) made(m *image.Map) *linux.Map {
	if lm := c.maps[m]; lm != nil {
		return lm.Map
	}
	return nil
}

// createMap makes a map, and what reads its events.
func (c *linuxCollection) createMap(m *image.Map) error {
	cpus, err := linux.PossibleCPUs()
	if err != nil {
		return err
	}
	def := m.Def(cpus)
	k, err := linuxload.NewMap(m, def, c.btf, 0)
	if err != nil {
		return err
	}
	lm := &linuxMap{Map: k, cpus: 1, perCPU: def.PerCPU()}
	c.maps[m] = lm
	if lm.size, err = k.ValueLen(); err != nil {
		return err
	}
	if lm.perCPU {
		lm.cpus = cpus
	}
	// A reader opens an event for each entry of a perf event array, and there is
	// none for a CPU that cannot be: the events of a larger array are not read.
	if givesEvents(m) && (m.Type != catalog.MapPerfEventArray || int(def.MaxEntries) <= cpus) {
		ring, err := k.Events()
		if err != nil {
			return err
		}
		c.rings[m] = ring
	}
	return nil
}

func (c *linuxCollection) Load(p *image.Program) (Program, error) {
	if done, ok := c.progs[p]; ok {
		return done, nil
	}
	k, err := c.load(p, 0)
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", p.Name, err)
	}
	done := &linuxProgram{LoadedProg: k, xdp: p.Type == catalog.ProgXDP, netfilter: p.Type == catalog.ProgNetfilter, opts: &c.opts}
	c.progs[p] = done
	return done, c.fillSlots()
}

// logStats is the log level's bit for the statistics at the end.
const logStats = 4

func (c *linuxCollection) Verify(p *image.Program, logLevel uint32) (*Verdict, error) {
	k, err := c.load(p, logLevel|logStats)
	if e := (*linux.Error)(nil); errors.As(err, &e) && e.Log != "" {
		return &Verdict{Log: e.Log, Refused: err}, nil
	}
	if err != nil {
		return nil, err
	}
	return &Verdict{Log: k.Log}, k.Close()
}

// load hands the kernel a program with the maps it refers to by index.
func (c *linuxCollection) load(p *image.Program, logLevel uint32) (*linux.LoadedProg, error) {
	if p.Err != nil {
		return nil, p.Err
	}
	var maps []*linux.Map
	for _, m := range c.img.Maps {
		maps = append(maps, c.made(m))
	}
	lp := linuxload.Prog(c.img, p, maps, c.btf)
	lp.LogLevel = logLevel
	if p.Type == catalog.ProgStructOps {
		kernel, err := btf.LoadKernelSpec()
		if err != nil {
			return nil, err
		}
		lp.AttachTo(kernel, p.AttachTo)
	}
	return linux.Load(lp)
}

// fillSlots loads the programs that arrays start with and puts them there.
func (c *linuxCollection) fillSlots() error {
	for _, m := range c.img.Maps {
		for _, slot := range m.Slots {
			if slot.Prog == nil || c.progs[slot.Prog] != nil {
				continue
			}
			p, err := c.Load(slot.Prog)
			if err != nil {
				return err
			}
			if err := c.SetSlot(m, slot.Key, p); err != nil {
				return fmt.Errorf("map %s: %w", m.Name, err)
			}
		}
	}
	return nil
}

func (c *linuxCollection) SetSlot(m *image.Map, key uint32, p Program) error {
	return linuxload.Put(c.img, c.made(m), key, p.(*linuxProgram).FD())
}

func (c *linuxCollection) SetInner(m *image.Map, key []byte, inner *image.Map) error {
	value := binary.NativeEndian.AppendUint32(nil, uint32(c.maps[inner].FD()))
	return c.maps[m].Map.Update(key, value, 0)
}

func (c *linuxCollection) Map(m *image.Map) Map {
	if lm := c.maps[m]; lm != nil {
		return lm
	}
	return nil
}

func (c *linuxCollection) NameOf(m *image.Map, id uint32) string {
	if holdsPrograms(m) {
		for p, done := range c.progs {
			if info, err := done.Info(); err == nil && info.ID == id {
				return p.Name
			}
		}
		return ""
	}
	for im, done := range c.maps {
		if info, err := done.Info(); err == nil && info.ID == id {
			return im.Name
		}
	}
	return ""
}

func (c *linuxCollection) Traced() ([]string, error) {
	if c.trace == nil {
		said := c.mute
		c.mute = nil
		return said, nil
	}
	return c.trace.Lines()
}

func (c *linuxCollection) Events(f func(*image.Map, []byte, uint64)) error {
	for m, ring := range c.rings {
		if err := ring.Drain(func(record []byte, lost uint64) { f(m, record, lost) }); err != nil {
			return fmt.Errorf("map %s: %w", m.Name, err)
		}
	}
	return nil
}

func (c *linuxCollection) Close() error {
	var errs []error
	for _, ring := range c.rings {
		errs = append(errs, ring.Close())
	}
	for _, p := range c.progs {
		errs = append(errs, p.Close())
	}
	for _, m := range c.maps {
		errs = append(errs, m.Close())
	}
	if c.btf != nil {
		errs = append(errs, c.btf.Close())
	}
	if c.trace != nil {
		errs = append(errs, c.trace.Close())
	}
	c.unpin()
	runtime.UnlockOSThread()
	return errors.Join(errs...)
}

// linuxProgram is a program in the kernel.
type linuxProgram struct {
	*linux.LoadedProg
	xdp, netfilter bool
	opts           *Options
}

// Offsets in struct xdp_md, and its size.
const (
	mdData    = 0
	mdDataEnd = 4
	mdSize    = 24
)

// Offset of pf in struct nf_hook_state, whose hook stays 0, PRE_ROUTING, and its size.
const (
	nfStatePF   = 1
	nfStateSize = 48
)

// Bulk has nothing: a test run takes one packet.
func (p *linuxProgram) Bulk(int) (Bulk, error) { return nil, nil }

func (p *linuxProgram) Run(packet []byte, _ time.Time) (Result, error) {
	in := &linux.Run{Data: packet, Repeat: p.opts.Repeat, NoDataOut: !p.opts.Output}
	if p.opts.Output && p.xdp { // to know where metadata ends and the packet begins
		in.Ctx = make([]byte, mdSize)
		binary.NativeEndian.PutUint32(in.Ctx[mdDataEnd:], uint32(len(packet)))
	}
	if p.netfilter {
		family := netfilterFamily(packet)
		if family == 0 {
			return Result{}, fmt.Errorf("%w: it is no IP packet", ErrNotRun)
		}
		in.Ctx, in.NoDataOut = make([]byte, nfStateSize), true
		in.Ctx[nfStatePF] = family
	}
	out, err := p.TestRun(in)
	switch {
	case errors.Is(err, errno.EINVAL), errors.Is(err, errno.E2BIG), errors.Is(err, errno.ENOMEM):
		// The packet is too short for a header, or too long for the pages of a test run.
		return Result{}, fmt.Errorf("%w: %w", ErrNotRun, err)
	}
	if err != nil {
		return Result{}, err
	}
	if in.Ctx != nil && p.xdp && len(out.Ctx) == mdSize {
		out.Data = out.Data[min(uint64(binary.NativeEndian.Uint32(out.Ctx[mdData:])), uint64(len(out.Data))):]
	}
	return Result{Ret: out.Ret, Data: out.Data, Took: out.Duration}, nil
}

// linuxMap is a map in the kernel.
type linuxMap struct {
	*linux.Map
	size   int // bytes of a lookup
	cpus   int
	perCPU bool
}

func (m *linuxMap) Lookup(key []byte) ([]byte, error) {
	value := make([]byte, m.size)
	if err := m.Map.Lookup(key, value, 0); err != nil {
		return nil, err
	}
	return value, nil
}

func (m *linuxMap) Pop() ([]byte, error) {
	value := make([]byte, m.size)
	return value, m.Map.LookupAndDelete(nil, value, 0)
}

func (m *linuxMap) Update(key, value []byte) error { return m.Map.Update(key, value, 0) }
func (m *linuxMap) PerCPU() bool                   { return m.perCPU }
func (m *linuxMap) CPUs() int                      { return m.cpus }
