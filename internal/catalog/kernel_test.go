package catalog_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	. "github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

// needKernel ends the test unless the kernel the rows follow can be asked.
func needKernel(t *testing.T) {
	t.Helper()
	needRelease(t)
	oracle.Need(t, "bpf(2)", linux.Available())
}

// needRelease ends the test where another kernel runs: it has its own numbers,
// helper sets and rules.
func needRelease(t *testing.T) {
	t.Helper()
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	oracle.Need(t, "the running kernel", err)
	if !strings.HasPrefix(string(release), "6.18.") {
		oracle.Need(t, "Linux 6.18", fmt.Errorf("this is %s", strings.TrimSpace(string(release))))
	}
}

func kernelBTF(t *testing.T) *btf.Spec {
	t.Helper()
	needRelease(t)
	spec, err := btf.LoadKernelSpec()
	oracle.Need(t, "the kernel's BTF", err)
	return spec
}

// tryLoad loads a program at log level 2 and returns the log and whether it was accepted.
func tryLoad(p linux.Prog) (log string, ok bool, err error) {
	p.License, p.LogLevel = "GPL", 2
	lp, err := linux.Load(&p)
	if err == nil {
		defer lp.Close()
		return lp.Log, true, nil
	}
	if e := (*linux.Error)(nil); errors.As(err, &e) {
		return e.Log, false, err
	}
	return "", false, err
}

// site is one way to load programs of a type: expected attach type and what
// they attach to.
type site struct {
	kind   *ProgKind
	attach AttachType
	btfID  uint32
	target string
	flags  uint32
}

func (s site) String() string {
	if s.target != "" {
		return fmt.Sprintf("%s/%v/%s", s.kind.Name, s.attach, s.target)
	}
	return fmt.Sprintf("%s/%v", s.kind.Name, s.attach)
}

func (s site) load(insns ...isa.Part) (log string, ok bool, err error) {
	return tryLoad(linux.Prog{
		Type: s.kind.Type, Attach: s.attach, AttachBTFID: s.btfID, Flags: s.flags, Insns: isa.Program(insns...),
	})
}

// exitCode is a value R0 may have at exit.
func (s site) exitCode() int32 {
	r, _ := s.kind.Return(s.attach)
	return r.Min
}

const flagSleepable = 1 << 4

// notLoadable are the types that cannot be asked about here, with the reason.
var notLoadable = map[ProgType]string{
	ProgLircMode2: "CONFIG_BPF_LIRC_MODE2 is off",
	ProgExt:       "needs a loaded target, and takes its rules",
	ProgLSM:       "the test system refuses to attach to LSM hooks",
}

// sites lists ways to load every type that the running kernel lets us load.
func sites(t *testing.T) []site {
	t.Helper()
	spec := kernelBTF(t)
	id := func(typ btf.Type, name string) uint32 {
		types, err := spec.AnyTypesByName(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range types {
			if fmt.Sprintf("%T", got) == fmt.Sprintf("%T", typ) {
				n, err := spec.TypeID(got)
				if err != nil {
					t.Fatal(err)
				}
				return uint32(n)
			}
		}
		t.Fatalf("kernel BTF has no %T %s", typ, name)
		return 0
	}
	var all []site
	for i := range ProgKinds() {
		k := &ProgKinds()[i]
		if _, no := notLoadable[k.Type]; no {
			continue
		}
		switch k.Type {
		case ProgTracing:
			all = append(all,
				site{kind: k, attach: AttachTraceRawTp, btfID: id((*btf.Typedef)(nil), "btf_trace_sched_switch"), target: "sched_switch"},
				site{kind: k, attach: AttachTraceIter, btfID: id((*btf.Func)(nil), "bpf_iter_task"), target: "task"},
				site{kind: k, attach: AttachTraceIter, btfID: id((*btf.Func)(nil), "bpf_iter_tcp"), target: "tcp"})
		case ProgStructOps:
			all = append(all, site{kind: k, btfID: id((*btf.Struct)(nil), "tcp_congestion_ops"), target: "tcp_congestion_ops"})
		case ProgSyscall:
			all = append(all, site{kind: k, flags: flagSleepable})
		default:
			seen := AttachSet(0)
			for j := range k.Sections {
				a := k.Sections[j].Attach
				if !seen.Has(a) {
					all = append(all, site{kind: k, attach: a})
				}
				seen |= 1 << a
			}
		}
	}
	return all
}

// Every number is the running kernel's.
func TestNumbers(t *testing.T) {
	spec := kernelBTF(t)
	enum := func(name, prefix string) map[string]uint64 {
		var e *btf.Enum
		if err := spec.TypeByName(name, &e); err != nil {
			t.Fatal(err)
		}
		m := map[string]uint64{}
		for _, v := range e.Values {
			if rest, ok := strings.CutPrefix(v.Name, prefix); ok {
				m[strings.ToLower(rest)] = v.Value
			}
		}
		return m
	}
	compare := func(what string, got, want map[string]uint64) {
		for name, n := range want {
			if g, ok := got[name]; !ok || g != n {
				t.Errorf("%s %s is %d in the kernel, %d here (known: %v)", what, name, n, g, ok)
			}
		}
		for name := range got {
			if _, ok := want[name]; !ok {
				t.Errorf("the kernel knows no %s %s", what, name)
			}
		}
	}

	got, want := map[string]uint64{}, enum("bpf_func_id", "BPF_FUNC_")
	delete(want, "unspec")
	for id := HelperID(1); HelperByID(id) != nil; id++ {
		got[HelperByID(id).Name] = uint64(id)
	}
	compare("helper", got, want)

	got, want = map[string]uint64{}, enum("bpf_prog_type", "BPF_PROG_TYPE_")
	delete(want, "unspec")
	for _, k := range ProgKinds() {
		got[k.Name] = uint64(k.Type)
	}
	compare("program type", got, want)

	got, want = map[string]uint64{}, enum("bpf_map_type", "BPF_MAP_TYPE_")
	for _, old := range []string{"unspec", "cgroup_storage_deprecated", "percpu_cgroup_storage_deprecated"} {
		delete(want, old)
	}
	for _, m := range MapKinds() {
		got[m.Name] = uint64(m.Type)
	}
	compare("map type", got, want)

	got, want = map[string]uint64{}, enum("bpf_attach_type", "BPF_")
	for a := AttachType(0); a.String() != "unknown"; a++ {
		got[a.String()] = uint64(a)
	}
	compare("attach type", got, want)
}

// absent are helpers the running kernel's configuration leaves out.
var absent = map[HelperID]string{
	FnProbeWriteUser: "locked down",
	FnOverrideReturn: "CONFIG_BPF_KPROBE_OVERRIDE",
}

// Every program type may call the helpers its rows say, and no others.
func TestHelperSets(t *testing.T) {
	needKernel(t)
	asked := 0
	for _, s := range sites(t) {
		for id := HelperID(1); HelperByID(id) != nil; id++ {
			if absent[id] != "" {
				continue
			}
			log, ok, err := s.load(isa.HelperCall(int32(id)), isa.Mov64Imm(isa.R0, s.exitCode()), isa.ExitInsn())
			if log == "" {
				t.Fatalf("%v: %v", s, err)
			}
			may := ok || !strings.Contains(log, "cannot use helper")
			h := s.kind.Helper(id, s.attach)
			have := h != nil
			if have && h.Flags&AttachAllowed != 0 && !may {
				continue // a rule of the target's, not of the type's
			}
			if may != have {
				t.Errorf("%v: %v: the kernel says %v, the rows %v", s, id, may, have)
			}
			asked++
		}
	}
	t.Logf("%d pairs of program site and helper", asked)
}

var widths = [...]struct {
	bytes int
	op    isa.Opcode
}{{1, isa.B}, {2, isa.H}, {4, isa.W}, {8, isa.DW}}

// kindNames are what the verifier calls the values of fields.
var kindNames = map[FieldKind]string{
	FieldScalar: "scalar", FieldPkt: "pkt", FieldPktMeta: "pkt_meta", FieldPktEnd: "pkt_end",
	FieldSock: "sock", FieldSockCommon: "sock_common", FieldFlowKeys: "flow_keys", FieldTPBuffer: "tp_buffer",
	FieldBTF: "trusted_ptr_",
}

// r2 finds what the verifier takes R2 for.
var r2 = regexp.MustCompile(`\bR2(?:_w)?=([a-z_0-9]+)\(`)

// Every access to a context, at each offset and width, is judged as the kernel does.
func TestContextAccess(t *testing.T) {
	needKernel(t)
	asked := 0
	for _, s := range sites(t) {
		if s.kind.Ctx.Typed {
			continue
		}
		for off := range s.kind.Ctx.Size + 8 {
			if off > 256 && off < s.kind.Ctx.Size-16 || off > 32000 {
				continue // all alike, or beyond what an offset can say
			}
			for _, w := range widths {
				if off%w.bytes != 0 {
					continue
				}
				for _, how := range []string{"load", "load sx", "store"} {
					if how == "load sx" && w.bytes == 8 {
						continue
					}
					checkAccess(t, s, off, w.bytes, w.op, how)
					asked++
				}
			}
		}
	}
	t.Logf("%d accesses", asked)
}

func checkAccess(t *testing.T, s site, off, width int, op isa.Opcode, how string) {
	t.Helper()
	ins := isa.LoadMem(op, isa.R2, isa.R1, int16(off))
	switch how {
	case "load sx":
		ins = isa.LoadMemSX(op, isa.R2, isa.R1, int16(off))
	case "store":
		ins = isa.StoreMem(op, isa.R1, isa.R0, int16(off))
	}
	log, ok, err := s.load(isa.Mov64Imm(isa.R0, s.exitCode()), ins, isa.ExitInsn())
	if !ok && !strings.Contains(log, "invalid bpf_context access") {
		t.Fatalf("%v: %s of %d at %d: %v", s, how, width, off, err)
	}
	f := s.kind.Field(Access{Off: off, Width: width, Write: how == "store", SignExtend: how == "load sx", Attach: s.attach})
	if (f != nil) != ok {
		name := "nothing"
		if g := s.kind.Field(Access{Off: off &^ 3, Width: 4, Attach: s.attach}); g != nil {
			name = g.Name
		}
		t.Errorf("%v: %s of %d at %d (%s): the kernel says %v, the rows %v", s, how, width, off, name, ok, f != nil)
		return
	}
	if ok && how == "load" {
		want := kindNames[f.Kind] + f.BTF
		if f.MaybeNull {
			want += "_or_null"
		}
		got := ""
		if m := r2.FindStringSubmatch(log); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("%v: %s at %d is %q to the kernel, %q by the row", s, f.Name, off, got, want)
		}
	}
}

// The range of return values is the kernel's.
func TestReturnRange(t *testing.T) {
	needKernel(t)
	for _, s := range sites(t) {
		if s.kind.Flags&RetByTarget != 0 {
			continue
		}
		for _, v := range []int32{-4096, -1, 0, 1, 2, 3, 4, 1000} {
			log, ok, err := s.load(isa.Mov64Imm(isa.R0, v), isa.ExitInsn())
			if !ok && !strings.Contains(log, "At program exit the register R0 has") {
				t.Fatalf("%v: %v", s, err)
			}
			r, checked := s.kind.Return(s.attach)
			if want := !checked || v >= r.Min && v <= r.Max; ok != want {
				t.Errorf("%v: return %d: the kernel says %v, the rows %v", s, v, ok, want)
			}
		}
	}
}

// What the flags of program types allow is what the kernel allows.
func TestProgFlags(t *testing.T) {
	needKernel(t)
	check := func(s site, flag ProgFlag, name string, ok bool, log string, refusals ...string) {
		t.Helper()
		if !ok && !slices.ContainsFunc(refusals, func(r string) bool { return strings.Contains(log, r) }) {
			t.Fatalf("%v: %s: %s", s, name, log)
		}
		if want := s.kind.Flags&flag != 0; want != ok {
			t.Errorf("%v: %s: the kernel says %v, the row %v", s, name, ok, want)
		}
	}
	for _, s := range sites(t) {
		end := []isa.Part{isa.Mov64Imm(isa.R0, s.exitCode()), isa.ExitInsn()}
		if s.flags == 0 {
			log, ok, _ := s.load(append([]isa.Part{isa.Mov64Reg(isa.R6, isa.R1), isa.LoadAbs(isa.B, 0)}, end...)...)
			check(s, LDAbs, "LD_ABS", ok, log, "instructions not allowed for this program type")

			z := s
			z.flags |= flagSleepable
			log, ok, _ = z.load(end...)
			// Which functions may sleep is the target's to say.
			if s.kind.Flags&AttachBTF == 0 || ok {
				check(s, Sleepable, "sleepable", ok, log, "programs can be sleepable")
			}
		}
		checkPacketFlags(t, s, end, check)
	}
}

func checkPacketFlags(t *testing.T, s site, end []isa.Part,
	check func(s site, flag ProgFlag, name string, ok bool, log string, refusals ...string)) {
	t.Helper()
	var data, dataEnd *Field
	for i := range s.kind.Ctx.Fields {
		f := &s.kind.Ctx.Fields[i]
		if f.Kind == FieldPkt && f.Read.Has(s.kind.Type) {
			data = f
		}
		if f.Kind == FieldPktEnd && f.Read.Has(s.kind.Type) {
			dataEnd = f
		}
	}
	if data == nil {
		if s.kind.Flags&(PktArg|PktWrite) != 0 {
			t.Errorf("%v: direct packet access without a field that gives it", s)
		}
		return
	}
	op := map[int]isa.Opcode{4: isa.W, 8: isa.DW}[data.Size]
	bounds := []isa.Part{
		isa.LoadMem(op, isa.R2, isa.R1, int16(data.Off)),
		isa.LoadMem(op, isa.R3, isa.R1, int16(dataEnd.Off)),
		isa.Mov64Reg(isa.R4, isa.R2),
		isa.ALU64Imm(isa.Add, isa.R4, 8),
		isa.JmpReg(isa.Jgt, isa.R4, isa.R3, 3),
	}
	m, err := linux.NewMap(&MapDef{Type: MapHash, KeySize: 4, ValueSize: 4, MaxEntries: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	log, ok, _ := s.load(slices.Concat(bounds, []isa.Part{
		isa.LdMapFD(isa.R1, int32(m.FD())), isa.HelperCall(int32(FnMapLookupElem)),
	}, end)...)
	check(s, PktArg, "packet as argument", ok, log, "helper access to the packet is not allowed")
	log, ok, _ = s.load(slices.Concat(bounds, []isa.Part{
		isa.StoreImm(isa.B, isa.R2, 0, 1), isa.Goto(0), isa.Goto(0),
	}, end)...)
	check(s, PktWrite, "packet write", ok, log, "cannot write into packet", "invalid access to packet")
}

// PROG_LOAD takes the expected attach types the rows say.
func TestAttachTypes(t *testing.T) {
	needKernel(t)
	for i := range ProgKinds() {
		k := &ProgKinds()[i]
		if notLoadable[k.Type] != "" || k.Flags&AttachBTF != 0 {
			continue
		}
		for a := AttachType(0); a.String() != "unknown"; a++ {
			s := site{kind: k, attach: a}
			if k.Type == ProgSyscall {
				s.flags = flagSleepable
			}
			log, ok, err := s.load(isa.Mov64Imm(isa.R0, s.exitCode()), isa.ExitInsn())
			if !ok && log != "" {
				t.Fatalf("%v: %v", s, err)
			}
			want := k.Attaches == 0 || k.Attaches.Has(a) || a == 0 && k.Default != 0
			if ok != want {
				t.Errorf("%v: the kernel says %v, the row %v", s, ok, want)
			}
		}
	}
}

// What a program may read of the socket structures is what the kernel lets it.
func TestSockAccess(t *testing.T) {
	needKernel(t)
	xsk, err := linux.NewMap(&MapDef{Type: MapXSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer xsk.Close()
	leave := isa.Program(isa.JmpImm(isa.Jne, isa.R0, 0, 2), isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
	fromSKB := func(calls ...HelperID) isa.Instructions {
		p := isa.Instructions{isa.LoadMem(isa.DW, isa.R0, isa.R1, 168)}
		p = append(p, leave...)
		for _, id := range calls {
			p = append(p, isa.Mov64Reg(isa.R1, isa.R0), isa.HelperCall(int32(id)))
			p = append(p, leave...)
		}
		return p
	}
	lookup := isa.Program(isa.StoreImm(isa.W, isa.RFP, -4, 0), isa.LdMapFD(isa.R1, int32(xsk.FD())), isa.Mov64Reg(isa.R2, isa.RFP),
		isa.ALU64Imm(isa.Add, isa.R2, -4), isa.HelperCall(int32(FnMapLookupElem)), isa.Instructions(leave))
	for _, c := range []struct {
		kind FieldKind
		prog ProgType
		get  isa.Instructions
		size int
	}{
		{FieldSockCommon, ProgSchedCls, fromSKB(), 80},
		{FieldSock, ProgSchedCls, fromSKB(FnSkFullsock), 80},
		{FieldTCPSock, ProgSchedCls, fromSKB(FnTcpSock), 112},
		{FieldXDPSock, ProgXDP, lookup, 4},
	} {
		s := site{kind: ProgKindByType(c.prog)}
		for off := range c.size + 8 {
			for _, w := range widths {
				if off%w.bytes != 0 {
					continue
				}
				log, ok, _ := s.load(c.get, isa.LoadMem(w.op, isa.R2, isa.R0, int16(off)), isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
				// The kernel finds out about half a field of 8 bytes only when it converts the access.
				if !ok && !strings.Contains(log, "access off=") && !strings.Contains(log, "ctx access conversion") {
					t.Fatal(log)
				}
				if want := SockField(c.kind, off, w.bytes) != nil; ok != want {
					t.Errorf("kind %d, %d bytes at %d: the kernel says %v, the rows %v", c.kind, w.bytes, off, ok, want)
				}
			}
		}
		if _, ok, _ := s.load(c.get, isa.StoreImm(isa.W, isa.R0, 0, 0), isa.Mov64Imm(isa.R0, 0), isa.ExitInsn()); ok {
			t.Errorf("kind %d may be written", c.kind)
		}
	}
}
