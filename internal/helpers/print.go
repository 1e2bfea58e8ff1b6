package helpers

import (
	"bytes"

	"github.com/skep-bpf/skep/internal/bprintf"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/mem"
)

// printFuncs format text (kernel/bpf/helpers.c, kernel/trace/bpf_trace.c).
var printFuncs = map[catalog.HelperID]Func{
	catalog.FnTracePrintk:  tracePrintk,
	catalog.FnTraceVprintk: traceVprintk,
	catalog.FnSnprintf:     snprintf,
}

// maxText is the length of one trace line, zero byte included (MAX_BPRINTF_BUF).
const maxText = 1024

func tracePrintk(e *Env, format, size, a1, a2, a3 uint64) uint64 {
	args := [3]uint64{a1, a2, a3}
	return e.trace(mem.Bytes(format, int(uint32(size))), args[:])
}

func traceVprintk(e *Env, format, size, args, n, _ uint64) uint64 {
	var words [bprintf.MaxArgs]uint64
	values, err := loadArgs(&words, args, uint32(n))
	if err != 0 {
		return err.Ret()
	}
	return e.trace(mem.Bytes(format, int(uint32(size))), values)
}

// trace formats a line into the trace and returns its length, uncut.
func (e *Env) trace(format []byte, args []uint64) uint64 {
	end := bytes.IndexByte(format, 0)
	if end < 0 {
		return errno.EINVAL.Ret()
	}
	n, err := e.text.Format(e.line[:], format[:end], args, (*memory)(e))
	if err != 0 {
		return err.Ret()
	}
	line := e.line[:min(n, maxText-1)]
	e.Host.Trace(e.CPU, e.Prog, line)
	if e.Printed != nil {
		e.Printed(line)
	}
	return uint64(n)
}

// snprintf formats into a buffer and returns how much the whole text with its
// zero byte takes. The format is a constant string of a read-only map.
func snprintf(e *Env, str, size, format, args, n uint64) uint64 {
	var words [bprintf.MaxArgs]uint64
	values, err := loadArgs(&words, args, uint32(n))
	if err != 0 {
		return err.Ret()
	}
	end := uint64(0)
	for mem.Load8(format+end) != 0 {
		end++
	}
	length, err := e.text.Format(mem.Bytes(str, int(uint32(size))), mem.Bytes(format, int(end)), values, (*memory)(e))
	if err != 0 {
		return err.Ret()
	}
	return uint64(length) + 1
}

// loadArgs reads n bytes of 64-bit arguments.
func loadArgs(words *[bprintf.MaxArgs]uint64, addr uint64, n uint32) ([]uint64, errno.Errno) {
	if n%8 != 0 || n > bprintf.MaxArgs*8 || n != 0 && addr == 0 {
		return nil, errno.EINVAL
	}
	for i := range n / 8 {
		words[i] = mem.Load64(addr + 8*uint64(i))
	}
	return words[:n/8], 0
}
