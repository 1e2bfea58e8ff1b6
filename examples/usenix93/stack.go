package main

import "encoding/binary"

// Node is a node of an expression tree: the model of a filter in CSPF, the
// packet filter BPF was measured against.
type Node struct {
	Op          Op
	Value       uint16 // of Lit; of Word the offset in the packet, in bytes
	Left, Right *Node
}

// Op is what a node does.
type Op uint8

// The operations of trees and of the stack machine.
const (
	Lit  Op = iota // a constant
	Word           // 16 bits of the packet
	Mask           // the and of two words' bits
	Eq             // whether two words are equal
	And            // whether two conditions hold
	Or             // whether one of them does
)

// Constructors, so that trees read like expressions.

func lit(v uint16) *Node        { return &Node{Op: Lit, Value: v} }
func word(offset int) *Node     { return &Node{Op: Word, Value: uint16(offset)} }
func mask(a, b *Node) *Node     { return &Node{Op: Mask, Left: a, Right: b} }
func eq(a, b *Node) *Node       { return &Node{Op: Eq, Left: a, Right: b} }
func and(all ...*Node) *Node    { return fold(And, all) }
func or(all ...*Node) *Node     { return fold(Or, all) }
func is(at int, v uint16) *Node { return eq(word(at), lit(v)) }

func fold(op Op, all []*Node) *Node {
	n := all[0]
	for _, next := range all[1:] {
		n = &Node{Op: op, Left: n, Right: next}
	}
	return n
}

// Instruction is one step of the stack machine.
type Instruction struct {
	Op    Op
	Value uint16
}

// Stack turns a tree into the program that computes it: operands, then the
// operator. Every instruction runs on every packet, which is the model's price:
// the machine has no way to skip what cannot matter any more, and no register
// to keep a word it needs again.
func (n *Node) Stack() []Instruction {
	if n == nil {
		return nil
	}
	return append(append(n.Left.Stack(), n.Right.Stack()...), Instruction{n.Op, n.Value})
}

// maxDepth is how many words the machine's stack holds.
const maxDepth = 32

// RunStack runs a program on a packet and returns whether it takes it, and how
// many instructions that took. A word beyond the packet ends the run.
func RunStack(prog []Instruction, packet []byte) (match bool, steps int) {
	var stack [maxDepth]uint16
	top := 0
	for i, ins := range prog {
		switch ins.Op {
		case Lit:
			stack[top%maxDepth] = ins.Value
			top++
			continue
		case Word:
			if int(ins.Value)+2 > len(packet) {
				return false, i + 1
			}
			stack[top%maxDepth] = binary.BigEndian.Uint16(packet[ins.Value:])
			top++
			continue
		}
		a, b := stack[(top-2)%maxDepth], stack[(top-1)%maxDepth]
		top--
		var v uint16
		switch {
		case ins.Op == Mask:
			v = a & b
		case ins.Op == Eq && a == b, ins.Op == And && a != 0 && b != 0, ins.Op == Or && a|b != 0:
			v = 1
		}
		stack[(top-1)%maxDepth] = v
	}
	return stack[0] != 0, len(prog)
}
