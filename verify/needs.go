package verify

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/skep-bpf/skep"
	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Need is something a kernel must have to load a program.
type Need struct {
	What   string // "helper bpf_loop"
	Since  Kernel // the first release that has it
	Commit string // in Linux's repository; "" where the release alone is known
	// Likely: an older kernel may do without, but is not sure to.
	Likely bool
	Place  Place // where it is first needed
}

// String returns "helper bpf_loop, since 5.17 (e6f2dd0f8067)".
func (n *Need) String() string {
	if n.Commit == "" {
		return fmt.Sprintf("%s, since %v", n.What, n.Since)
	}
	return fmt.Sprintf("%s, since %v (%s)", n.What, n.Since, n.Commit)
}

// collector gathers the needs of one program.
type collector struct {
	img  *image.Image
	prog *image.Program
	res  *skep.VerifierResult
	list []Need
	seen map[string]bool
	maps map[*image.Map]bool
}

// needs returns what an accepted program needs, in the order of the program.
func needs(img *image.Image, ip *image.Program, res *skep.VerifierResult) []Need {
	c := collector{img: img, prog: ip, res: res, seen: map[string]bool{}, maps: map[*image.Map]bool{}}
	c.program()
	for slot := 0; slot < len(ip.Insns); slot++ {
		ins := ip.Insns[slot]
		if res.Insns[slot].Seen {
			c.instruction(slot, ins)
		}
		if ins.IsLoadImm64() {
			slot++
		}
	}
	for _, m := range img.Maps { // those no program names are created, too
		if !m.Optional {
			c.mapType(-1, m)
		}
	}
	c.loops()
	c.complexity()
	slices.SortStableFunc(c.list, func(a, b Need) int { return cmp.Compare(a.Place.Insn, b.Place.Insn) })
	return c.list
}

// need notes something, unless every kernel has it or it is known to be needed
// from an instruction before.
func (c *collector) need(slot int, what string, since catalog.Since, likely bool) {
	if since.Version == "" || since.Release().Compare(catalog.OldestRelease) <= 0 || c.seen[what] {
		return
	}
	c.seen[what] = true
	c.list = append(c.list, Need{
		What: what, Since: since.Release(), Commit: since.Commit, Likely: likely, Place: place(c.prog, slot),
	})
}

// ability notes one of the catalog's abilities.
func (c *collector) ability(slot int, name string) {
	a := catalog.AbilityByName(name)
	c.need(slot, a.Name, a.Since, a.Likely)
}

// program notes what the program as a whole needs.
func (c *collector) program() {
	p := c.prog
	if k := catalog.ProgKindByType(p.Type); k != nil {
		c.need(-1, "program type "+k.Name, k.SinceFirst(), false)
	}
	if attachMatters(p) {
		c.need(-1, "attach type "+p.Attach.String(), p.Attach.SinceFirst(), false)
	}
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if p.Flags&bit != 0 {
			name, since := catalog.LoadFlagSince(bit)
			c.need(-1, name, since, false)
		}
	}
	if p.Type == catalog.ProgKprobe && p.Flags&catalog.LoadSleepable != 0 {
		c.ability(-1, catalog.AbilitySleepUprobe)
	}
	if row := catalog.AbilityByName(catalog.AbilityInsns); len(p.Insns) > row.Before {
		c.need(-1, row.Name, row.Since, false)
	}
}

// attachMatters says whether a kernel that does not know the program's expected
// attach type cannot load it, or not attach it where it belongs. The others ran
// before there was a number for where (XDP, sk_reuseport, perf_event, tc), and
// loaders leave it out on kernels that do not know it.
func attachMatters(p *image.Program) bool {
	switch p.Attach {
	case 0, catalog.AttachXDP, catalog.AttachSkReuseportSelect, catalog.AttachSkReuseportSelectOrMigrate, catalog.AttachPerfEvent:
		return false
	case catalog.AttachTCXIngress, catalog.AttachTCXEgress:
		return p.Section != "tc/ingress" && p.Section != "tc/egress"
	}
	return true
}

// instruction notes what one instruction needs.
func (c *collector) instruction(slot int, ins isa.Instruction) {
	p := c.prog
	switch {
	case ins.IsLoadImm64():
		c.load64(slot, ins)
		return
	case ins.IsHelperCall():
		c.helper(slot, catalog.HelperID(ins.Imm))
		return
	case ins.IsKfuncCall():
		c.kfunc(slot, ins.Imm)
		return
	case ins.IsLocalCall():
		c.ability(slot, catalog.AbilityCalls)
		return
	}
	c.form(slot, ins)
	c.bounds(slot, ins)
	class := ins.Op.Class()
	write := class == isa.ClassST || class == isa.ClassSTX
	off := int(ins.Off)
	if class == isa.ClassLD { // LD_ABS and LD_IND reach packets their own way
		return
	}
	switch access := c.res.Insns[slot].Access; access {
	case verifier.AccessCtx:
		kind := catalog.ProgKindByType(p.Type)
		f := kind.Field(catalog.Access{Off: off, Width: ins.Op.Bytes(), Write: write, Prog: p.Type, Attach: p.Attach})
		if f != nil {
			c.need(slot, fmt.Sprintf("field %s.%s", kind.Ctx.Name, f.Name), catalog.FieldSince(kind.Ctx, f, p.Type), false)
		}
	case verifier.AccessSock, verifier.AccessTCPSock, verifier.AccessXDPSock:
		kind := map[verifier.Access]catalog.FieldKind{verifier.AccessSock: catalog.FieldSock,
			verifier.AccessTCPSock: catalog.FieldTCPSock, verifier.AccessXDPSock: catalog.FieldXDPSock}[access]
		if f := catalog.SockField(kind, off, ins.Op.Bytes()); f != nil {
			c.need(slot, "socket field "+f.Name, catalog.SockFieldSince(kind, f), false)
		}
	case verifier.AccessPacket:
		switch {
		case p.Type == catalog.ProgCGroupSKB:
			c.ability(slot, catalog.AbilityPacketCGroup)
		case p.Type == catalog.ProgXDP: // from the start
		case write:
			c.ability(slot, catalog.AbilityPacketWrite)
		default:
			c.ability(slot, catalog.AbilityPacket)
		}
	case verifier.AccessBTF:
		c.ability(slot, catalog.AbilityBTFPointers)
	case verifier.AccessArena:
		c.ability(slot, catalog.AbilityArena)
	}
}

// form notes the form of an instruction.
func (c *collector) form(slot int, ins isa.Instruction) {
	if row := isa.Lookup(ins); row != nil {
		since, what := catalog.InsnSince(row)
		c.need(slot, what, since, false)
	}
}

// bounds notes arithmetic and comparisons that only later verifiers draw
// conclusions from. Whether a program depends on these is not known.
func (c *collector) bounds(slot int, ins isa.Instruction) {
	switch ins.Op.Class() {
	case isa.ClassALU:
		switch ins.Op.ALUOp() {
		case isa.Add, isa.Sub, isa.Mul, isa.Lsh, isa.Arsh:
			c.ability(slot, catalog.AbilityALU32)
		}
	case isa.ClassJMP32:
		switch ins.Op.JumpOp() {
		case isa.Jgt, isa.Jge, isa.Jlt, isa.Jle, isa.Jsgt, isa.Jsge, isa.Jslt, isa.Jsle:
			c.ability(slot, catalog.AbilityALU32)
			if ins.Op.UsesReg() {
				c.ability(slot, catalog.AbilityRegCompare)
			}
		}
	}
}

// load64 notes what a 64-bit load names. Loaders give maps by file descriptor
// where the kernel knows no indices.
func (c *collector) load64(slot int, ins isa.Instruction) {
	switch ins.Src {
	case isa.PseudoMapIdx, isa.PseudoMapIdxValue:
		if ins.Src == isa.PseudoMapIdxValue {
			ins.Src = isa.PseudoMapValue
			c.form(slot, ins)
		}
		if i := int(ins.Imm); i >= 0 && i < len(c.img.Maps) {
			c.mapType(slot, c.img.Maps[i])
		}
	case isa.PseudoBTFID:
		c.form(slot, ins)
	case isa.PseudoFunc:
		c.ability(slot, catalog.AbilityCallbacks)
	}
}

// mapType notes what it takes to make a map.
func (c *collector) mapType(slot int, m *image.Map) {
	kind := catalog.MapKindByType(m.Type)
	if kind == nil || c.maps[m] {
		return
	}
	c.maps[m] = true
	c.need(slot, "map type "+kind.Name, kind.SinceFirst(), false)
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if m.Flags&bit == 0 || bit == catalog.FlagMmapable && m.Kind != image.KindDefined {
			continue // loaders make global data without where they must
		}
		for name := range catalog.MapFlagNames(bit) {
			c.need(slot, "map flag "+name, catalog.MapFlagSince(m.Type, bit), false)
		}
	}
	if m.Value != nil {
		special, _ := catalog.FindSpecial(m.Value, false)
		for _, f := range special {
			c.need(slot, f.Kind.String()+" in a map value", catalog.SpecialSince(f.Kind), false)
		}
	}
	if m.Inner != nil {
		c.mapType(slot, m.Inner)
	}
}

// helper notes a call, by what the helper's row says of this type of program.
func (c *collector) helper(slot int, id catalog.HelperID) {
	kind := catalog.ProgKindByType(c.prog.Type)
	row := kind.Helper(id, c.prog.Attach)
	if row == nil {
		row = catalog.HelperByID(id)
	}
	if row == nil {
		return
	}
	what := "helper " + id.String()
	since := row.SinceFor(c.prog.Type, c.prog.Attach)
	if since.Version != row.Since {
		what += " in " + kind.Name + " programs"
	}
	c.need(slot, what, since, false)
	if id == catalog.FnTailCall && slices.ContainsFunc(c.prog.Insns, isa.Instruction.IsLocalCall) {
		c.ability(slot, catalog.AbilityTailAndCalls)
	}
}

// kfunc notes a call of a kernel function, known by its name in the object. Of
// those that have no row (modules', tests') nothing is known but that such calls
// are possible at all.
func (c *collector) kfunc(slot int, id int32) {
	c.form(slot, isa.Instruction{Op: isa.Opcode(isa.ClassJMP) | isa.Call, Src: isa.CallKfunc})
	for _, e := range c.img.Externs {
		if e.Kind != image.ExternFunc || int32(e.ID) != id {
			continue
		}
		if k := catalog.KfuncByName(e.Name); k != nil {
			c.need(slot, "kernel function "+e.Name, k.SinceFor(c.prog.Type), false)
		}
		return
	}
}

// complexity notes limits that the figures of this verification come near to.
// Other releases prune differently, so the figures there are others.
func (c *collector) complexity() {
	row := catalog.AbilityByName(catalog.AbilityComplexity)
	switch n := c.res.Stats.InsnProcessed; {
	case n > row.Before:
		c.need(-1, fmt.Sprintf("more than %d instructions processed", row.Before), row.Since, false)
	case n > row.Before/4:
		c.need(-1, fmt.Sprintf("%d instructions processed of %d", n, row.Before), row.Since, true)
	}
	if n := c.res.Stats.InsnProcessed; n > row.Now/2 {
		newest := catalog.Since{Version: catalog.NewestRelease.String()}
		c.need(-1, fmt.Sprintf("%d instructions processed of %d", n, row.Now), newest, true)
	}
}
