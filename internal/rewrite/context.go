package rewrite

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// noQueueMapping is the least value that a store to queue_mapping drops (NO_QUEUE_MAPPING).
const noQueueMapping = 0xffff

// convertContext turns accesses to the uapi's context into accesses to
// packet.Frame, by the rows of the program type (convert_ctx_accesses).
//
// A value is wider or narrower in Frame than the program takes it for:
// packet pointers are 8 bytes behind fields of 4, and some fields of 4 bytes
// have 2 behind them, as in the kernel. What is not there reads as zero and is
// dropped when written. The machine is little endian, so a narrow access is the same
// access at the address of the bytes meant.
//
// Socket structures, flow keys and the contexts without a Frame lie in memory
// as the uapi draws them and need no conversion.
func convertContext(c *code) {
	if c.kind == nil || !c.kind.Ctx.Frame {
		return
	}
	c.rewrite(func(x *node) bool {
		if c.fact(x).Access != verifier.AccessCtx {
			return false
		}
		a := catalog.Access{
			Off: int(x.ins.Off), Width: x.ins.Op.Bytes(), Attach: c.prog.Attach,
			Write:      x.ins.Op.Class() != isa.ClassLDX,
			SignExtend: x.ins.Op.Mode() == isa.ModeMEMSX,
		}
		f := c.kind.Field(a)
		if f == nil {
			panic("BUG: rewrite: the verifier let a context access pass that no row allows")
		}
		if a.Write {
			c.storeField(x.ins, f, a)
		} else {
			c.loadField(x.ins, f, a)
		}
		return true
	})
}

// locate returns where in Frame the access begins and how many bytes of the
// field lie there.
func locate(f *catalog.Field, a catalog.Access) (at, have int) {
	elem := f.Elem
	if elem == 0 {
		elem = f.Size
	}
	i, byteOff := (a.Off-f.Off)/elem, (a.Off-f.Off)%elem
	at = f.At + i*f.AtSize + byteOff
	switch {
	case f.Kind != catalog.FieldScalar:
		return at, f.AtSize
	case a.Width > elem: // two elements at once
		return at, a.Width
	}
	return at, min(a.Width, f.AtSize-byteOff)
}

var sizeBits = map[int]isa.Opcode{1: isa.B, 2: isa.H, 4: isa.W, 8: isa.DW}

func (c *code) loadField(ins isa.Instruction, f *catalog.Field, a catalog.Access) {
	at, have := locate(f, a)
	switch {
	case have <= 0 || f.Conv == catalog.ConvConst0:
		c.emit(isa.Mov64Imm(ins.Dst, 0))
	case a.SignExtend && have == a.Width:
		c.emit(isa.LoadMemSX(sizeBits[have], ins.Dst, ins.Src, int16(at)))
	default: // a zero in the field's upper bytes is its sign, too
		c.emit(isa.LoadMem(sizeBits[have], ins.Dst, ins.Src, int16(at)))
	}
}

func (c *code) storeField(ins isa.Instruction, f *catalog.Field, a catalog.Access) {
	at, have := locate(f, a)
	done := c.newPlace()
	constant := ins.Op.Class() == isa.ClassST
	if f.Conv == catalog.ConvQueue {
		switch {
		case !constant:
			c.jump(isa.JmpImm(isa.Jge, ins.Src, noQueueMapping, 0), done)
		case uint32(ins.Imm) >= noQueueMapping:
			have = 0
		}
	}
	switch {
	case have <= 0: // nothing lies there
	case constant:
		c.emit(isa.StoreImm(sizeBits[have], ins.Dst, int16(at), ins.Imm))
	default:
		c.emit(isa.StoreMem(sizeBits[have], ins.Dst, ins.Src, int16(at)))
	}
	c.label(done)
}
