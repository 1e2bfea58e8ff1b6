//go:build linux

package bpfsys

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

// side is one of the two that are asked: the kernel, or a System.
type side struct {
	name string
	sys  *System
	who  *Caller
	fds  *table
	mem  []byte // what attributes point into
	made map[string]int32
	log  []string
}

// The parts of a side's memory, by offset. Everything after is no memory.
const (
	atKey, atValue, atOut, atName = 0, 0x400, 0x800, 0xc00
	atInsns, atLicense, atLog     = 0x1000, 0x1800, 0x2000
	atRoot                        = 0x1c00
	atBTF, atInfo, atData         = 0x4000, 0x5000, 0x6000
	atLookup, atZero, atHook      = 0x7000, 0x7800, 0x7c00
	memSize                       = 0x8000
)

func newSide(t *testing.T, name string, s *System) *side {
	// Addresses that a short attribute cuts off are alike on both sides: below all
	// memory, or with a one in front within the test's own data, 2 MiB apart.
	high := uint64(0x7e00)<<32 | 0x1f0000
	if s != nil {
		high = 0x7e01<<32 | 0x3f0000
	}
	at := unsafe.Add(nil, uintptr(high))
	p, err := unix.MmapPtr(-1, 0, at, memSize+4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_FIXED_NOREPLACE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.MunmapPtr(p, memSize+4096) })
	mem := unsafe.Slice((*byte)(p), memSize+4096)
	if err := unix.Mprotect(mem[memSize:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	d := &side{name: name, sys: s, mem: mem[:memSize], made: map[string]int32{}}
	if s != nil {
		d.fds = newTable()
		d.who = &Caller{Memory: selfMemory{}, Files: d.fds, Caps: AllCaps, Places: places{}}
		t.Cleanup(d.fds.closeAll)
	}
	return d
}

func (d *side) addr(off int) uint64 { return uint64(uintptr(unsafe.Pointer(&d.mem[off]))) }

// bpf makes one call. The attribute lies at the end of memory where it is
// shorter than the kernel's, so that reading on would fault.
func (d *side) bpf(cmd Cmd, a []byte, size uint32) (int32, errno.Errno) {
	p := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(a))))
	defer runtime.KeepAlive(a)
	if d.sys != nil {
		return d.sys.Bpf(d.who, uint32(cmd), p, size)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old)
	r, _, e := unix.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(p), uintptr(size))
	unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if e != 0 {
		return -1, errno.Errno(e)
	}
	return int32(r), 0
}

func (d *side) close(fd int32) {
	if d.sys != nil {
		d.fds.close(fd)
	} else {
		unix.Close(int(fd))
	}
}

// makesFD are the commands whose result is a descriptor.
var makesFD = map[Cmd]bool{MapCreate: true, ProgLoad: true, ObjGet: true, ProgGetFDByID: true, MapGetFDByID: true,
	RawTracepointOpen: true, BTFLoad: true, BTFGetFDByID: true, LinkCreate: true, LinkGetFDByID: true, EnableStats: true, IterCreate: true, TokenCreate: true}

// must makes an object both sides need.
func (d *side) must(t *testing.T, name string, cmd Cmd, a []byte) int32 {
	t.Helper()
	fd, e := d.bpf(cmd, a, uint32(len(a)))
	if e != 0 {
		log := d.mem[atLog:]
		t.Fatalf("%s: %s %s: %v\n%s", d.name, cmd, name, e, log[:bytes.IndexByte(log, 0)])
	}
	if makesFD[cmd] {
		d.made[name] = fd
	}
	return fd
}

// drop closes what must made, before the test ends.
func (d *side) drop(name string) {
	d.close(d.made[name])
	delete(d.made, name)
}

// smallBTF is types: 1 int (4 bytes), 2 struct s { int a; }, 3 func f.
func smallBTF() []byte {
	le := binary.NativeEndian
	str := "\x00int\x00s\x00a\x00f\x00file.c\x00return 0;\x00"
	off := func(s string) uint32 { return uint32(strings.Index(str, "\x00"+s+"\x00") + 1) }
	var types []byte
	for _, w := range []uint32{
		off("int"), 1 << 24, 4, 1<<24 | 32, // 1 int
		off("s"), 4<<24 | 1, 4, off("a"), 1, 0, // 2 struct
		0, 13 << 24, 1, // 3 func_proto int(void)
		off("f"), 12 << 24, 3, // 4 func
	} {
		types = le.AppendUint32(types, w)
	}
	b := []byte{0x9f, 0xeb, 1, 0}
	for _, w := range []uint32{24, 0, uint32(len(types)), uint32(len(types)), uint32(len(str))} {
		b = le.AppendUint32(b, w)
	}
	return append(append(b, types...), str...)
}

// prepare makes the objects that attributes name and fills memory.
func (d *side) prepare(t *testing.T) {
	copy(d.mem[atName:], "task_newtask\x00")
	copy(d.mem[atRoot:], "/\x00")
	copy(d.mem[atLicense:], "GPL\x00")
	copy(d.mem[atInsns:], isa.Encode([]isa.Instruction{isa.Mov64Imm(0, 0), isa.ExitInsn()}, binary.NativeEndian))
	types := smallBTF()
	copy(d.mem[atBTF:], types)
	copy(d.mem[atData:], "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00E\x00\x00\x14\x00\x00\x00\x00\x40\x11\x00\x00\x7f\x00\x00\x01\x7f\x00\x00\x01")
	d.must(t, "hash", MapCreate, raw(mapCreate{MapType: 1, KeySize: 4, ValueSize: 8, MaxEntries: 8, MapName: [16]byte{'h'}}))
	d.must(t, "array", MapCreate, raw(mapCreate{MapType: 2, KeySize: 4, ValueSize: 8, MaxEntries: 4}))
	d.must(t, "queue", MapCreate, raw(mapCreate{MapType: 22, ValueSize: 8, MaxEntries: 4}))
	d.must(t, "progs", MapCreate, raw(mapCreate{MapType: 3, KeySize: 4, ValueSize: 4, MaxEntries: 4}))
	d.must(t, "ro", MapCreate, raw(mapCreate{MapType: 1, KeySize: 4, ValueSize: 8, MaxEntries: 8, MapFlags: catalog.FlagRdonly}))
	d.must(t, "wo", MapCreate, raw(mapCreate{MapType: 1, KeySize: 4, ValueSize: 8, MaxEntries: 8, MapFlags: catalog.FlagWronly}))
	d.must(t, "frozen", MapCreate, raw(mapCreate{MapType: 2, KeySize: 4, ValueSize: 8, MaxEntries: 4}))
	if _, e := d.bpf(MapFreeze, raw(mapElem{MapFd: d.made["frozen"]}), attrSize); e != 0 {
		t.Fatal(e)
	}
	d.must(t, "inners", MapCreate, raw(mapCreate{MapType: 12, KeySize: 4, ValueSize: 4, MaxEntries: 4, InnerMapFd: d.made["hash"]}))
	d.must(t, "filter", ProgLoad, raw(d.load(catalog.ProgSocketFilter)))
	d.must(t, "rawtp", ProgLoad, raw(d.load(catalog.ProgRawTracepoint)))
	d.must(t, "xdp", ProgLoad, raw(d.load(catalog.ProgXDP)))
	d.must(t, "tc", ProgLoad, raw(d.load(catalog.ProgSchedCls)))
	d.must(t, "syscall", ProgLoad, raw(func() progLoad { a := d.load(catalog.ProgSyscall); a.ProgFlags = catalog.LoadSleepable; return a }()))
	for name, typ := range map[string]catalog.ProgType{"flow": catalog.ProgFlowDissector, "cgskb": catalog.ProgCGroupSKB} {
		d.must(t, name, ProgLoad, raw(d.load(typ)))
	}
	d.must(t, "netfilter", ProgLoad, raw(func() progLoad {
		a := d.load(catalog.ProgNetfilter)
		a.ExpectedAttachType = uint32(catalog.AttachNetfilter)
		return a
	}()))
	d.must(t, "tp_btf", ProgLoad, raw(func() progLoad {
		a := d.load(catalog.ProgTracing)
		a.ExpectedAttachType, a.AttachBtfId = uint32(catalog.AttachTraceRawTp), tracepointType(t, "task_newtask")
		return a
	}()))
	d.must(t, "uprobe", ProgLoad, raw(func() progLoad {
		a := d.load(catalog.ProgKprobe)
		a.ExpectedAttachType = uint32(catalog.AttachTraceUprobeMulti)
		return a
	}()))
	d.must(t, "socks", MapCreate, raw(mapCreate{MapType: 15, KeySize: 4, ValueSize: 8, MaxEntries: 4}))
	d.must(t, "skmsg", ProgLoad, raw(d.load(catalog.ProgSkMsg)))
	d.must(t, "lookup", ProgLoad, raw(func() progLoad {
		a := d.load(catalog.ProgSkLookup)
		a.ExpectedAttachType = uint32(catalog.AttachSkLookup)
		return a
	}()))
	d.mem[atLookup+8] = 2            // family
	copy(d.mem[atHook:], "\x01\x02") // LOCAL_IN of IPv4
	d.must(t, "btf", BTFLoad, raw(btfLoad{Btf: d.addr(atBTF), BtfSize: uint32(len(types))}))
	d.must(t, "link", RawTracepointOpen, raw(rawTracepointOpen{Name: d.addr(atName), ProgFd: d.made["rawtp"]}))
	if d.sys != nil {
		d.made["other"] = otherFD
		return
	}
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		for _, fd := range d.made {
			unix.Close(int(fd))
		}
	})
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	d.made["other"] = int32(fd)
}

// tracepointType is the type in the kernel's BTF of a tracepoint with a name.
func tracepointType(t *testing.T, name string) uint32 {
	t.Helper()
	spec := kernelSpec()
	typ, err := spec.AnyTypeByName("btf_trace_" + name)
	if err != nil {
		t.Fatal(err)
	}
	id, err := spec.TypeID(typ)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(id)
}

func (d *side) load(t catalog.ProgType) progLoad { return loadAt(d.addr, t) }

func loadAt(at func(off int) uint64, t catalog.ProgType) progLoad {
	return progLoad{ProgType: uint32(t), InsnCnt: 2, Insns: at(atInsns), License: at(atLicense),
		LogLevel: 1, LogSize: 0x1000, LogBuf: at(atLog)}
}

// both returns the two sides, ready.
func both(t *testing.T) [2]*side {
	var probe mapCreate
	a := raw(probe)
	k := newSide(t, "linux", nil)
	_, e := k.bpf(MapCreate, a, attrSize)
	var err error
	if e != errno.EINVAL {
		err = fmt.Errorf("bpf(2): %w", e)
	}
	oracle.Need(t, "the live kernel's bpf(2)", err)
	if os.Getuid() != 0 {
		oracle.Need(t, "the live kernel's bpf(2)", os.ErrPermission)
	}
	var u unix.Utsname
	unix.Uname(&u)
	if !bytes.HasPrefix(u.Release[:], []byte("6.18.")) {
		t.Skipf("not compared: this kernel is %s, the rules are of 6.18", unix.ByteSliceToString(u.Release[:]))
	}
	s := newSide(t, "skep", newSystem(t, Options{}))
	k.prepare(t)
	s.prepare(t)
	return [2]*side{k, s}
}

// result is what one side answered.
type result struct {
	ok   bool
	ret  int32
	e    errno.Errno
	attr []byte
	mem  []byte
}

// ask makes the same call on both sides and compares. build makes the attribute for a side.
func ask(t *testing.T, sides [2]*side, what string, cmd Cmd, size uint32, mask func(a []byte), build func(d *side) []byte) {
	t.Helper()
	var res [2]result
	var before [2][]byte
	for i, d := range sides {
		a := build(d)
		before[i] = bytes.Clone(d.mem)
		ret, e := d.bpf(cmd, a, size)
		r := result{ret: ret, e: e, ok: e == 0}
		if e == 0 && makesFD[cmd] {
			d.close(ret)
			r.ret = 0
		}
		orig := build(d)
		for j := range a { // only what the call changed is compared: descriptors and addresses differ
			if a[j] == orig[j] {
				a[j] = 0
			}
		}
		if mask != nil && len(a) >= attrSize {
			mask(a)
		}
		r.attr, r.mem = a, bytes.Clone(d.mem)
		if i := bytes.IndexByte(r.mem[atLog:atBTF], 0); i >= 0 {
			clear(r.mem[atLog+i : atBTF]) // what the kernel left behind the log's end
		}
		copy(d.mem, before[i])
		res[i] = r
	}
	k, s := res[0], res[1]
	switch {
	case k.e != s.e || k.ret != s.ret:
		t.Errorf("%s: %s: linux %d %s, skep %d %s", cmd, what, k.ret, name(k.e), s.ret, name(s.e))
	case !bytes.Equal(k.attr, s.attr):
		for i := 0; i < len(k.attr); i += 4 {
			if x, y := k.attr[i:i+4], s.attr[i:i+4]; !bytes.Equal(x, y) {
				t.Errorf("%s: %s (%s): word at byte %d after the call: linux %#x, skep %#x\nlinux: %s\nskep:  %s", cmd, what, name(k.e), i,
					binary.NativeEndian.Uint32(x), binary.NativeEndian.Uint32(y), cut(k.mem[atLog:]), cut(s.mem[atLog:]))
				break
			}
		}
	case !bytes.Equal(k.mem, s.mem) && cmd != ObjGetInfoByFD && k.e != errno.EFAULT:
		for i := range k.mem {
			if k.mem[i] != s.mem[i] {
				t.Errorf("%s: %s: memory at %#x: linux %q, skep %q", cmd, what, i, cut(k.mem[i:]), cut(s.mem[i:]))
				break
			}
		}
	}
}

func cut(b []byte) string { return strings.TrimRight(string(b[:min(len(b), 200)]), "\x00") }

func name(e errno.Errno) string {
	if e == 0 {
		return "ok"
	}
	return e.Name()
}

// base is a call that is all right, or nearly.
type base struct {
	cmd  Cmd
	attr any
}

func bases(d *side) map[string]base { return basesAt(d, d.addr) }

// basesAt returns calls of all commands; at turns an offset in memory into an address.
func basesAt(d *side, at func(off int) uint64) map[string]base {
	type b = base
	elem := func(m string) mapElem {
		return mapElem{MapFd: d.made[m], Key: at(atKey), Value: at(atValue)}
	}
	batch := func(m string) mapBatch {
		return mapBatch{MapFd: d.made[m], Keys: at(atKey), Values: at(atValue), OutBatch: at(atOut), Count: 2}
	}
	netfilter := func(pf, hook uint32, prio int32, flags uint32) b {
		a := linkCreate{ProgFd: d.made["netfilter"], AttachType: uint32(catalog.AttachNetfilter)}
		for i, v := range []uint32{pf, hook, uint32(prio), flags} {
			binary.NativeEndian.PutUint32(a.Extra[4*i:], v)
		}
		return b{LinkCreate, a}
	}
	uprobes := func(path, offsets uint64) b {
		a := linkCreate{ProgFd: d.made["uprobe"], AttachType: uint32(catalog.AttachTraceUprobeMulti), Cnt: 1}
		binary.NativeEndian.PutUint64(a.Extra[:], path)
		binary.NativeEndian.PutUint64(a.Extra[8:], offsets)
		return b{LinkCreate, a}
	}
	noKey := elem("queue")
	noKey.Key = 0
	all := map[string]b{
		"hash map":      {MapCreate, mapCreate{MapType: 1, KeySize: 4, ValueSize: 8, MaxEntries: 8, MapName: [16]byte{'a'}}},
		"typed map":     {MapCreate, mapCreate{MapType: 1, KeySize: 4, ValueSize: 4, MaxEntries: 8, BtfFd: d.made["btf"], BtfKeyTypeId: 1, BtfValueTypeId: 2}},
		"inner map":     {MapCreate, mapCreate{MapType: 12, KeySize: 4, ValueSize: 4, MaxEntries: 4, InnerMapFd: d.made["hash"]}},
		"lookup":        {MapLookupElem, elem("array")},
		"update":        {MapUpdateElem, elem("hash")},
		"delete":        {MapDeleteElem, elem("array")},
		"next":          {MapGetNextKey, elem("array")},
		"pop":           {MapLookupAndDeleteElem, noKey},
		"take":          {MapLookupAndDeleteElem, elem("hash")},
		"freeze":        {MapFreeze, mapElem{MapFd: d.made["ro"]}},
		"batch":         {MapLookupBatch, batch("array")},
		"take batch":    {MapLookupAndDeleteBatch, batch("hash")},
		"set batch":     {MapUpdateBatch, batch("array")},
		"del batch":     {MapDeleteBatch, batch("hash")},
		"prog":          {ProgLoad, loadAt(at, catalog.ProgSocketFilter)},
		"xdp prog":      {ProgLoad, loadAt(at, catalog.ProgXDP)},
		"types":         {BTFLoad, btfLoad{Btf: at(atBTF), BtfSize: uint32(len(smallBTF()))}},
		"map info":      {ObjGetInfoByFD, objInfo{BpfFd: d.made["hash"], InfoLen: 104, Info: at(atInfo)}},
		"prog info":     {ObjGetInfoByFD, objInfo{BpfFd: d.made["filter"], InfoLen: 232, Info: at(atInfo)}},
		"btf info":      {ObjGetInfoByFD, objInfo{BpfFd: d.made["btf"], InfoLen: 32, Info: at(atInfo)}},
		"link info":     {ObjGetInfoByFD, objInfo{BpfFd: d.made["link"], InfoLen: 64, Info: at(atInfo)}},
		"filter run":    {ProgTestRun, testRun{ProgFd: d.made["filter"], DataIn: at(atData), DataSizeIn: 34, DataOut: at(atOut), DataSizeOut: 64}},
		"sock attach":   {ProgAttach, progAttach{TargetFd: d.made["socks"], AttachBpfFd: d.made["skmsg"], AttachType: uint32(catalog.AttachSkMsgVerdict)}},
		"sock query":    {ProgQuery, progQuery{TargetFd: d.made["socks"], AttachType: uint32(catalog.AttachSkMsgVerdict)}},
		"sock detach":   {ProgDetach, progAttach{TargetFd: d.made["socks"], AttachBpfFd: d.made["skmsg"], AttachType: uint32(catalog.AttachSkMsgVerdict)}},
		"sock update":   {MapUpdateElem, elem("socks")},
		"sock lookup":   {MapLookupElem, elem("socks")},
		"lookup run":    {ProgTestRun, testRun{ProgFd: d.made["lookup"], CtxIn: at(atLookup), CtxSizeIn: 72, CtxOut: at(atOut), CtxSizeOut: 72}},
		"flow run":      {ProgTestRun, testRun{ProgFd: d.made["flow"], DataIn: at(atData), DataSizeIn: 34, DataOut: at(atOut), DataSizeOut: 56, CtxIn: at(atZero), CtxSizeIn: 56, CtxOut: at(atOut + 128), CtxSizeOut: 56}},
		"nf run":        {ProgTestRun, testRun{ProgFd: d.made["netfilter"], DataIn: at(atData), DataSizeIn: 34, DataOut: at(atOut), DataSizeOut: 64}},
		"nf hook run":   {ProgTestRun, testRun{ProgFd: d.made["netfilter"], DataIn: at(atData), DataSizeIn: 34, CtxIn: at(atHook), CtxSizeIn: 48, CtxOut: at(atOut), CtxSizeOut: 48}},
		"xdp run":       {ProgTestRun, testRun{ProgFd: d.made["xdp"], DataIn: at(atData), DataSizeIn: 34, DataOut: at(atOut), DataSizeOut: 64}},
		"raw tp run":    {ProgTestRun, testRun{ProgFd: d.made["rawtp"]}},
		"tp_btf run":    {ProgTestRun, testRun{ProgFd: d.made["tp_btf"]}},
		"syscall run":   {ProgTestRun, testRun{ProgFd: d.made["syscall"], CtxIn: at(atData), CtxSizeIn: 8}},
		"raw tp":        {RawTracepointOpen, rawTracepointOpen{Name: at(atName), ProgFd: d.made["rawtp"]}},
		"bind":          {ProgBindMap, progBindMap{ProgFd: d.made["filter"], MapFd: d.made["hash"]}},
		"stats":         {EnableStats, enableStats{}},
		"iter":          {IterCreate, iterCreate{LinkFd: d.made["link"]}},
		"token":         {TokenCreate, tokenCreate{BpffsFd: d.made["other"]}},
		"link update":   {LinkUpdate, linkUpdate{LinkFd: d.made["link"], NewProgFd: d.made["rawtp"]}},
		"link detach":   {LinkDetach, linkDetach{LinkFd: d.made["link"]}},
		"xdp link":      {LinkCreate, linkCreate{ProgFd: d.made["xdp"], TargetFd: 0x7ffffff, AttachType: 37}},
		"tcx link":      {LinkCreate, linkCreate{ProgFd: d.made["tc"], TargetFd: 0x7ffffff, AttachType: 46}},
		"cgroup link":   {LinkCreate, linkCreate{ProgFd: d.made["cgskb"], TargetFd: d.made["other"]}},
		"cgroup attach": {ProgAttach, progAttach{TargetFd: d.made["other"], AttachBpfFd: d.made["cgskb"]}},
		"cgroup detach": {ProgDetach, progAttach{TargetFd: d.made["other"], AttachBpfFd: d.made["cgskb"]}},
		"netns link":    {LinkCreate, linkCreate{ProgFd: d.made["flow"], TargetFd: d.made["other"], AttachType: 17}},
		"netns detach":  {ProgDetach, progAttach{AttachBpfFd: d.made["flow"], AttachType: 17}},
		"perf link":     {LinkCreate, linkCreate{ProgFd: d.made["uprobe"], TargetFd: d.made["other"], AttachType: 41}},
		"netfilter":     netfilter(2, 3, -100, 0),
		"nf protocol":   netfilter(7, 3, -100, 0),
		"nf hook":       netfilter(10, 5, -100, 0),
		"nf first":      netfilter(2, 0, -1<<31, 0),
		"nf last":       netfilter(2, 0, 1<<31-1, 0),
		"nf flags":      netfilter(2, 0, 5, 2),
		"nf defrag":     netfilter(2, 0, -400, 1),
		"uprobes":       uprobes(at(atName), at(atData)),
		"uprobes dir":   uprobes(at(atRoot), at(atData)),
		"uprobes none":  uprobes(0, at(atData)),
		"uprobes where": uprobes(at(atRoot), 0),
		"attach":        {ProgAttach, progAttach{TargetFd: 0x7ffffff, AttachBpfFd: d.made["tc"], AttachType: 46}},
		"detach":        {ProgDetach, progAttach{TargetFd: 0x7ffffff, AttachBpfFd: d.made["tc"], AttachType: 46}},
		"query":         {ProgQuery, progQuery{TargetFd: 0x7ffffff, AttachType: 46, Count: 4, ProgIds: at(atOut)}},
		"query cgroup":  {ProgQuery, progQuery{TargetFd: d.made["other"], AttachType: 0}},
		"query netns":   {ProgQuery, progQuery{TargetFd: d.made["other"], AttachType: 36}},
		"query sockmap": {ProgQuery, progQuery{TargetFd: d.made["other"], AttachType: 5}},
		"task fd":       {TaskFDQuery, taskFDQuery{Pid: 0x3fffff, Fd: 0, BufLen: 64, Buf: at(atOut)}},
		"pin":           {ObjPin, objPin{Pathname: at(atName), BpfFd: d.made["other"]}},
		"get":           {ObjGet, objPin{Pathname: at(atOut)}},
		"stream":        {ProgStreamReadByFD, streamRead{StreamBuf: at(atOut), StreamBufLen: 16, StreamId: 1, ProgFd: d.made["filter"]}},
	}
	for _, c := range []Cmd{ProgGetNextID, MapGetNextID, BTFGetNextID, LinkGetNextID} {
		all["no "+c.String()] = b{c, getID{StartId: 0x7ffffffe}}
	}
	for _, c := range []Cmd{ProgGetFDByID, MapGetFDByID, BTFGetFDByID, LinkGetFDByID} {
		all["no "+c.String()] = b{c, getID{StartId: 0x7ffffffe}}
	}
	return all
}

// hostile are values to try in a field of an attribute: descriptors or numbers.
func hostile(d *side, fd bool, size uintptr) []uint64 {
	if fd {
		vs := []uint64{0xffffffff, 0x80000000, 0x7fffffff}
		for _, name := range []string{"other", "hash", "array", "queue", "filter", "btf", "link", "ro", "wo", "frozen", "progs", "inners", "xdp", "tc", "rawtp", "syscall", "cgskb", "uprobe"} {
			vs = append(vs, uint64(d.made[name]))
		}
		return vs
	}
	vs := []uint64{0, 1, 2, 3, 4, 7, 8, 9, 13, 16, 64, 0xff, 1 << 14, 1 << 16, 0x7fffffff, 0x80000000, 0xffffffff}
	if size == 8 {
		vs = append(vs, 1<<32, 1<<63, ^uint64(0), d.addr(memSize-1)+1, d.addr(memSize-2))
	}
	return vs
}

// notAsked are values that must not be tried on a kernel, or whose answer tells of the machine only.
func notAsked(cmd Cmd, field string, v uint64) bool {
	switch {
	case strings.HasSuffix(field, "Ifindex") && v > 1 && v < 16, // other devices
		(field == "StartId" || field == "KernVersion") && v > 0 && v < 1<<17, // other objects
		strings.HasSuffix(field, "LogBuf") && v%4096 == 4094,                 // as much as fits is written
		field == "MapType" && (v == 8 || v == 15 || v == 18),                 // skep lacks them
		cmd == ProgTestRun && field == "Flags" && v&2 != 0,                   // live frames
		cmd == TaskFDQuery && field == "Pid",
		cmd == ProgTestRun && field == "ProgFd" && v > 2 && v < 1<<16, // another program there than here
		strings.HasSuffix(field, "LogLevel") && cmd == BTFLoad,
		field == "LogLevel" && v&4 != 0,                    // measures time
		cmd == ProgTestRun && field == "Repeat" && v > 64,  // would run for hours
		cmd == ProgTestRun && field == "Flags" && v&4 != 0, // an oops in 6.18
		cmd == ProgTestRun && field == "DataSizeIn" && v > 3000,
		cmd == MapCreate && (field == "MaxEntries" || field == "ValueSize" || field == "KeySize") && v > 0xff && v < 0xffffffff: // memory
		return true
	}
	return false
}

// mask clears what differs because the two are not one system.
func maskFor(cmd Cmd) func([]byte) {
	return func(a []byte) {
		switch cmd {
		case ProgGetNextID, MapGetNextID, BTFGetNextID, LinkGetNextID:
			clear(a[unsafe.Offsetof(getID{}.NextId):][:4])
		case ProgTestRun:
			clear(a[unsafe.Offsetof(testRun{}.Duration):][:4])
		}
	}
}

// TestEachField sets each field of each command's attribute to bad values, one
// at a time, and asks the kernel and skep.
func TestEachField(t *testing.T) {
	sides := both(t)
	n := 0
	for what, b := range bases(sides[0]) {
		t.Run(strings.ReplaceAll(what, " ", "_"), func(t *testing.T) {
			typ := reflect.TypeOf(b.attr)
			asIs := func(d *side) []byte { return raw(bases(d)[what].attr) }
			ask(t, sides, what, b.cmd, attrSize, maskFor(b.cmd), asIs)
			for i := range typ.NumField() {
				f := typ.Field(i)
				if f.Name == "_" {
					continue
				}
				fd := f.Type.Kind() == reflect.Int32
				for vi := range hostile(sides[0], fd, f.Type.Size()) {
					if f.Type.Kind() == reflect.Array && vi > 3 {
						break
					}
					v := hostile(sides[0], fd, f.Type.Size())[vi]
					if notAsked(b.cmd, f.Name, v&(1<<(8*f.Type.Size())-1)) {
						continue
					}
					n++
					ask(t, sides, fmt.Sprintf("%s with %s = %#x", what, f.Name, v), b.cmd, attrSize, maskFor(b.cmd), func(d *side) []byte {
						a := raw(bases(d)[what].attr)
						v := hostile(d, fd, f.Type.Size())[vi]
						switch f.Type.Size() {
						case 4:
							binary.NativeEndian.PutUint32(a[f.Offset:], uint32(v))
						case 8:
							binary.NativeEndian.PutUint64(a[f.Offset:], v)
						default:
							for j := range f.Type.Size() {
								a[f.Offset+j] = []byte{0, 'x', '-', 0xff}[vi]
							}
						}
						return a
					})
				}
			}
		})
	}
	t.Logf("%d attributes compared", n)
}

// raw is the bytes of an attribute struct of any type, as long as a whole union.
func raw(v any) []byte {
	b, err := binary.Append(make([]byte, 0, attrSize), binary.NativeEndian, v)
	if err != nil {
		panic(err)
	}
	return b[:attrSize]
}

// TestSizes: attributes of every length, with and without something in the tail.
func TestSizes(t *testing.T) {
	sides := both(t)
	for what, b := range bases(sides[0]) {
		for _, size := range []uint32{0, 4, 7, 8, 12, 16, 20, 24, 32, 48, 64, 72, 76, 80, 120, 128, 140, 144, 148, 152, 160, 167, 168, 169, 256, 4095, 4096, 4097, 1 << 20} {
			for _, tail := range []byte{0, 1} {
				ask(t, sides, fmt.Sprintf("%s of %d bytes, last %d", what, size, tail), b.cmd, size, maskFor(b.cmd), func(d *side) []byte {
					a := append(raw(bases(d)[what].attr), make([]byte, 5000)...)
					if size <= 4096 && size > 0 && tail != 0 {
						a[size-1] |= tail
					}
					return a
				})
			}
		}
		// Each byte after the command's last field.
		for off := commands[b.cmd].End; off < attrSize; off++ {
			ask(t, sides, fmt.Sprintf("%s with byte %d set", what, off), b.cmd, attrSize, nil, func(d *side) []byte {
				a := raw(bases(d)[what].attr)
				a[off] = 1
				return a
			})
		}
	}
	for _, cmd := range []Cmd{38, 39, 1000, 1 << 31} {
		ask(t, sides, "no command", cmd, 8, nil, func(*side) []byte { return make([]byte, attrSize) })
	}
}

// TestLayout holds names and offsets of the structs against the kernel's types.
func TestLayout(t *testing.T) {
	spec := kernelSpec()
	if spec == nil {
		oracle.Need(t, "the kernel's BTF", os.ErrNotExist)
	}
	var u *btf.Union
	if err := spec.TypeByName("bpf_attr", &u); err != nil {
		t.Fatal(err)
	}
	if u.Size != attrSize {
		t.Skipf("union bpf_attr has %d bytes here: another release", u.Size)
	}
	for i, at := range []any{
		mapCreate{}, mapElem{}, mapBatch{}, progLoad{}, objPin{}, progAttach{}, testRun{}, getID{}, objInfo{}, progQuery{},
		rawTracepointOpen{}, btfLoad{}, taskFDQuery{}, linkCreate{}, linkUpdate{}, linkDetach{}, enableStats{}, iterCreate{}, progBindMap{}, tokenCreate{}, streamRead{},
	} {
		sameLayout(t, reflect.TypeOf(at), u.Members[i].Type)
	}
	for name, v := range map[string]any{"bpf_prog_info": progInfo{}, "bpf_map_info": mapInfo{}, "bpf_btf_info": btfInfo{}, "bpf_link_info": linkInfo{}} {
		var s *btf.Struct
		if err := spec.TypeByName(name, &s); err != nil {
			t.Fatal(err)
		}
		if int(s.Size) != int(reflect.TypeOf(v).Size()) {
			t.Errorf("%s: %d bytes, the kernel's has %d", name, reflect.TypeOf(v).Size(), s.Size)
		}
		sameLayout(t, reflect.TypeOf(v), s)
	}
}

// sameLayout checks that each field has one of the same name and offset in the kernel's type.
func sameLayout(t *testing.T, mine reflect.Type, kernel btf.Type) {
	offs := map[string]uint32{}
	var walk func(typ btf.Type, base uint32)
	walk = func(typ btf.Type, base uint32) {
		var ms []btf.Member
		switch x := typ.(type) {
		case *btf.Struct:
			ms = x.Members
		case *btf.Union:
			ms = x.Members
		}
		for _, m := range ms {
			at := base + m.Offset.Bytes()
			if m.Name == "" {
				walk(m.Type, at)
				continue
			}
			offs[strings.ReplaceAll(m.Name, "_", "")] = at
			if m.Name == "uprobe_multi" {
				walk(m.Type, at)
			}
		}
	}
	walk(kernel, 0)
	for i := range mine.NumField() {
		f := mine.Field(i)
		switch f.Name {
		case "_", "Extra", "Flags", "KindFlags", "U": // ours
			continue
		}
		if off, ok := offs[strings.ToLower(f.Name)]; !ok || uintptr(off) != f.Offset {
			t.Errorf("%s.%s at %d: the kernel has it at %d (%v)", mine.Name(), f.Name, f.Offset, off, ok)
		}
	}
}

// TestRights asks for every map and program type, and each command, as callers of fewer capabilities.
func TestRights(t *testing.T) {
	k := both(t)
	v, err := os.ReadFile("/proc/sys/kernel/unprivileged_bpf_disabled")
	oracle.Need(t, "the sysctls", err)
	k[1].sys.settings[unprivilegedDisabled].Store(int32(v[0] - '0'))
	for name, caps := range map[string]Caps{"none": 0, "bpf": CapBPF, "bpf+perfmon": CapBPF | CapPerfmon, "bpf+net": CapBPF | CapNetAdmin, "perfmon": CapPerfmon, "sys_admin": CapSysAdmin, "all": AllCaps} {
		k[1].who.Caps = caps
		var bits uint64
		for c, bit := range map[Caps]uint{CapBPF: unix.CAP_BPF, CapPerfmon: unix.CAP_PERFMON, CapNetAdmin: unix.CAP_NET_ADMIN, CapSysAdmin: unix.CAP_SYS_ADMIN} {
			if caps&c != 0 {
				bits |= 1 << bit
			}
		}
		done := make(chan struct{})
		go func() { // on a thread that ends with it
			defer close(done)
			runtime.LockOSThread()
			hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			data := [2]unix.CapUserData{
				{Effective: uint32(bits), Permitted: uint32(bits)},
				{Effective: uint32(bits >> 32), Permitted: uint32(bits >> 32)}}
			if err := unix.Capset(&hdr, &data[0]); err != nil {
				t.Error(err)
				return
			}
			for typ := catalog.ProgSocketFilter; typ <= catalog.ProgNetfilter; typ++ {
				switch typ {
				case catalog.ProgLircMode2: // not configured here
					continue
				case catalog.ProgStructOps, catalog.ProgExt, catalog.ProgLSM: // without a target, and barred here
					continue
				}
				ask(t, k, fmt.Sprintf("%v prog, caps %s", typ, name), ProgLoad, attrSize, nil, func(d *side) []byte {
					a := d.load(typ)
					a.ExpectedAttachType = uint32(catalog.ProgKindByType(typ).Default)
					return raw(a)
				})
			}
			for _, row := range catalog.MapKinds() {
				if !maps.Supported(row.Type) {
					continue
				}
				size := func(r catalog.SizeRule) uint32 {
					switch {
					case r == (catalog.SizeRule{}):
						return 0
					case r.Min == 1:
						return 8
					}
					return r.Min
				}
				m := mapCreate{MapType: uint32(row.Type), KeySize: size(row.KeySize), ValueSize: size(row.ValueSize),
					MaxEntries: max(size(row.MaxEntries), 1), MapFlags: row.MustFlags}
				ask(t, k, fmt.Sprintf("%v map, caps %s", row.Type, name), MapCreate, attrSize, nil, func(d *side) []byte {
					if row.Holds == catalog.HoldsMaps {
						m.InnerMapFd = d.made["hash"]
					}
					return raw(m)
				})
				m.BtfKeyTypeId, m.BtfValueTypeId = 1, 2
				if row.KeySize != (catalog.SizeRule{}) {
					m.KeySize = 4
				}
				if row.ValueSize != (catalog.SizeRule{}) {
					m.ValueSize = 4
				}
				ask(t, k, fmt.Sprintf("%v map with types, caps %s", row.Type, name), MapCreate, attrSize, nil, func(d *side) []byte {
					m.BtfFd = d.made["btf"]
					if row.Holds == catalog.HoldsMaps {
						m.InnerMapFd = d.made["hash"]
					}
					return raw(m)
				})
			}
			for what, b := range bases(k[0]) {
				ask(t, k, what+", caps "+name, b.cmd, attrSize, maskFor(b.cmd), func(d *side) []byte { return raw(bases(d)[what].attr) })
			}
		}()
		<-done
	}
}
