package difftest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/jit"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/rewrite"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/verifier"
)

// cpus is how many CPUs a case's machine has.
const cpus = 2

// ours is skep.
type ours struct {
	native  bool // with its JIT, else its interpreter
	checked bool
	inline  bool // with the rewriter's inlined lookups
	hard    bool // with all that hardens native code
	unpriv  bool // for a loader with CAP_BPF alone, so that the program is guarded against speculation
	// machine is the one all cases run on; nil: one of its own for each.
	machine *run.Machine
	arrays  map[string]maps.Map // that machine's arrays, which are filled anew for each case
}

func (e ours) Name() string {
	name := "interp"
	if e.native {
		name = "jit"
	}
	if e.checked {
		name += "-checked"
	}
	if e.inline {
		name += "-inline"
	}
	if e.hard {
		name += "-hard"
	}
	if e.unpriv {
		name += "-unpriv"
	}
	return name
}

func (e ours) Available() error {
	if e.native {
		return jit.Available()
	}
	return nil
}

// newMachine makes a machine for the engine.
func (e ours) newMachine() (*run.Machine, error) {
	opts := run.Options{CPUs: cpus, Checked: e.checked, JIT: run.JITOff, Retpolines: e.hard, Seal: e.hard}
	if e.native {
		opts.JIT = run.JITOn
	}
	return run.New(opts)
}

// Run verifies, rewrites and runs the case.
func (e ours) Run(c *Case) (_ *Outcome, err error) {
	o := &Outcome{Bits: 64}
	var open []func()
	m := e.machine
	if m == nil {
		if m, err = e.newMachine(); err != nil {
			return nil, err
		}
		open = append(open, m.Close)
	}
	o.Close = func() {
		for i := len(open) - 1; i >= 0; i-- {
			open[i]()
		}
	}
	defer func() {
		if err != nil {
			o.Close()
		}
	}()
	var used []maps.Map
	for _, cm := range c.Maps {
		mp := e.arrays[cm.Def.Name]
		if mp == nil {
			if mp, err = m.NewMap(cm.Def); err != nil {
				return nil, fmt.Errorf("map %s: %w", cm.Def.Name, err)
			}
			if e.arrays != nil && cm.Def.Type == catalog.MapArray {
				e.arrays[cm.Def.Name] = mp
			} else {
				open = append(open, func() { m.CloseMap(mp) })
			}
		}
		used = append(used, mp)
		s := sized{mp, mp.ValueSize()}
		if err := put(s, cm); err != nil {
			return nil, err
		}
		o.Maps = append(o.Maps, s)
	}
	load := func(c *Case) (*run.Program, error) {
		ro := rewrite.Options{Inline: e.inline, Guard: e.unpriv, Doubt: e.checked}
		if e.hard {
			ro.Blind = m.Secret
		}
		rw, err := e.compile(c, used, ro)
		if err != nil {
			return nil, err
		}
		p, err := m.NewProgram(rw, used)
		if err == nil {
			open = append(open, p.Close)
		}
		return p, err
	}
	p, err := load(c)
	if err != nil {
		return nil, err
	}
	for _, tail := range c.Tails {
		target := p
		if tail.Case != c {
			if target, err = load(tail.Case); err != nil {
				return nil, err
			}
		}
		if err := o.set(c, tail, target.ID()); err != nil {
			return nil, err
		}
	}

	cpu := m.AcquireCPU(0)
	defer cpu.Release()
	pkt := cpu.Packet()
	if err := c.fill(pkt); err != nil {
		return nil, err
	}
	if o.R0, err = cpu.Run(p, pkt.Addr(), pkt); err != nil {
		return nil, err
	}
	o.Field = func(name string) (uint64, error) { return c.frameField(pkt, name) }
	fields := map[string]uint64{}
	for name := range c.WantCtx {
		if fields[name], err = o.Field(name); err != nil {
			return nil, err
		}
	}
	pkt.Finish()
	o.Packet = append([]byte{}, pkt.Bytes()...)
	o.Field = func(name string) (uint64, error) { return fields[name], nil }
	return o, nil
}

// compile takes the case's program through verifier and rewriter.
func (e ours) compile(c *Case, used []maps.Map, ro rewrite.Options) (*rewrite.Program, error) {
	vp := &verifier.Program{
		Name: "difftest", Type: c.Type, Attach: c.Attach, Flags: c.Flags, Insns: c.Insns, GPL: true,
		MapByFD: func(int32) *catalog.MapDef { return nil },
		MapByIdx: func(i int32) *catalog.MapDef {
			if i < 0 || int(i) >= len(used) {
				return nil
			}
			return used[i].Def()
		},
	}
	if f := functions(c.Insns); f != nil {
		var err error
		if vp.BTF, vp.Funcs, err = f.verifier(); err != nil {
			return nil, err
		}
	}
	res, err := e.verify(c, vp, used)
	if err != nil {
		return nil, err
	}
	return ro.Rewrite(vp, res)
}

// verdict is what the verifier said of a case, whose maps had these definitions.
type verdict struct {
	res  *verifier.Result
	err  error
	defs []*catalog.MapDef
}

// verify asks the verifier, which takes most of a case's time: once for all
// engines that need no states, as nothing but the maps' addresses differs.
func (e ours) verify(c *Case, vp *verifier.Program, used []maps.Map) (*verifier.Result, error) {
	if c.verdict != nil && !e.checked && !e.unpriv {
		return c.verdict.on(used)
	}
	res, err := verifier.Verify(vp, verifier.Options{States: e.checked, CPUs: cpus, Unprivileged: e.unpriv, CapBPF: e.unpriv})
	if e := (*verifier.Error)(nil); errors.As(err, &e) {
		log := e.Error()
		if c.Refused != "" { // whole logs take as long as all the rest
			_, err = verifier.Verify(vp, verifier.Options{LogLevel: 1, CPUs: cpus})
			errors.As(err, &e)
			log = e.Log
		}
		err = &Refusal{Log: log}
	}
	v := &verdict{res: res, err: err}
	for _, m := range used {
		v.defs = append(v.defs, m.Def())
	}
	if !e.checked && !e.unpriv {
		c.verdict = v
	}
	return res, err
}

// on is the verdict for the same program on other maps of the same kinds.
func (v *verdict) on(used []maps.Map) (*verifier.Result, error) {
	if v.err != nil {
		return nil, v.err
	}
	res := *v.res
	res.Insns = slices.Clone(res.Insns)
	for i := range res.Insns {
		f := &res.Insns[i]
		if at := slices.Index(v.defs, f.Map); f.Map != nil && at >= 0 {
			f.Map = used[at].Def()
		}
	}
	return &res, nil
}

// fill sets the packet up as PROG_TEST_RUN would.
func (c *Case) fill(pkt *packet.Packet) error {
	v := func(name string) uint32 { return uint32(c.Ctx[name]) }
	if c.Type == catalog.ProgXDP {
		return pkt.SetXDP(c.Packet, packet.XDPOptions{
			RxIfindex: v("ingress_ifindex"), RxQueue: v("rx_queue_index"), Meta: int(v("data")),
		})
	}
	o := packet.SKBOptions{
		L2: c.Type != catalog.ProgSocketFilter && c.Type != catalog.ProgCGroupSKB, OwnSock: true,
		Mark: v("mark"), Priority: v("priority"), IngressIfindex: v("ingress_ifindex"),
		Tstamp: c.Ctx["tstamp"], HWTstamp: c.Ctx["hwtstamp"], WireLen: v("wire_len"), GSOSegs: v("gso_segs"), GSOSize: v("gso_size"),
	}
	for i := range o.CB {
		o.CB[i] = v(fmt.Sprintf("cb[%d]", i))
	}
	if len(c.Ctx) != 0 && o.WireLen == 0 {
		o.WireLen = packet.OwnLen
	}
	return pkt.SetSKB(c.Packet, o)
}

// frameField reads a context field from where it really lies.
func (c *Case) frameField(pkt *packet.Packet, name string) (uint64, error) {
	off, size, err := c.field(name)
	if err != nil {
		return 0, err
	}
	for _, f := range catalog.ProgKindByType(c.Type).Ctx.Fields {
		if off >= f.Off && off < f.Off+f.Size {
			return readField(mem.Bytes(pkt.Addr()+uint64(f.At+off-f.Off), min(size, max(f.AtSize, 4)))), nil
		}
	}
	return 0, fmt.Errorf("context field %q lies nowhere", name)
}
