package linux

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/isa"
)

func need(t *testing.T) {
	t.Helper()
	oracle.Need(t, "bpf(2)", Available())
}

func mustLoad(t *testing.T, p *Prog) *LoadedProg {
	t.Helper()
	lp, err := Load(p)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { lp.Close() })
	return lp
}

func mustMap(t *testing.T, def *catalog.MapDef) *Map {
	t.Helper()
	m, err := NewMap(def, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// A packet and a context go in, the verdict, the changed packet and the log come out.
func TestLoadAndRun(t *testing.T) {
	need(t)
	p := mustLoad(t, &Prog{
		Name: "shrink", Type: catalog.ProgXDP, License: "GPL", LogLevel: 2,
		Insns: isa.Program(
			isa.Mov64Imm(isa.R2, -16),
			isa.HelperCall(int32(catalog.FnXDPAdjustTail)),
			isa.Mov64Imm(isa.R0, 2),
			isa.ExitInsn(),
		),
	})
	if !strings.Contains(p.Log, "processed 4 insns") {
		t.Errorf("log of level 2 has no statistics:\n%s", p.Log)
	}
	out, err := p.TestRun(&Run{Data: make([]byte, 64), Repeat: 1})
	if err != nil {
		t.Fatal(err)
	}
	if out.Ret != 2 || len(out.Data) != 48 {
		t.Errorf("R0 = %d, %d bytes; want XDP_PASS and 48", out.Ret, len(out.Data))
	}
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	if info.Name != "shrink" || info.Type != catalog.ProgXDP || info.VerifiedInsns != 4 || info.ID == 0 {
		t.Errorf("info: %+v", info)
	}
}

// A refusal keeps the errno and the log, even when none was asked for.
func TestRefusal(t *testing.T) {
	need(t)
	for _, level := range []uint32{0, 1, 2} {
		_, err := Load(&Prog{
			Type: catalog.ProgSocketFilter, License: "GPL", LogLevel: level,
			Insns: isa.Program(isa.Mov64Reg(isa.R0, isa.R2), isa.ExitInsn()),
		})
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, errno.EACCES) {
			t.Fatalf("level %d: %v, want EACCES", level, err)
		}
		if want := "bpf(PROG_LOAD): permission denied: R2 !read_ok"; err.Error() != want {
			t.Errorf("level %d: %q, want %q", level, err, want)
		}
		if long := fmt.Sprintf("%+v", err); !strings.Contains(long, "0: (bf) r0 = r2") {
			t.Errorf("level %d: the long form has no log: %q", level, long)
		}
	}
}

// A log longer than the first buffer arrives whole.
func TestLongLog(t *testing.T) {
	need(t)
	insns := isa.Program(isa.Mov64Imm(isa.R0, 0))
	for range 3000 {
		insns = append(insns, isa.ALU64Imm(isa.Add, isa.R0, 1))
	}
	p := mustLoad(t, &Prog{Type: catalog.ProgSocketFilter, License: "GPL", LogLevel: 2, Insns: append(insns, isa.ExitInsn())})
	if len(p.Log) < 1<<16 || !strings.Contains(p.Log, "\n3000: (07) r0 += 1") || !strings.Contains(p.Log, "processed 3002 insns") {
		t.Errorf("log of %d bytes is cut", len(p.Log))
	}
}

// What was loaded without a log is loaded at most once more: of a log that does
// not fit, the error has the end, and the verdict of the first time.
func TestLongLogOfRefusal(t *testing.T) {
	need(t)
	insns := isa.Program(isa.Mov64Imm(isa.R6, 0), isa.Mov64Imm(isa.R7, 0))
	insns = append(insns, isa.Program(isa.ALU64Imm(isa.Add, isa.R6, 1), isa.JmpImm(isa.Jne, isa.R6, -1, -2), isa.ExitInsn())...)
	_, err := Load(&Prog{Type: catalog.ProgSocketFilter, License: "GPL", Insns: insns})
	var e *Error
	if !errors.As(err, &e) || e.Errno != errno.E2BIG || !strings.Contains(e.Log, "BPF program is too large") {
		t.Errorf("%v", err)
	}
	if len(e.Log) < againLog/2 || len(e.Log) > againLog {
		t.Errorf("log of %d bytes", len(e.Log))
	}
}

func TestMapThroughFDArray(t *testing.T) {
	need(t)
	m := mustMap(t, &catalog.MapDef{Name: "m", Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	key, val := make([]byte, 4), binary.LittleEndian.AppendUint64(nil, 41)
	if err := m.Update(key, val, catalog.UpdateAny); err != nil {
		t.Fatal(err)
	}
	p := mustLoad(t, &Prog{
		Type: catalog.ProgXDP, License: "GPL", Maps: []*Map{m},
		Insns: isa.Program(
			isa.LdMapIdxValue(isa.R1, 0, 0),
			isa.LoadMem(isa.DW, isa.R0, isa.R1, 0),
			isa.ALU64Imm(isa.Add, isa.R0, 1),
			isa.StoreMem(isa.DW, isa.R1, isa.R0, 0),
			isa.ExitInsn(),
		),
	})
	out, err := p.TestRun(&Run{Data: make([]byte, 14)})
	if err != nil || out.Ret != 42 {
		t.Fatalf("R0 = %+v, %v; want 42", out, err)
	}
	got := make([]byte, 8)
	if err := m.Lookup(key, got, 0); err != nil || got[0] != 42 {
		t.Errorf("value %v, %v; want 42", got, err)
	}
	if info, err := m.Info(); err != nil || info.Name != "m" || info.ValueSize != 8 || info.Type != catalog.MapArray {
		t.Errorf("info %+v, %v", info, err)
	}
}

func TestMapOperations(t *testing.T) {
	need(t)
	m := mustMap(t, &catalog.MapDef{Type: catalog.MapHash, KeySize: 4, ValueSize: 4, MaxEntries: 8})
	k := func(n byte) []byte { return []byte{n, 0, 0, 0} }
	steps := []struct {
		name string
		err  error
		want error
	}{
		{"exist on empty", m.Update(k(1), k(1), catalog.UpdateExist), errno.ENOENT},
		{"noexist", m.Update(k(1), k(1), catalog.UpdateNoExist), nil},
		{"noexist again", m.Update(k(1), k(1), catalog.UpdateNoExist), errno.EEXIST},
		{"lookup absent", m.Lookup(k(2), make([]byte, 4), 0), errno.ENOENT},
		{"next key", m.NextKey(nil, make([]byte, 4)), nil},
		{"last key", m.NextKey(k(1), make([]byte, 4)), errno.ENOENT},
		{"lookup and delete", m.LookupAndDelete(k(1), make([]byte, 4), 0), nil},
		{"delete absent", m.Delete(k(1)), errno.ENOENT},
	}
	for _, s := range steps {
		if !errors.Is(s.err, s.want) {
			t.Errorf("%s: %v, want %v", s.name, s.err, s.want)
		}
	}
	b := &Batch{Keys: bytes.Join([][]byte{k(1), k(2), k(3)}, nil), Values: bytes.Join([][]byte{k(4), k(5), k(6)}, nil), Count: 3}
	if err := m.BatchUpdate(b); err != nil || b.Count != 3 {
		t.Fatalf("batch update: %d, %v", b.Count, err)
	}
	b = &Batch{Out: make([]byte, 4), Keys: make([]byte, 32), Values: make([]byte, 32), Count: 8}
	if err := m.BatchLookupAndDelete(b); !errors.Is(err, errno.ENOENT) || b.Count != 3 {
		t.Errorf("batch lookup and delete: %d, %v; want 3 and the end", b.Count, err)
	}
	if err := m.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := m.Update(k(1), k(1), 0); !errors.Is(err, errno.EPERM) {
		t.Errorf("update of a frozen map: %v, want EPERM", err)
	}
}

// Special fields need the value's BTF to reach the kernel, inner maps a template.
func TestMapBTFAndInner(t *testing.T) {
	need(t)
	u32 := &btf.Int{Name: "u32", Size: 4}
	lock := &btf.Struct{Name: "bpf_spin_lock", Size: 4, Members: []btf.Member{{Name: "val", Type: u32}}}
	val := &btf.Struct{Name: "v", Size: 8, Members: []btf.Member{{Name: "lock", Type: lock}, {Name: "n", Type: u32, Offset: 32}}}
	m := mustMap(t, &catalog.MapDef{Type: catalog.MapArray, KeySize: 4, ValueSize: 8, MaxEntries: 1, Key: u32, Value: val})
	if err := m.Update(make([]byte, 4), make([]byte, 8), catalog.UpdateLock); err != nil {
		t.Errorf("BPF_F_LOCK: %v; did the BTF arrive?", err)
	}
	inner := &catalog.MapDef{Type: catalog.MapArray, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	outer := mustMap(t, &catalog.MapDef{Type: catalog.MapArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 2, Inner: inner})
	fd := binary.LittleEndian.AppendUint32(nil, uint32(mustMap(t, inner).FD()))
	if err := outer.Update(make([]byte, 4), fd, 0); err != nil {
		t.Error(err)
	}
}

func TestPerCPUValueLen(t *testing.T) {
	need(t)
	n, err := PossibleCPUs()
	if err != nil {
		t.Fatal(err)
	}
	m := mustMap(t, &catalog.MapDef{Type: catalog.MapPerCPUArray, KeySize: 4, ValueSize: 5, MaxEntries: 1})
	if got, err := m.ValueLen(); err != nil || got != n*8 {
		t.Errorf("%d, %v; want %d", got, err, n*8)
	}
}

func TestBadBTF(t *testing.T) {
	need(t)
	if _, err := LoadBTF(make([]byte, 24)); !errors.Is(err, errno.EINVAL) {
		t.Errorf("%v, want EINVAL", err)
	}
}
