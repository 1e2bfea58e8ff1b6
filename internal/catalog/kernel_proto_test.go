package catalog_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/isa"
)

// caller makes programs that call one helper with arguments of the types its
// row names, so that the kernel says what it thinks of them.
//
//	r6  context          r8  task_struct, where wanted
//	r7  socket           r9  packet, where wanted
//	r10−64 … r10         zeroes
type caller struct {
	t      *testing.T
	site   site
	h      *Helper
	maps   map[MapType]*linux.Map
	memory map[uint32]*linux.Map // one array each: read-only and write-only to programs
	str    *linux.Map            // holds a constant string
}

// room is how many bytes of stack, map value and packet there are for arguments.
const room = 64

// errCannot says that no argument of a type can be made here.
var errCannot = errors.New("cannot be made here")

func newCaller(t *testing.T) *caller {
	c := &caller{t: t, maps: map[MapType]*linux.Map{}, memory: map[uint32]*linux.Map{}}
	for _, flag := range []uint32{FlagRdonlyProg, FlagWronlyProg} {
		c.memory[flag] = c.newMap(MapDef{Type: MapArray, KeySize: 4, ValueSize: room, MaxEntries: 1, Flags: flag})
	}
	c.str = c.newMap(MapDef{Type: MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: FlagRdonlyProg})
	if err := c.str.Update(make([]byte, 4), []byte("text\x00\x00\x00\x00"), 0); err != nil {
		t.Fatal(err)
	}
	if err := c.str.Freeze(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *caller) newMap(def MapDef) *linux.Map {
	m, err := linux.NewMap(&def, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { m.Close() })
	return m
}

// mapFor returns a map that the helper takes.
func (c *caller) mapFor() *linux.Map {
	typ := MapHash
	for typ <= MapArena && !c.site.kind.HelperTakesMap(c.h, typ, c.site.attach) {
		typ++
	}
	if c.maps[typ] == nil {
		c.maps[typ] = c.newMap(validDef(MapKindByType(typ)))
	}
	return c.maps[typ]
}

// field finds a context field of one of the kinds that the program may read.
func (c *caller) field(kinds ...FieldKind) *Field {
	for i := range c.site.kind.Ctx.Fields {
		f := &c.site.kind.Ctx.Fields[i]
		if slices.Contains(kinds, f.Kind) && f.Read.Has(c.site.kind.Type) {
			return f
		}
	}
	return nil
}

func loadField(dst isa.Register, f *Field) isa.Instruction {
	return isa.LoadMem(map[int]isa.Opcode{4: isa.W, 8: isa.DW}[f.Size], dst, isa.R6, int16(f.Off))
}

// wants reports whether an argument is of one of the kinds.
func (c *caller) wants(kinds ...ArgType) bool {
	return slices.ContainsFunc(c.h.Args[:], func(a Arg) bool { return slices.Contains(kinds, a.Type.Base()) })
}

// prologue fills r6 to r9 and the stack. Where a socket or packet is not there,
// the program ends.
func (c *caller) prologue(packet bool) (isa.Instructions, error) {
	p := isa.Instructions{isa.Mov64Reg(isa.R6, isa.R1)}
	for off := -room; off < 0; off += 8 {
		p = append(p, isa.StoreImm(isa.DW, isa.RFP, int16(off), 0))
	}
	leave := isa.Instructions{isa.Mov64Imm(isa.R0, c.site.exitCode()), isa.ExitInsn()}
	if c.wants(ArgSockCommon, ArgSocket, ArgBTFIDSockCommon) {
		f := c.field(FieldSock, FieldSockCommon)
		if f == nil {
			return nil, errCannot
		}
		p = append(p, loadField(isa.R7, f), isa.JmpImm(isa.Jne, isa.R7, 0, 2))
		p = append(p, leave...)
	}
	if c.wants(ArgBTFID) {
		p = append(p, isa.HelperCall(int32(FnGetCurrentTaskBTF)), isa.Mov64Reg(isa.R8, isa.R0))
	}
	if packet {
		data, end := c.field(FieldPkt), c.field(FieldPktEnd)
		if data == nil || c.site.kind.Flags&PktArg == 0 {
			return nil, errCannot
		}
		p = append(p, loadField(isa.R9, data), loadField(isa.R2, end), isa.Mov64Reg(isa.R3, isa.R9),
			isa.ALU64Imm(isa.Add, isa.R3, room), isa.JmpReg(isa.Jle, isa.R3, isa.R2, 2))
		p = append(p, leave...)
	}
	return p, nil
}

// arg makes a good i-th argument.
func (c *caller) arg(i int) (isa.Part, error) {
	r, a := isa.R1+isa.Register(i), c.h.Args[i]
	if a.Type.Has(Release) {
		return nil, errCannot
	}
	stack := isa.Program(isa.Mov64Reg(r, isa.RFP), isa.ALU64Imm(isa.Add, r, -room))
	switch a.Type.Base() {
	case ArgConstMapPtr:
		return isa.LdMapFD(r, int32(c.mapFor().FD())), nil
	case ArgMapKey, ArgMapValue, ArgMem, ArgStack:
		return isa.Instructions(stack), nil
	case ArgDynptr:
		if a.Type.Has(Uninit) && c.h.ID == FnRingBufReserveDynptr {
			return isa.Instructions(stack), nil
		}
	case ArgConstSize, ArgConstSizeOrZero, ArgConstAllocSizeOrZero:
		return isa.Mov64Imm(r, 16), nil
	case ArgCtx:
		return isa.Mov64Reg(r, isa.R6), nil
	case ArgAnything:
		return isa.Mov64Imm(r, 0), nil
	case ArgSockCommon, ArgSocket, ArgBTFIDSockCommon:
		if f := c.field(FieldSock, FieldSockCommon); a.Type.Base() == ArgSocket && f.Kind != FieldSock {
			return nil, errCannot
		}
		return isa.Mov64Reg(r, isa.R7), nil
	case ArgBTFID:
		if a.BTF == "task_struct" {
			return isa.Mov64Reg(r, isa.R8), nil
		}
	case ArgConstStr:
		return isa.LdMapValue(r, int32(c.str.FD()), 0), nil
	}
	return nil, errCannot
}

// call loads a program that calls the helper. swap replaces arguments; after
// stands behind the call.
func (c *caller) call(swap map[int]isa.Part, packet bool, after ...isa.Part) (log string, ok bool, err error) {
	return c.callAs("GPL", swap, packet, after...)
}

func (c *caller) callAs(license string, swap map[int]isa.Part, packet bool, after ...isa.Part) (log string, ok bool, err error) {
	pro, err := c.prologue(packet)
	if err != nil {
		return "", false, err
	}
	parts := []isa.Part{pro}
	for i, a := range c.h.Args {
		if a.Type == ArgNone {
			break
		}
		part := swap[i]
		if part == nil {
			if part, err = c.arg(i); err != nil {
				return "", false, err
			}
		}
		parts = append(parts, part)
	}
	parts = append(parts, isa.HelperCall(int32(c.h.ID)))
	parts = append(parts, after...)
	parts = append(parts, isa.Mov64Imm(isa.R0, c.site.exitCode()), isa.ExitInsn())
	p := linux.Prog{
		Type: c.site.kind.Type, Attach: c.site.attach, AttachBTFID: c.site.btfID, Flags: c.site.flags,
		Insns: isa.Program(parts...), License: license, LogLevel: 2,
	}
	lp, err := linux.Load(&p)
	if err == nil {
		lp.Close()
		return lp.Log, true, nil
	}
	if e := (*linux.Error)(nil); errors.As(err, &e) {
		return e.Log, false, err
	}
	return "", false, err
}

// verdict is what the kernel said, for messages.
func verdict(log string, ok bool) string {
	if ok {
		return "accepted"
	}
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if !strings.HasPrefix(lines[i], "processed ") && !strings.HasPrefix(lines[i], "verification time") && !strings.HasPrefix(lines[i], "stack depth") {
			return lines[i]
		}
	}
	return "refused"
}

// tolerated are refusals that good arguments of ours run into for reasons that
// are not the prototype's: values, not types.
var tolerated = []string{
	"Unreleased reference",           // Acquires says so
	"not supported for program type", // get_func_ip, by what is traced
}

const memoryTypes = "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_"

// expected is what check_reg_type names as good for each kind of argument.
var expected = map[ArgType]string{
	ArgConstMapPtr: "map_ptr", ArgMapKey: memoryTypes, ArgMapValue: memoryTypes, ArgMem: memoryTypes, ArgCtx: "ctx", ArgStack: "fp",
	ArgSockCommon: "sock_common, sock, tcp_sock, xdp_sock", ArgSocket: "sock",
	ArgBTFIDSockCommon: "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_", ArgConstStr: "map_value",
	ArgBTFID: "ptr_, trusted_ptr_, rcu_ptr_",
}

// r0 finds what the verifier takes R0 for.
var r0 = regexp.MustCompile(`\bR0(?:_w)?=([a-z_0-9]+)\(`)

// nextInsn is where the log goes on to the next instruction.
var nextInsn = regexp.MustCompile(`(?m)^\d+: \(`)

// TestPrototypes has the kernel judge calls with good and bad arguments, and
// compares what it says with the rows.
func TestPrototypes(t *testing.T) {
	needKernel(t)
	c := newCaller(t)
	all := sites(t)
	asked, rows := 0, 0
	for id := HelperID(1); HelperByID(id) != nil; id++ {
		variants := HelperVariants(id)
		for i := range variants {
			if absent[id] != "" || !c.settle(&variants[i], all) {
				t.Logf("not asked: %v, row %d", id, i)
				continue
			}
			rows++
			asked += c.judge()
		}
	}
	t.Logf("%d rows by %d programs", rows, asked)
}

// settle chooses the site at which a good call of h can be made.
func (c *caller) settle(h *Helper, all []site) bool {
	c.h = h
	for _, s := range all {
		if s.kind.Helper(h.ID, s.attach) != h {
			continue
		}
		if h.Flags&MightSleep != 0 && s.flags&flagSleepable == 0 {
			continue
		}
		c.site = s
		if log, _, err := c.call(nil, false); !errors.Is(err, errCannot) && !strings.Contains(log, "is not allowed in probe") {
			return true
		}
	}
	return false
}

func (c *caller) judge() (asked int) {
	t, h := c.t, c.h
	complain := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%v at %v: %s", h.ID, c.site, fmt.Sprintf(format, args...))
	}
	log, ok, _ := c.call(nil, false)
	asked++
	dynptr := slices.ContainsFunc(h.Args[:], func(a Arg) bool { return a.Type.Has(DynRingBuf) }) // holds its record itself
	if acquires := strings.Contains(log, "Unreleased reference") && !dynptr; acquires != (h.Flags&Acquires != 0) {
		complain("Acquires: %s", verdict(log, ok))
	}
	if !ok && !slices.ContainsFunc(tolerated, func(s string) bool { return strings.Contains(log, s) }) {
		complain("good arguments: %s", verdict(log, ok))
		return asked
	}
	if strings.Contains(log, "not supported for program type") {
		return asked
	}
	c.checkReturn(log, complain)

	if !c.wants(ArgBTFID) { // which takes a helper that is GPL-only itself
		if _, mit, _ := c.callAs("MIT", nil, false); ok && mit == (h.Flags&GPLOnly != 0) {
			complain("without GPL: accepted %v", mit)
		}
	}
	if log, ok, err := c.call(nil, true, isa.LoadMem(isa.B, isa.R2, isa.R9, 0)); !errors.Is(err, errCannot) {
		asked++
		if gone := strings.Contains(log, "invalid mem access 'scalar'"); gone != (h.Flags&ChangesPkt != 0) {
			complain("packet afterwards: %s", verdict(log, ok))
		}
	}
	for i, a := range h.Args {
		if a.Type != ArgNone {
			asked += c.judgeArg(i, a, complain)
		}
	}
	return asked
}

func (c *caller) checkReturn(log string, complain func(string, ...any)) {
	got := ""
	// Before the states, the log lists the registers that live.
	after := log[max(0, strings.LastIndex(log, fmt.Sprintf("call %v#%d", c.h.ID, c.h.ID))):]
	if end := nextInsn.FindStringIndex(after); end != nil {
		after = after[:end[0]]
	}
	if m := r0.FindStringSubmatch(after); m != nil {
		got = m[1]
	}
	null := ""
	if c.h.Ret.Has(MaybeNull) {
		null = "_or_null"
	}
	want := map[RetType]string{
		RetInteger: "scalar", RetVoid: "", RetMapValue: "map_value" + null, RetSocket: "sock" + null, RetTCPSock: "tcp_sock" + null,
		RetSockCommon: "sock_common" + null, RetMem: "mem" + null, RetBTFID: "ptr" + null + "_" + c.h.RetBTF,
	}[c.h.Ret.Base()]
	if c.h.Ret.Has(RingBufMem) {
		want = "ringbuf_" + want
	}
	if c.h.Ret.Has(Trusted) {
		want = "trusted_" + want
	}
	if got != want {
		complain("returns %q, by the row %q", got, want)
	}
}

// judgeArg tries bad and borderline i-th arguments.
func (c *caller) judgeArg(i int, a Arg, complain func(string, ...any)) (asked int) {
	r := isa.R1 + isa.Register(i)
	try := func(what string, want bool, swap map[int]isa.Part, packet bool, refusal string) {
		log, ok, err := c.call(swap, packet)
		if errors.Is(err, errCannot) {
			return
		}
		asked++
		if got := !strings.Contains(log, refusal); got != want {
			complain("argument %d: %s: %s", i+1, what, verdict(log, ok))
		}
	}
	if list, isPtr := expected[a.Type.Base()]; isPtr {
		try("a number", false, map[int]isa.Part{i: isa.Mov64Imm(r, 1)}, false, fmt.Sprintf("R%d type=scalar expected=%s\n", r, list))
		null := map[int]isa.Part{i: isa.Mov64Imm(r, 0)}
		if i < 4 && c.h.Args[i+1].Type.Base() == ArgConstSizeOrZero {
			null[i+1] = isa.Mov64Imm(r+1, 0)
		}
		try("NULL", a.Type.Has(MaybeNull), null, false, fmt.Sprintf("R%d type=scalar expected=", r))
	}
	switch a.Type.Base() {
	case ArgAnything:
		try("a pointer", true, map[int]isa.Part{i: isa.Mov64Reg(r, isa.RFP)}, false, fmt.Sprintf("R%d type=", r))
	case ArgConstSize, ArgConstSizeOrZero:
		try("zero", a.Type.Base() == ArgConstSizeOrZero, map[int]isa.Part{i: isa.Mov64Imm(r, 0)}, false, "invalid zero-sized read")
	case ArgMem:
		value := func(flag uint32) map[int]isa.Part {
			return map[int]isa.Part{i: isa.LdMapValue(r, int32(c.memory[flag].FD()), 0)}
		}
		try("read-only memory", !a.Type.Has(Write), value(FlagRdonlyProg), false, "write into map forbidden")
		try("write-only memory", a.Type.Has(Write), value(FlagWronlyProg), false, "read from map forbidden")
		packet := map[int]isa.Part{i: isa.Mov64Reg(r, isa.R9)}
		try("a packet", c.h.Flags&PktAccess != 0 || c.site.kind.Flags&PktArgAny != 0, packet, true, "helper access to the packet is not allowed")
	case ArgMapKey, ArgMapValue:
		packet := map[int]isa.Part{i: isa.Mov64Reg(r, isa.R9)}
		try("a packet", c.h.Flags&PktAccess != 0 || c.site.kind.Flags&PktArgAny != 0, packet, true, "helper access to the packet is not allowed")
	}
	return asked
}

// Maps and helpers go together where the kernel lets them.
func TestHelperMaps(t *testing.T) {
	needKernel(t)
	c := newCaller(t)
	all := sites(t)
	asked := 0
	for id := HelperID(1); HelperByID(id) != nil; id++ {
		variants := HelperVariants(id)
		for i := range variants {
			h := &variants[i]
			at := slices.IndexFunc(h.Args[:], func(a Arg) bool { return a.Type == ArgConstMapPtr })
			if at < 0 || !c.settle(h, all) {
				continue
			}
			for j := range MapKinds() {
				m := &MapKinds()[j]
				if m.Type == MapStructOps {
					continue
				}
				if c.maps[m.Type] == nil {
					c.maps[m.Type] = c.newMap(validDef(m))
				}
				log, ok, _ := c.call(map[int]isa.Part{at: isa.LdMapFD(isa.R1+isa.Register(at), int32(c.maps[m.Type].FD()))}, false)
				no := strings.Contains(log, "cannot pass map_type")
				want := c.site.kind.HelperTakesMap(h, m.Type, c.site.attach)
				if no && want || ok && !want {
					t.Errorf("%v at %v with %s: %s, the rows say %v", id, c.site, m.Name, verdict(log, ok), want)
				}
				if no || ok { // else something else is wrong with the map
					asked++
				}
			}
		}
	}
	t.Logf("%d pairs of helper and map type", asked)
}
