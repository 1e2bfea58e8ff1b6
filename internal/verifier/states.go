package verifier

import (
	"fmt"

	"github.com/skep-bpf/skep/isa"
)

// States is what the verifier claimed of the registers at every slot, for the
// checked interpreter's assertion that runs stay inside it. At each slot there
// is one set of abstract registers per path that came by, or, when there were
// too many, a few that contain them all.
type States struct {
	slots [][]claim
}

// claim is what one visit, or several joined, said of R0–R10. Only numbers say
// something about concrete values; a register that may hold a pointer has any.
type claim struct {
	number [isa.RFP + 1]bool
	values [isa.RFP + 1]scalar
}

// maxClaims bounds how many visits of a slot are kept apart.
const maxClaims = 64

// Contains reports whether concrete registers lie in what was claimed at slot.
// An error says which register does not, and what was claimed of it.
func (s *States) Contains(slot int, regs *[isa.RFP + 1]uint64) error {
	if slot < 0 || slot >= len(s.slots) {
		return fmt.Errorf("slot %d is outside the program", slot)
	}
	claims := s.slots[slot]
	if len(claims) == 0 {
		return fmt.Errorf("slot %d was never reached by the verifier", slot)
	}
	best, worst := -1, -1
	for i := range claims {
		bad := claims[i].outside(regs)
		if bad < 0 {
			return nil
		}
		if bad > worst {
			best, worst = i, bad
		}
	}
	v := &claims[best].values[worst]
	return fmt.Errorf("slot %d: R%d is %#x, outside %s u64=[%#x,%#x] s64=[%#x,%#x] u32=[%#x,%#x] and %d other states",
		slot, worst, regs[worst], v.bits, v.umin, v.umax, uint64(v.smin), uint64(v.smax), v.u32min, v.u32max, len(claims)-1)
}

// outside returns the first register that is not as claimed, or -1.
func (c *claim) outside(regs *[isa.RFP + 1]uint64) int {
	for i := range regs {
		if c.number[i] && !c.values[i].has(regs[i]) {
			return i
		}
	}
	return -1
}

// join makes c contain d as well.
func (c *claim) join(d *claim) {
	for i := range c.number {
		if !c.number[i] || !d.number[i] {
			c.number[i] = false
			continue
		}
		a, b := &c.values[i], &d.values[i]
		a.bits = a.bits.union(b.bits)
		a.smin, a.smax = min(a.smin, b.smin), max(a.smax, b.smax)
		a.umin, a.umax = min(a.umin, b.umin), max(a.umax, b.umax)
		a.s32min, a.s32max = min(a.s32min, b.s32min), max(a.s32max, b.s32max)
		a.u32min, a.u32max = min(a.u32min, b.u32min), max(a.u32max, b.u32max)
	}
}

// contains reports whether d adds nothing to c.
func (c *claim) contains(d *claim) bool {
	for i := range c.number {
		if c.number[i] && (!d.number[i] || !c.values[i].contains(&d.values[i])) {
			return false
		}
	}
	return true
}

// recorder collects claims while paths are followed.
type recorder struct {
	slots [][]claim
}

func newRecorder(slots int) *recorder { return &recorder{slots: make([][]claim, slots)} }

// record notes the live registers before the current instruction. While there
// is a recorder, a path is pruned only where all its live numbers lie in those
// of the state that stands for it, so what follows need not be recorded twice.
func (r *recorder) record(e *env) {
	regs := e.regs()
	var c claim
	live := e.aux[e.insn].live
	for i := range regs {
		g := &regs[i]
		if g.typ == scalarValue && live&(1<<i) != 0 {
			c.number[i], c.values[i] = true, g.scalar
		}
	}
	list := r.slots[e.insn]
	for i := range list {
		if list[i].contains(&c) {
			return
		}
	}
	if len(list) < maxClaims {
		r.slots[e.insn] = append(list, c)
		return
	}
	list[len(list)-1].join(&c)
}

func (r *recorder) states() *States { return &States{slots: r.slots} }
