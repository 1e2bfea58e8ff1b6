package helpers

import (
	"bytes"

	"github.com/skep-bpf/skep/internal/bprintf"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// seqFuncs write what a reader of an iterator gets (kernel/trace/bpf_trace.c).
// There is one such file at a time: the address of struct seq_file is not looked at.
var seqFuncs = map[catalog.HelperID]Func{
	catalog.FnSeqPrintf: seqPrintf,
	catalog.FnSeqWrite:  seqWrite,
}

func seqPrintf(e *Env, _, format, size, args, n uint64) uint64 {
	var words [bprintf.MaxArgs]uint64
	values, err := loadArgs(&words, args, uint32(n))
	if err != 0 {
		return err.Ret()
	}
	text := mem.Bytes(format, int(uint32(size)))
	end := bytes.IndexByte(text, 0)
	if end < 0 {
		return errno.EINVAL.Ret()
	}
	length, err := e.text.Format(e.line[:], text[:end], values, (*memory)(e))
	if err != 0 {
		return err.Ret()
	}
	return e.seq(e.line[:min(length, maxText-1)])
}

func seqWrite(e *Env, _, data, size, _, _ uint64) uint64 {
	return e.seq(mem.Bytes(data, int(uint32(size))))
}

// seq writes to the file that is read, which a run without one has not.
func (e *Env) seq(b []byte) uint64 {
	if e.Seq == nil {
		return errno.EOVERFLOW.Ret()
	}
	e.Seq(b)
	return 0
}
