package bpfsys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/maps"
	"github.com/skep-bpf/skep/internal/run"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// Flags of PROG_LOAD that the verifier does not see (uapi).
const loadTokenFD = 1 << 16

const loadFlags = catalog.LoadStrictAlignment | catalog.LoadAnyAlignment | catalog.LoadTestRndHi32 |
	catalog.LoadTestStateFreq | catalog.LoadSleepable | catalog.LoadXDPHasFrags |
	catalog.LoadXDPDevBoundOnly | catalog.LoadTestRegInvars | loadTokenFD

const (
	maxInsns       = 1_000_000 // BPF_COMPLEXITY_LIMIT_INSNS
	maxInsnsUnpriv = 4096      // BPF_MAXINSNS
)

// loading is one PROG_LOAD under way.
type loading struct {
	*call
	a    *progLoad
	vp   verifier.Program
	used []maps.Map
	held []*File // what must live until the program has its own references
	fds  map[int32]*catalog.MapDef
	said string      // in the log, before the verifier begins
	bad  errno.Errno // why a descriptor named no map

	types              *BTF // the program's own
	funcRecs, lineRecs []byte
	attach             *BTF         // what it attaches to
	prog               *run.Program // whose function it attaches to
}

// progLoad follows bpf_prog_load and bpf_check.
func (c *call) progLoad() (int32, errno.Errno) {
	l := loading{call: c, a: as[progLoad](&c.attr), fds: map[int32]*catalog.MapDef{}}
	defer func() {
		for _, f := range l.held {
			f.Put()
		}
	}()
	if e := l.admit(); e != 0 {
		return 0, e
	}
	if e := l.copyIn(); e != 0 {
		return 0, e
	}
	return l.verify()
}

// admit checks what is asked for against who asks.
func (l *loading) admit() errno.Errno {
	a := l.a
	if a.ProgFlags&^loadFlags != 0 {
		return errno.EINVAL
	}
	t := catalog.ProgType(a.ProgType)
	row := catalog.ProgKindByType(t)
	if row != nil && a.ExpectedAttachType == 0 {
		a.ExpectedAttachType = uint32(row.Default)
	}
	if a.ProgFlags&loadTokenFD != 0 {
		return l.token(a.ProgTokenFd)
	}
	bpf := l.who.can(CapBPF)
	limit := uint32(maxInsnsUnpriv)
	if bpf {
		limit = maxInsns
	}
	unpriv := t == catalog.ProgSocketFilter || t == catalog.ProgCGroupSKB
	switch {
	case !bpf && l.s.sysctl(unprivilegedDisabled) != 0:
		return errno.EPERM
	case a.InsnCnt == 0 || a.InsnCnt > limit:
		return errno.E2BIG
	case !unpriv && !bpf,
		row != nil && row.Flags&catalog.NetAdmin != 0 && !l.who.can(CapNetAdmin),
		row != nil && row.Flags&catalog.Perfmon != 0 && !l.who.can(CapPerfmon):
		return errno.EPERM
	}
	if e := l.target(row); e != 0 {
		return e
	}
	if row == nil {
		return errno.EINVAL
	}
	if a.Signature != 0 {
		return errno.EOPNOTSUPP // no key is known
	}
	if row.Attaches != 0 && !row.Attaches.Has(catalog.AttachType(a.ExpectedAttachType)) {
		return errno.EINVAL
	}
	return 0
}

// target looks up what the program attaches to (bpf_prog_load_check_attach).
func (l *loading) target(row *catalog.ProgKind) errno.Errno {
	a := l.a
	switch {
	case a.AttachProgFd != 0:
		p, f, e := open[*run.Program](l.call, a.AttachProgFd)
		if e == 0 {
			l.held = append(l.held, f)
			if row == nil || row.Type != catalog.ProgTracing && row.Type != catalog.ProgExt {
				return errno.EINVAL
			}
			l.prog = p
			break
		}
		b, f, e := open[*BTF](l.call, a.AttachProgFd)
		if e != 0 {
			return errno.EINVAL
		}
		l.held = append(l.held, f)
		if !b.kernel {
			return errno.ENOTSUPP
		}
		l.attach = b
	case a.AttachBtfId != 0:
		if l.attach = l.s.kernelBTF(); l.attach == nil {
			return errno.EINVAL
		}
	}
	if l.attach != nil && (a.AttachBtfId == 0 || row == nil || row.Flags&catalog.AttachBTF == 0) {
		return errno.EINVAL
	}
	return 0
}

// copyIn reads instructions, license, name and descriptors.
func (l *loading) copyIn() errno.Errno {
	a := l.a
	code, e := l.read(a.Insns, int(a.InsnCnt)*isa.InsnSize)
	if e != 0 {
		return e
	}
	license, ok := l.readString(a.License, 127)
	if !ok {
		return errno.EFAULT
	}
	if a.ProgIfindex != 0 {
		if t := catalog.ProgType(a.ProgType); t != catalog.ProgXDP && t != catalog.ProgSchedCls {
			return errno.EINVAL
		}
		return l.offload(a.ProgIfindex)
	}
	name, ok := catalog.ObjName(a.ProgName[:])
	if !ok {
		return errno.EINVAL
	}
	insns, err := isa.Decode(code, binary.NativeEndian)
	if err != nil {
		return errno.EINVAL
	}
	l.vp = verifier.Program{
		Name: name, Type: catalog.ProgType(a.ProgType), Attach: catalog.AttachType(a.ExpectedAttachType),
		Flags: a.ProgFlags, Insns: insns, GPL: run.GPLCompatible(license), MapByFD: l.mapByFD,
	}
	if a.FdArray != 0 {
		l.vp.MapByIdx = l.mapByIdx
	}
	return 0
}

// fdArray takes the maps and BTF objects of an array with a known length (process_fd_array).
func (l *loading) fdArray() errno.Errno {
	a := l.a
	if a.FdArrayCnt == 0 {
		return 0
	}
	if uint64(a.FdArrayCnt) >= 1<<32/4 {
		l.said = fmt.Sprintf("fd_array_cnt is too big (%d)\n", a.FdArrayCnt)
		return errno.EINVAL
	}
	for i := range a.FdArrayCnt {
		b, e := l.read(a.FdArray+4*uint64(i), 4)
		if e != 0 {
			return e
		}
		fd := int32(binary.NativeEndian.Uint32(b))
		f, e := l.who.Files.File(fd)
		if e != 0 {
			return e
		}
		if f == nil {
			return errno.EINVAL
		}
		l.held = append(l.held, f)
		switch o := f.object.(type) {
		case Map:
			l.use(o)
			l.vp.Bound = append(l.vp.Bound, o.Def())
		case *BTF:
		default:
			return errno.EINVAL
		}
	}
	return 0
}

// use notes a map the program refers to.
func (l *loading) use(m Map) {
	if inner := maps.Unwrap(m.Map); !slices.Contains(l.used, inner) {
		l.used = append(l.used, inner)
	}
}

// mapByFD resolves a descriptor in the code, the same one always to the same map.
func (l *loading) mapByFD(fd int32) *catalog.MapDef {
	if def, ok := l.fds[fd]; ok {
		return def
	}
	m, f, e := open[Map](l.call, fd)
	if e != 0 {
		l.bad = e
		return nil
	}
	l.held = append(l.held, f)
	l.use(m)
	l.fds[fd] = m.Def()
	return m.Def()
}

func (l *loading) mapByIdx(i int32) *catalog.MapDef {
	b, e := l.read(l.a.FdArray+4*uint64(int64(i)), 4)
	if e != 0 {
		l.bad = e
		return nil
	}
	return l.mapByFD(int32(binary.NativeEndian.Uint32(b)))
}

// noStats is the end of the log of a program that nothing was processed of.
const noStats = "processed 0 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"

// verify is bpf_check and what makes a descriptor of its result.
func (l *loading) verify() (int32, errno.Errno) {
	a := l.a
	log := userLog{level: a.LogLevel, addr: a.LogBuf, size: a.LogSize}
	if !log.valid() {
		return 0, errno.EINVAL
	}
	for _, f := range []func() errno.Errno{l.fdArray, l.btfInfo} {
		if e := f(); e != 0 {
			text := ""
			if log.level != 0 {
				text = l.said + noStats
			}
			return 0, l.finish(&log, text, len(text), e)
		}
	}
	if k := l.s.kernelBTF(); k != nil {
		l.vp.KernelBTF = k.spec
	}
	switch {
	case l.attach != nil:
		l.vp.AttachTo = attachName(l.attach.spec, l.a, l.vp.Type)
	case l.prog != nil:
		l.toProgram()
	}
	p, res, err := l.s.m.Load(&l.vp, run.LoadOptions{
		Verifier: verifier.Options{
			LogLevel:     a.LogLevel,
			Unprivileged: !l.who.can(CapBPF) || !l.who.can(CapPerfmon), CapBPF: l.who.can(CapBPF),
			States: l.s.o.States,
		},
		Blind: l.blind(),
		Maps:  func() []maps.Map { return l.used },
		About: l.about(),
	})
	var text string
	var most int
	e := errno.Errno(0)
	if res != nil {
		text, most = res.Log, res.LogMost
	}
	if err != nil {
		if l.types != nil {
			l.types.Close()
		}
		if l.prog != nil {
			l.prog.Close()
		}
		if v := (*verifier.Error)(nil); errors.As(err, &v) {
			text, most = v.Log, v.LogMost
			if e = v.Errno; e == errno.EBADF && l.bad != 0 {
				e = l.bad
			}
		} else { // the verifier took it, but skep cannot run it
			l.s.unserved("", "program %q: %v", l.vp.Name, err)
			e = numberOf(err)
			if log.level != 0 {
				text += err.Error() + "\n"
				most = max(most, len(text))
			}
		}
	}
	if e = l.finish(&log, text, most, e); e != 0 {
		if p != nil {
			p.Close()
		}
		return 0, e
	}
	return l.install(p)
}

// finish writes the log and its true size back.
func (l *loading) finish(log *userLog, text string, most int, e errno.Errno) errno.Errno {
	size, le := l.writeLog(log, text, most)
	if le != 0 {
		e = le
	}
	off := unsafe.Offsetof(l.a.LogTrueSize)
	if uintptr(l.size) >= off+4 && l.put(off, u32bytes(size)) != 0 {
		e = errno.EFAULT
	}
	return e
}

// about is what the program remembers of this load. It takes references to its types
// and to the program it attaches to.
func (l *loading) about() run.About {
	digest := isa.Digest(l.vp.Insns)
	about := run.About{UID: l.who.UID, Tag: [8]byte(digest[:])}
	if l.types != nil {
		l.types.Acquire()
		about.BTF = l.types.id
		about.FuncInfo, about.LineInfo = l.funcRecs, l.lineRecs
	}
	if l.attach != nil {
		about.AttachBTF, about.AttachBTFType = l.attach.id, l.a.AttachBtfId
	}
	if l.prog != nil {
		l.prog.Acquire()
		about.Target = &run.AttachTarget{Prog: l.prog}
		about.AttachBTF, about.AttachBTFType = l.prog.About.BTF, l.a.AttachBtfId
	}
	if types := l.types; types != nil {
		about.Freed = types.Close
	}
	return about
}

// attachName turns the type a program attaches to into the name its section
// would have: without the prefix that its kind of program adds.
func attachName(spec *btf.Spec, a *progLoad, t catalog.ProgType) string {
	typ, err := spec.TypeByID(btf.TypeID(a.AttachBtfId))
	if err != nil {
		return "?"
	}
	name := typ.TypeName()
	prefix := ""
	switch {
	case t == catalog.ProgLSM:
		prefix = "bpf_lsm_"
	case t == catalog.ProgTracing && catalog.AttachType(a.ExpectedAttachType) == catalog.AttachTraceRawTp:
		prefix = "btf_trace_"
	case t == catalog.ProgTracing && catalog.AttachType(a.ExpectedAttachType) == catalog.AttachTraceIter:
		prefix = "bpf_iter_"
	}
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return "?" + name // no such thing
	}
	return rest
}

// toProgram has the program attach to a function of another.
func (l *loading) toProgram() {
	of := l.prog.Rewritten
	l.vp.Target = verifier.TargetOf(of.Source, of.Facts)
	if l.a.AttachBtfId == 0 {
		return
	}
	l.vp.AttachTo = funcName(l.prog, l.a.AttachBtfId)
}
