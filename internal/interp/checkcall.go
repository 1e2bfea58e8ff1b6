package interp

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// examineCall checks the arguments of a call and what it leaves in registers.
func (c *Checker) examineCall(vm *VM, f *checkedFrame, p *Program, pc int) *Violation {
	ins := p.Insns[pc]
	if ins.IsLocalCall() {
		if vm.depth+1 >= len(c.frames) {
			return violation(p, vm, pc, isa.RFP, "%d functions deep", vm.depth+1)
		}
		c.frames[vm.depth+1] = checkedFrame{init: f.init&argRegs | kernelRegs}
	} else if ins.IsHelperCall() {
		if v := c.examineHelper(vm, f, p, pc, catalog.HelperID(ins.Imm)); v != nil {
			return v
		}
	} else {
		f.call = pendingCall{kfunc: &p.Insns[pc], args: [5]uint64(vm.reg[isa.R1:isa.R6])}
	}
	f.init = f.init&^argRegs | isa.Regs(isa.R0)
	return nil
}

// examineHelper checks each argument of the call to helper id, which is at or
// begins at pc, against the helper's row.
func (c *Checker) examineHelper(vm *VM, f *checkedFrame, p *Program, pc int, id catalog.HelperID) *Violation {
	if c.Helper == nil {
		return nil
	}
	row := c.Helper(p, id)
	if row == nil {
		return violation(p, vm, pc, isa.R0, "no helper %d for this program", id)
	}
	args := [5]uint64(vm.reg[isa.R1:isa.R6])
	var m *catalog.MapDef
	for i, arg := range row.Args {
		if arg.Type.Base() == catalog.ArgNone {
			break
		}
		reg := isa.R1 + isa.Register(i)
		if !f.init.Has(reg) {
			return violation(p, vm, pc, reg, "argument of %s is uninitialised", row.Name)
		}
		if arg.Type.Base() == catalog.ArgConstMapPtr {
			if m = c.Map(args[i]); m == nil {
				return violation(p, vm, pc, reg, "argument of %s is no map", row.Name)
			}
		}
		if why := c.argument(vm, p, row, i, args, m); why != "" {
			return violation(p, vm, pc, reg, "argument of %s: %s", row.Name, why)
		}
	}
	f.call = pendingCall{row: row, args: args}
	return nil
}

// argument says what is wrong with argument i; "" if nothing. m is the map the
// call names.
func (c *Checker) argument(vm *VM, p *Program, row *catalog.Helper, i int, args [5]uint64, m *catalog.MapDef) string {
	arg, v := row.Args[i], args[i]
	if v == 0 && arg.Type.Has(catalog.MaybeNull) {
		return ""
	}
	write := arg.Type.Has(catalog.Uninit) || arg.Type.Has(catalog.Write)
	bytes := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return c.may(vm, v, n, write)
	}
	switch arg.Type.Base() {
	case catalog.ArgMapKey:
		return bytes(uint64(m.KeySize))
	case catalog.ArgMapValue:
		return bytes(uint64(m.ValueSize))
	case catalog.ArgMem:
		if arg.Type.Has(catalog.FixedSize) {
			return bytes(uint64(arg.Size))
		}
		if i+1 < len(args) && isSize(row.Args[i+1].Type) {
			return bytes(args[i+1])
		}
	case catalog.ArgConstStr:
		return bytes(1)
	case catalog.ArgDynptr, catalog.ArgTimer:
		return bytes(16)
	case catalog.ArgSpinLock:
		return bytes(4)
	case catalog.ArgCtx:
		if v != c.ctx {
			return "not the context the run began with"
		}
	case catalog.ArgFunc:
		if err := p.callable(int(v)); err != nil {
			return err.Error()
		}
	case catalog.ArgRingBufMem:
		return c.release(v)
	}
	return ""
}

func isSize(a catalog.ArgType) bool {
	return a.Base() == catalog.ArgConstSize || a.Base() == catalog.ArgConstSizeOrZero
}

const recordName = "ring buffer record"

// release takes a ring buffer record from the run.
func (c *Checker) release(addr uint64) string {
	for i, g := range c.granted {
		if g.Addr == addr && g.Name == recordName {
			c.granted[i] = c.granted[len(c.granted)-1]
			c.granted = c.granted[:len(c.granted)-1]
			return ""
		}
	}
	return "not a record the run holds"
}

// finishCall looks at the result of the call under way: memory it gave the run
// from now on belongs to it.
func (c *Checker) finishCall(vm *VM, f *checkedFrame, p *Program) {
	call, r0 := f.call, vm.reg[isa.R0]
	f.call = pendingCall{}
	switch {
	case call.kfunc != nil:
		if c.Kfunc == nil || r0 == 0 {
			return
		}
		if r := c.Kfunc(p, *call.kfunc, call.args, r0); r.Size != 0 {
			c.grant(r)
		}
	case call.row != nil:
		f.init = f.init&^argRegs | isa.Regs(isa.R0)
		if r, ok := c.given(call, r0); ok {
			c.grant(r)
		}
	}
}

// given says which memory a helper's result names.
func (c *Checker) given(call pendingCall, r0 uint64) (Region, bool) {
	row := call.row
	if r0 == 0 || row.Ret.Base() == catalog.RetInteger || row.Ret.Base() == catalog.RetVoid {
		return Region{}, false
	}
	r := Region{Addr: r0, Writable: !row.Ret.Has(catalog.Rdonly), Name: "memory of " + row.Name}
	switch row.Ret.Base() {
	case catalog.RetMapValue:
		m := c.Map(call.args[0])
		if m == nil || m.Type == catalog.MapArrayOfMaps || m.Type == catalog.MapHashOfMaps {
			return Region{}, false // the result is an inner map, not memory
		}
		if row := catalog.MapKindByType(m.Type); row != nil && row.Holds == catalog.HoldsSockets {
			r.Size, r.Writable = mem.Extent(r0), false
			break
		}
		r.Size = uint64(m.ValueSize)
		r.Writable = m.Flags&catalog.FlagRdonlyProg == 0
	case catalog.RetMem:
		r.Size = uint64(row.RetSize)
		for i, a := range row.Args {
			if a.Type.Base() == catalog.ArgConstAllocSizeOrZero {
				r.Size = call.args[i]
			}
		}
		if row.Ret.Has(catalog.RingBufMem) {
			r.Name = recordName
		}
	default: // kernel objects: skep lays each out in a block
		r.Size, r.Writable = mem.Extent(r0), false
	}
	return r, true
}
