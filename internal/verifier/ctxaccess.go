package verifier

import (
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
)

// accessCtx checks a load or store of the context by the program type's rows (check_ctx_access).
func (e *env) accessCtx(a access, r *reg) *Error {
	if err := e.checkLeak(a, "ctx"); err != nil {
		return err
	}
	if err := e.checkFixedOff(r, a.ptr, false); err != nil {
		return err
	}
	off := a.off + int(r.off)
	if e.facts.kind.Ctx.Typed {
		return e.accessTypedCtx(a, off)
	}
	f := e.facts.kind.Field(catalog.Access{
		Off: off, Width: a.size, Write: a.write, SignExtend: a.sx,
		Attach: e.p.Attach, Unprivileged: !e.capable,
	})
	if f == nil || e.ctxRefused(f, off, a) {
		err := e.refuse(errno.EACCES, "invalid bpf_context access off=%d size=%d", off, a.size)
		e.logLine(e.insn, "; ")
		return err
	}
	if a.write || a.val == noReg {
		return nil
	}
	dst := &e.regs()[a.val]
	t, ptr := ctxPointers[f.Kind]
	if !ptr {
		e.markUnknown(dst)
		e.narrow(a)
		return nil
	}
	dst.setPtr(t)
	if f.Kind == catalog.FieldBTF {
		dst.typ |= trusted
		if dst.btf = e.kernelStruct(f.BTF); dst.btf == nil {
			return e.unsupported("struct %s without kernel BTF", f.BTF)
		}
	}
	if f.MaybeNull {
		dst.typ |= mayBeNull
		dst.id = e.newID()
	}
	return nil
}

// ctxPointers are the types of context fields that are pointers.
var ctxPointers = map[catalog.FieldKind]regType{
	catalog.FieldPkt:        ptrToPacket,
	catalog.FieldPktMeta:    ptrToPacketMeta,
	catalog.FieldPktEnd:     ptrToPacketEnd,
	catalog.FieldSock:       ptrToSocket,
	catalog.FieldSockCommon: ptrToSockCommon,
	catalog.FieldTCPSock:    ptrToTCPSock,
	catalog.FieldXDPSock:    ptrToXDPSock,
	catalog.FieldFlowKeys:   ptrToFlowKeys,
	catalog.FieldTPBuffer:   ptrToTPBuffer,
	catalog.FieldBTF:        ptrToBTF,
}

// ctxRefused has the rules that a row cannot say.
func (e *env) ctxRefused(f *catalog.Field, off int, a access) bool {
	return false
}
