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
// dropped when written. The machine is little endian, so a narrow access is the
// same access at the address of the bytes meant.
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

// locate returns where in Frame the accessed element lies, which of its bytes
// the access begins with, and how wide it is in the uapi.
func locate(f *catalog.Field, a catalog.Access) (at, byteOff, elem int) {
	elem = f.Elem
	if elem == 0 {
		elem = f.Size
	}
	i := (a.Off - f.Off) / elem
	return f.At + i*f.AtSize, (a.Off - f.Off) % elem, elem
}

var sizeBits = map[int]isa.Opcode{1: isa.B, 2: isa.H, 4: isa.W, 8: isa.DW}

func (c *code) loadField(ins isa.Instruction, f *catalog.Field, a catalog.Access) {
	at, byteOff, elem := locate(f, a)
	load := func(size int) isa.Instruction { return isa.LoadMem(sizeBits[size], ins.Dst, ins.Src, int16(at)) }
	target := f.Target
	if target == 0 {
		target = f.AtSize
	}
	have := min(a.Width, f.AtSize-byteOff) // bytes of the value that lie in Frame
	switch {
	case f.Conv == catalog.ConvConst0:
		c.emit(isa.Mov64Imm(ins.Dst, 0))
	case f.Kind != catalog.FieldScalar:
		c.emit(load(f.AtSize))
	case a.Width > elem: // two elements at once
		c.emit(load(a.Width))
	case a.Width < elem && a.Width >= target:
		c.emit(load(f.AtSize))
		if a.SignExtend {
			c.emit(isa.MovSX64(ins.Dst, ins.Dst, int16(8*a.Width)))
		}
	case have <= 0:
		c.emit(isa.Mov64Imm(ins.Dst, 0))
	case a.SignExtend && have == a.Width:
		at += byteOff
		c.emit(isa.LoadMemSX(sizeBits[have], ins.Dst, ins.Src, int16(at)))
	default: // a zero in the field's upper bytes is its sign, too
		at += byteOff
		c.emit(load(have))
	}
}

func (c *code) storeField(ins isa.Instruction, f *catalog.Field, a catalog.Access) {
	at, byteOff, elem := locate(f, a)
	have := a.Width
	if a.Width <= elem {
		have = min(a.Width, f.AtSize-byteOff)
	}
	at += byteOff
	done := c.newPlace()
	constant := ins.Op.Class() == isa.ClassST
	if f.Conv == catalog.ConvQueue {
		switch {
		case !constant:
			c.jump(isa.JmpImm(isa.Jge, ins.Src, noQueueMapping, 0), done)
		case ins.Imm >= noQueueMapping:
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
