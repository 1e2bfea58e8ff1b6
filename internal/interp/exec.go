package interp

import (
	"github.com/skep-bpf/skep/internal/mem"
	"github.com/skep-bpf/skep/isa"
)

// simm widens an immediate as 64-bit arithmetic takes it.
func simm(ins *isa.Instruction) uint64 { return uint64(int64(ins.Imm)) }

// at is the address a load or store reaches from the base register's value.
func at(base uint64, ins *isa.Instruction) uint64 { return base + uint64(int64(ins.Off)) }

// exec runs from vm.pc until the frame vm.floor returns or the run is being
// left (vm.unwind). Each case is one opcode; 32-bit arithmetic clears the upper
// half, shifts take their count modulo the width.
//
// What needs more than registers and memory is done by rare, in control.go.
// Between two such instructions the slot and the code live in machine registers
// only, which is what makes the loop as fast as it is.
func (vm *VM) exec() {
	pc, code := vm.pc, vm.code
	for {
		if vm.checker != nil {
			vm.pc = pc
			if !vm.examine() {
				return
			}
			pc, code = vm.pc, vm.code
		}
		ins := &code[pc]
		pc++
		dst, src := &vm.reg[ins.Dst&15], &vm.reg[ins.Src&15]
		switch ins.Op {
		// 64-bit arithmetic.
		case alu64 | isa.Add:
			*dst += simm(ins)
		case alu64 | isa.Add | x:
			*dst += *src
		case alu64 | isa.Sub:
			*dst -= simm(ins)
		case alu64 | isa.Sub | x:
			*dst -= *src
		case alu64 | isa.Mul:
			*dst *= simm(ins)
		case alu64 | isa.Mul | x:
			*dst *= *src
		case alu64 | isa.Or:
			*dst |= simm(ins)
		case alu64 | isa.Or | x:
			*dst |= *src
		case alu64 | isa.And:
			*dst &= simm(ins)
		case alu64 | isa.And | x:
			*dst &= *src
		case alu64 | isa.Xor:
			*dst ^= simm(ins)
		case alu64 | isa.Xor | x:
			*dst ^= *src
		case alu64 | isa.Div:
			*dst = anyDiv64(*dst, simm(ins), ins.Off)
		case alu64 | isa.Div | x:
			*dst = anyDiv64(*dst, *src, ins.Off)
		case alu64 | isa.Mod:
			*dst = anyMod64(*dst, simm(ins), ins.Off)
		case alu64 | isa.Mod | x:
			*dst = anyMod64(*dst, *src, ins.Off)
		case alu64 | isa.Lsh:
			*dst <<= uint32(ins.Imm) & 63
		case alu64 | isa.Lsh | x:
			*dst <<= *src & 63
		case alu64 | isa.Rsh:
			*dst >>= uint32(ins.Imm) & 63
		case alu64 | isa.Rsh | x:
			*dst >>= *src & 63
		case alu64 | isa.Arsh:
			*dst = uint64(int64(*dst) >> (uint32(ins.Imm) & 63))
		case alu64 | isa.Arsh | x:
			*dst = uint64(int64(*dst) >> (*src & 63))
		case alu64 | isa.Neg:
			*dst = -*dst
		case alu64 | isa.Mov:
			*dst = simm(ins)
		case alu64 | isa.Mov | x:
			*dst = sext(*src, ins.Off)
		case alu64 | isa.End:
			*dst = bswap(*dst, ins.Imm)

		// 32-bit arithmetic.
		case alu32 | isa.Add:
			*dst = uint64(uint32(*dst) + uint32(ins.Imm))
		case alu32 | isa.Add | x:
			*dst = uint64(uint32(*dst) + uint32(*src))
		case alu32 | isa.Sub:
			*dst = uint64(uint32(*dst) - uint32(ins.Imm))
		case alu32 | isa.Sub | x:
			*dst = uint64(uint32(*dst) - uint32(*src))
		case alu32 | isa.Mul:
			*dst = uint64(uint32(*dst) * uint32(ins.Imm))
		case alu32 | isa.Mul | x:
			*dst = uint64(uint32(*dst) * uint32(*src))
		case alu32 | isa.Or:
			*dst = uint64(uint32(*dst) | uint32(ins.Imm))
		case alu32 | isa.Or | x:
			*dst = uint64(uint32(*dst) | uint32(*src))
		case alu32 | isa.And:
			*dst = uint64(uint32(*dst) & uint32(ins.Imm))
		case alu32 | isa.And | x:
			*dst = uint64(uint32(*dst) & uint32(*src))
		case alu32 | isa.Xor:
			*dst = uint64(uint32(*dst) ^ uint32(ins.Imm))
		case alu32 | isa.Xor | x:
			*dst = uint64(uint32(*dst) ^ uint32(*src))
		case alu32 | isa.Div:
			*dst = anyDiv32(uint32(*dst), uint32(ins.Imm), ins.Off)
		case alu32 | isa.Div | x:
			*dst = anyDiv32(uint32(*dst), uint32(*src), ins.Off)
		case alu32 | isa.Mod:
			*dst = anyMod32(uint32(*dst), uint32(ins.Imm), ins.Off)
		case alu32 | isa.Mod | x:
			*dst = anyMod32(uint32(*dst), uint32(*src), ins.Off)
		case alu32 | isa.Lsh:
			*dst = uint64(uint32(*dst) << (uint32(ins.Imm) & 31))
		case alu32 | isa.Lsh | x:
			*dst = uint64(uint32(*dst) << (*src & 31))
		case alu32 | isa.Rsh:
			*dst = uint64(uint32(*dst) >> (uint32(ins.Imm) & 31))
		case alu32 | isa.Rsh | x:
			*dst = uint64(uint32(*dst) >> (*src & 31))
		case alu32 | isa.Arsh:
			*dst = uint64(uint32(int32(*dst) >> (uint32(ins.Imm) & 31)))
		case alu32 | isa.Arsh | x:
			*dst = uint64(uint32(int32(*dst) >> (*src & 31)))
		case alu32 | isa.Neg:
			*dst = uint64(-uint32(*dst))
		case alu32 | isa.Mov:
			*dst = uint64(uint32(ins.Imm))
		case alu32 | isa.Mov | x:
			*dst = uint64(uint32(sext(*src, ins.Off)))
		case alu32 | isa.End:
			*dst = toLE(*dst, ins.Imm)
		case alu32 | isa.End | x:
			*dst = bswap(*dst, ins.Imm)

		// Loads.
		case isa.LoadImm64:
			*dst = uint64(uint32(ins.Imm)) | uint64(uint32(code[pc].Imm))<<32
			if ins.Src == isa.PseudoFunc {
				*dst = uint64(pc + int(ins.Imm)) // a callback's token is its slot
			}
			pc++
		case ldxB:
			*dst = uint64(mem.Load8(at(*src, ins)))
		case ldxH:
			*dst = uint64(mem.Load16(at(*src, ins)))
		case ldxW:
			*dst = uint64(mem.Load32(at(*src, ins)))
		case ldxDW:
			*dst = mem.Load64(at(*src, ins))
		case ldsB:
			*dst = sext8(uint64(mem.Load8(at(*src, ins))))
		case ldsH:
			*dst = sext16(uint64(mem.Load16(at(*src, ins))))
		case ldsW:
			*dst = sext32(mem.Load32(at(*src, ins)))

		// Stores.
		case stB:
			mem.Store8(at(*dst, ins), uint8(ins.Imm))
		case stxB:
			mem.Store8(at(*dst, ins), uint8(*src))
		case stH:
			mem.Store16(at(*dst, ins), uint16(ins.Imm))
		case stxH:
			mem.Store16(at(*dst, ins), uint16(*src))
		case stW:
			mem.Store32(at(*dst, ins), uint32(ins.Imm))
		case stxW:
			mem.Store32(at(*dst, ins), uint32(*src))
		case stDW:
			mem.Store64(at(*dst, ins), simm(ins))
		case stxDW:
			mem.Store64(at(*dst, ins), *src)

		// Jumps.
		case opGoto:
			goto jump
		case jmp | isa.Jeq:
			if *dst == simm(ins) {
				goto jump
			}
		case jmp | isa.Jeq | x:
			if *dst == *src {
				goto jump
			}
		case jmp | isa.Jne:
			if *dst != simm(ins) {
				goto jump
			}
		case jmp | isa.Jne | x:
			if *dst != *src {
				goto jump
			}
		case jmp | isa.Jgt:
			if *dst > simm(ins) {
				goto jump
			}
		case jmp | isa.Jgt | x:
			if *dst > *src {
				goto jump
			}
		case jmp | isa.Jge:
			if *dst >= simm(ins) {
				goto jump
			}
		case jmp | isa.Jge | x:
			if *dst >= *src {
				goto jump
			}
		case jmp | isa.Jlt:
			if *dst < simm(ins) {
				goto jump
			}
		case jmp | isa.Jlt | x:
			if *dst < *src {
				goto jump
			}
		case jmp | isa.Jle:
			if *dst <= simm(ins) {
				goto jump
			}
		case jmp | isa.Jle | x:
			if *dst <= *src {
				goto jump
			}
		case jmp | isa.Jset:
			if *dst&simm(ins) != 0 {
				goto jump
			}
		case jmp | isa.Jset | x:
			if *dst&*src != 0 {
				goto jump
			}
		case jmp | isa.Jsgt:
			if int64(*dst) > int64(ins.Imm) {
				goto jump
			}
		case jmp | isa.Jsgt | x:
			if int64(*dst) > int64(*src) {
				goto jump
			}
		case jmp | isa.Jsge:
			if int64(*dst) >= int64(ins.Imm) {
				goto jump
			}
		case jmp | isa.Jsge | x:
			if int64(*dst) >= int64(*src) {
				goto jump
			}
		case jmp | isa.Jslt:
			if int64(*dst) < int64(ins.Imm) {
				goto jump
			}
		case jmp | isa.Jslt | x:
			if int64(*dst) < int64(*src) {
				goto jump
			}
		case jmp | isa.Jsle:
			if int64(*dst) <= int64(ins.Imm) {
				goto jump
			}
		case jmp | isa.Jsle | x:
			if int64(*dst) <= int64(*src) {
				goto jump
			}
		case jmp32 | isa.Jeq:
			if uint32(*dst) == uint32(ins.Imm) {
				goto jump
			}
		case jmp32 | isa.Jeq | x:
			if uint32(*dst) == uint32(*src) {
				goto jump
			}
		case jmp32 | isa.Jne:
			if uint32(*dst) != uint32(ins.Imm) {
				goto jump
			}
		case jmp32 | isa.Jne | x:
			if uint32(*dst) != uint32(*src) {
				goto jump
			}
		case jmp32 | isa.Jgt:
			if uint32(*dst) > uint32(ins.Imm) {
				goto jump
			}
		case jmp32 | isa.Jgt | x:
			if uint32(*dst) > uint32(*src) {
				goto jump
			}
		case jmp32 | isa.Jge:
			if uint32(*dst) >= uint32(ins.Imm) {
				goto jump
			}
		case jmp32 | isa.Jge | x:
			if uint32(*dst) >= uint32(*src) {
				goto jump
			}
		case jmp32 | isa.Jlt:
			if uint32(*dst) < uint32(ins.Imm) {
				goto jump
			}
		case jmp32 | isa.Jlt | x:
			if uint32(*dst) < uint32(*src) {
				goto jump
			}
		case jmp32 | isa.Jle:
			if uint32(*dst) <= uint32(ins.Imm) {
				goto jump
			}
		case jmp32 | isa.Jle | x:
			if uint32(*dst) <= uint32(*src) {
				goto jump
			}
		case jmp32 | isa.Jset:
			if uint32(*dst)&uint32(ins.Imm) != 0 {
				goto jump
			}
		case jmp32 | isa.Jset | x:
			if uint32(*dst)&uint32(*src) != 0 {
				goto jump
			}
		case jmp32 | isa.Jsgt:
			if int32(*dst) > ins.Imm {
				goto jump
			}
		case jmp32 | isa.Jsgt | x:
			if int32(*dst) > int32(*src) {
				goto jump
			}
		case jmp32 | isa.Jsge:
			if int32(*dst) >= ins.Imm {
				goto jump
			}
		case jmp32 | isa.Jsge | x:
			if int32(*dst) >= int32(*src) {
				goto jump
			}
		case jmp32 | isa.Jslt:
			if int32(*dst) < ins.Imm {
				goto jump
			}
		case jmp32 | isa.Jslt | x:
			if int32(*dst) < int32(*src) {
				goto jump
			}
		case jmp32 | isa.Jsle:
			if int32(*dst) <= ins.Imm {
				goto jump
			}
		case jmp32 | isa.Jsle | x:
			if int32(*dst) <= int32(*src) {
				goto jump
			}

		default:
			vm.pc = pc
			if !vm.rare() {
				return
			}
			pc, code = vm.pc, vm.code
		}
		continue

	jump:
		pc += int(ins.Off)
		if ins.Off < 0 {
			if vm.fuel += int64(ins.Off); vm.fuel <= 0 {
				vm.pc = pc
				if !vm.refill() {
					return
				}
				pc, code = vm.pc, vm.code
			}
		}
	}
}
