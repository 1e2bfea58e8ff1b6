package amd64

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// branch is a jump or call to a label, written in its long form:
//
//	┌───────────────┬──────────────┐      ┌───────────┬──────────────┐
//	│ e9, 0f 8x, e8 │ displacement │      │ eb, 7x    │ displacement │
//	└───────────────┴──────────────┘      └───────────┴──────────────┘
//	▲ at, size 1 or 2    4 bytes            short: 1       1 byte
type branch struct {
	at    int   // where it begins
	size  uint8 // of the long form's opcode
	short byte  // opcode of the short form, 0: there is none
	to    label
	// What relax finds.
	near   bool // the short form reaches
	behind int  // how many branches come before to
}

// jump writes a jump, jumpIf one on a condition, call a call.
func (a *assembler) jump(l label) { a.branch(branch{size: 1, short: 0xeb, to: l}, 0xe9) }

func (a *assembler) jumpIf(c cond, l label) {
	a.byte(0x0f)
	a.branch(branch{at: -1, size: 2, short: 0x70 | byte(c), to: l}, 0x80|byte(c))
}

func (a *assembler) call(l label) { a.branch(branch{size: 1, to: l}, 0xe8) }

func (a *assembler) branch(b branch, op byte) {
	b.at += len(a.code)
	a.branches = append(a.branches, b)
	a.byte(op)
	a.imm32(0)
}

// saved is by how much the short form is shorter.
func (b *branch) saved() int { return int(b.size) + 4 - 2 }

// relax shortens the branches that reach, until no more do, writes all
// displacements, and moves the labels to where the code has come to lie.
func (a *assembler) relax() {
	for i := range a.branches {
		b := &a.branches[i]
		b.behind = a.before(a.at[b.to])
	}
	gone := make([]int, len(a.branches)+1) // by how much the branches before number i have shrunk
	for again := true; again; {
		again = false
		for i := range a.branches {
			b := &a.branches[i]
			if b.near || b.short == 0 {
				continue
			}
			d := a.at[b.to] - gone[b.behind] - (b.at - gone[i] + 2)
			if b.behind > i { // it moves with what this branch saves
				d -= b.saved()
			}
			if b.near = d == int(int8(d)); b.near {
				again = true
			}
		}
		for i := range a.branches {
			gone[i+1] = gone[i]
			if b := &a.branches[i]; b.near {
				gone[i+1] += b.saved()
			}
		}
	}
	a.move(gone)
}

// before returns how many branches begin before an offset.
func (a *assembler) before(off int) int {
	i, _ := slices.BinarySearchFunc(a.branches, off, func(b branch, off int) int { return cmp.Compare(b.at, off) })
	return i
}

// move closes the gaps that shortened branches leave.
func (a *assembler) move(gone []int) {
	i := 0 // branches before the label; most labels are in the code's order
	for l, at := range a.at {
		if at < 0 {
			continue
		}
		if i > 0 && a.branches[i-1].at >= at {
			i = a.before(at)
		}
		for i < len(a.branches) && a.branches[i].at < at {
			i++
		}
		a.at[l] = at - gone[i]
	}
	from, out := 0, a.code[:0]
	for i := range a.branches {
		b := &a.branches[i]
		end := b.at + int(b.size)
		if b.near {
			out = append(append(out, a.code[from:b.at]...), b.short)
			out = append(out, byte(a.at[b.to]-len(out)-1))
		} else {
			out = append(out, a.code[from:end]...)
			out = binary.LittleEndian.AppendUint32(out, uint32(a.at[b.to]-len(out)-4))
		}
		from = end + 4
	}
	a.code = append(out, a.code[from:]...)
}
