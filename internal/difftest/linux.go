package difftest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/isa"
)

// kernel is the engine all others are held against.
type kernel struct{}

func (kernel) Name() string     { return "linux" }
func (kernel) Available() error { return linux.Available() }

func isErrno(err error, e errno.Errno) bool { return errors.Is(err, e) }

// Run loads and runs the case. PROG_TEST_RUN gives the low half of R0 only; a
// program without calls is therefore run a second time, shifted.
func (k kernel) Run(c *Case) (*Outcome, error) {
	o, err := k.run(c, c.Insns)
	if err != nil || !c.plain() {
		return o, err
	}
	high, err := k.run(c, upperHalf(c.Insns))
	if err != nil {
		o.Close()
		return nil, fmt.Errorf("for the upper half of R0: %w", err)
	}
	high.Close()
	o.R0 |= high.R0 << 32
	o.Bits = 64
	return o, nil
}

// plain reports whether the program is nothing but instructions: it can be
// made a subprogram, whatever the depth of calls, and run twice.
func (c *Case) plain() bool {
	for _, ins := range c.Insns {
		if ins.IsHelperCall() || ins.IsKfuncCall() || ins.IsLocalCall() || ins.Op.Class() == isa.ClassLD && ins.Op != isa.LoadImm64 {
			return false
		}
	}
	return true
}

// upperHalf wraps a program so that it returns the upper half of its R0.
func upperHalf(prog []isa.Instruction) []isa.Instruction {
	return isa.Program(
		isa.LocalCall(2),
		isa.ALU64Imm(isa.Rsh, isa.R0, 32),
		isa.ExitInsn(),
		isa.Instructions(prog),
	)
}

func (kernel) run(c *Case, insns []isa.Instruction) (_ *Outcome, err error) {
	o := &Outcome{Bits: 32}
	var open []func() error
	o.Close = func() {
		for _, f := range open {
			f()
		}
	}
	defer func() {
		if err != nil {
			o.Close()
		}
	}()
	var lms []*linux.Map
	for _, m := range c.Maps {
		lm, err := linux.NewMap(&m.Def, nil)
		if err != nil {
			return nil, fmt.Errorf("map %s: %w", m.Def.Name, err)
		}
		open = append(open, lm.Close)
		size, err := lm.ValueLen()
		if err != nil {
			return nil, err
		}
		s := sized{lm, size}
		if err := put(s, m); err != nil {
			return nil, err
		}
		lms, o.Maps = append(lms, lm), append(o.Maps, s)
	}
	load := func(c *Case, insns []isa.Instruction) (*linux.LoadedProg, error) {
		lp, err := c.load(insns, lms)
		if err == nil {
			open = append(open, lp.Close)
		}
		return lp, err
	}
	lp, err := load(c, insns)
	if err != nil {
		return nil, err
	}
	for _, tail := range c.Tails {
		target := lp
		if tail.Case != c {
			if target, err = load(tail.Case, tail.Case.Insns); err != nil {
				return nil, err
			}
		}
		if err := o.set(c, tail, uint32(target.FD())); err != nil {
			return nil, err
		}
	}
	ctx, err := c.uapiCtx()
	if err != nil {
		return nil, err
	}
	out, err := lp.TestRun(&linux.Run{Data: c.Packet, Ctx: ctx})
	if err != nil {
		return nil, err
	}
	o.R0, o.Packet = uint64(out.Ret), out.Data
	o.Field = func(name string) (uint64, error) {
		off, size, err := c.field(name)
		if err != nil {
			return 0, err
		}
		if off+size > len(out.Ctx) {
			return 0, fmt.Errorf("the kernel hands no context out")
		}
		return readField(out.Ctx[off : off+size]), nil
	}
	return o, nil
}

// load hands a program to the kernel, with the types of its functions where it
// has several.
func (c *Case) load(insns []isa.Instruction, lms []*linux.Map) (*linux.LoadedProg, error) {
	p := &linux.Prog{
		Name: "difftest", Type: c.Type, Attach: c.Attach, Flags: c.Flags, Insns: insns, License: "GPL", Maps: lms,
	}
	if f := functions(insns); f != nil {
		blob, info, err := f.linux()
		if err != nil {
			return nil, err
		}
		if p.BTF, err = linux.LoadBTF(blob); err != nil {
			return nil, err
		}
		defer p.BTF.Close()
		p.FuncInfo = info
	}
	lp, err := linux.Load(p)
	if e := (*linux.Error)(nil); errors.As(err, &e) && e.Log != "" {
		return nil, &Refusal{Log: e.Log}
	}
	return lp, err
}

// uapiCtx makes the context that PROG_TEST_RUN takes, nil for its default.
func (c *Case) uapiCtx() ([]byte, error) {
	if len(c.Ctx) == 0 && len(c.WantCtx) == 0 {
		return nil, nil
	}
	ctx := make([]byte, catalog.ProgKindByType(c.Type).Ctx.Size)
	fields := map[string]uint64{}
	if c.Type == catalog.ProgXDP {
		fields["data_end"] = uint64(len(c.Packet))
	}
	for name, v := range c.Ctx {
		fields[name] = v
	}
	for name, v := range fields {
		off, size, err := c.field(name)
		if err != nil {
			return nil, err
		}
		copy(ctx[off:off+size], binary.LittleEndian.AppendUint64(nil, v))
	}
	return ctx, nil
}

// field finds a context field in the uapi struct; cb[2] is the third word of an
// array.
func (c *Case) field(name string) (off, size int, err error) {
	base, index, indexed := strings.Cut(strings.TrimSuffix(name, "]"), "[")
	for _, f := range catalog.ProgKindByType(c.Type).Ctx.Fields {
		if f.Name != base {
			continue
		}
		if !indexed {
			return f.Off, f.Size, nil
		}
		i, err := strconv.Atoi(index)
		return f.Off + 4*i, 4, err
	}
	return 0, 0, fmt.Errorf("%s has no context field %q", c.Type, name)
}

func readField(b []byte) uint64 {
	var word [8]byte
	copy(word[:], b)
	return binary.LittleEndian.Uint64(word[:])
}
