package linux

import (
	"runtime"
	"time"
	"unsafe"
)

// Run is the input of PROG_TEST_RUN. Nil Data or Ctx is not handed in at all.
type Run struct {
	Data      []byte // the packet
	Ctx       []byte // uapi context: struct xdp_md, struct __sk_buff, or the type's own
	Repeat    uint32 // 0 and 1: once
	Flags     uint32 // BPF_F_TEST_*
	CPU       uint32 // with BPF_F_TEST_RUN_ON_CPU
	BatchSize uint32 // with BPF_F_TEST_XDP_LIVE_FRAMES
	// NoDataOut asks for no packet back; some program types refuse the question.
	NoDataOut bool
	// DataRoom and CtxRoom are how many bytes may come back; 0: as many as went in, and
	// for packets some more.
	DataRoom, CtxRoom int
}

// Outcome is what a test run left.
type Outcome struct {
	Ret      uint32 // R0
	Data     []byte // packet afterwards
	Ctx      []byte // context afterwards, when one was handed in
	Duration time.Duration
}

// testRunAttr is the part of union bpf_attr that PROG_TEST_RUN uses.
type testRunAttr struct {
	progFD      uint32
	retval      uint32
	dataSizeIn  uint32
	dataSizeOut uint32
	dataIn      unsafe.Pointer
	dataOut     unsafe.Pointer
	repeat      uint32
	duration    uint32
	ctxSizeIn   uint32
	ctxSizeOut  uint32
	ctxIn       unsafe.Pointer
	ctxOut      unsafe.Pointer
	flags       uint32
	cpu         uint32
	batchSize   uint32
	_           uint32
}

// testRunSlack is how much a packet may grow in a test run before the output
// buffer has to be asked for again: the headroom and tailroom the kernel gives.
const testRunSlack = 4096

// TestRun runs the program on the given input. Duration is the mean per run in
// whole nanoseconds, as the kernel measures it.
func (p *LoadedProg) TestRun(in *Run) (*Outcome, error) {
	attr := testRunAttr{
		progFD: uint32(p.fd), repeat: in.Repeat, flags: in.Flags, cpu: in.CPU, batchSize: in.BatchSize,
		dataIn: unsafe.Pointer(unsafe.SliceData(in.Data)), dataSizeIn: uint32(len(in.Data)),
		ctxIn: unsafe.Pointer(unsafe.SliceData(in.Ctx)), ctxSizeIn: uint32(len(in.Ctx)),
	}
	var data []byte
	if in.Data != nil && !in.NoDataOut {
		room := in.DataRoom
		if room == 0 {
			room = len(in.Data) + testRunSlack
		}
		data = make([]byte, room)
		attr.dataOut, attr.dataSizeOut = unsafe.Pointer(&data[0]), uint32(len(data))
	}
	var ctx []byte
	if in.Ctx != nil {
		ctx = make([]byte, max(in.CtxRoom, len(in.Ctx)))
		attr.ctxOut, attr.ctxSizeOut = unsafe.Pointer(unsafe.SliceData(ctx)), uint32(len(ctx))
	}
	err := undisturbed(func() error {
		_, err := bpf(cmdProgTestRun, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
		return err
	})
	runtime.KeepAlive(p)
	if err != nil {
		return nil, err
	}
	return &Outcome{
		Ret:      attr.retval,
		Data:     data[:min(len(data), int(attr.dataSizeOut))],
		Ctx:      ctx[:min(len(ctx), int(attr.ctxSizeOut))],
		Duration: time.Duration(attr.duration),
	}, nil
}
