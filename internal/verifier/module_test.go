package verifier_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
	"github.com/skep-bpf/skep/isa"
)

// moduleBTF makes types of a module on top of the kernel's: functions that take
// a pointer to struct task_struct. It returns the id of the first.
func moduleBTF(t *testing.T, names ...string) (*btf.Spec, int32) {
	t.Helper()
	raw, err := os.ReadFile("/sys/kernel/btf/vmlinux")
	oracle.Need(t, "kernel BTF", err)
	le := binary.LittleEndian
	strLen := le.Uint32(raw[20:])
	base := kernelBTF()
	types := uint32(1) // void
	for range base.All() {
		types++
	}
	for ; ; types++ { // tags of declarations count, and are not listed
		if _, err := base.TypeByID(btf.TypeID(types)); err != nil {
			break
		}
	}
	var task *btf.Struct
	if err := base.TypeByName("task_struct", &task); err != nil {
		t.Fatal(err)
	}
	taskID, err := base.TypeID(task)
	if err != nil {
		t.Fatal(err)
	}
	strs := []byte("")
	str := func(s string) uint32 {
		at := strLen + uint32(len(strs))
		strs = append(append(strs, s...), 0)
		return at
	}
	var body []byte
	add := func(words ...uint32) {
		for _, w := range words {
			body = le.AppendUint32(body, w)
		}
	}
	const kindPtr, kindFunc, kindProto = 2 << 24, 12 << 24, 13 << 24
	add(0, kindPtr, uint32(taskID))         // types
	add(0, kindProto|1, 0, str("p"), types) // types+1: void (struct task_struct *p)
	for _, name := range names {
		add(str(name), kindFunc, types+1)
	}
	blob := le.AppendUint16(nil, 0xeb9f)
	blob = append(blob, 1, 0)
	for _, w := range []uint32{24, 0, uint32(len(body)), uint32(len(body)), uint32(len(strs))} {
		blob = le.AppendUint32(blob, w)
	}
	blob = append(append(blob, body...), strs...)
	spec, err := btf.LoadSplitSpecFromReader(bytes.NewReader(blob), base)
	if err != nil {
		t.Fatal(err)
	}
	return spec, int32(types + 2)
}

// TestModuleKfuncs calls functions of a module whose types are given as data.
func TestModuleKfuncs(t *testing.T) {
	spec, first := moduleBTF(t, "mod_take_task", "mod_hidden")
	module := &verifier.Module{Name: "mod", BTF: spec, Kfuncs: []catalog.Kfunc{
		{Name: "mod_take_task", Progs: 1 << catalog.ProgTracing, Flags: catalog.KfTrustedArgs},
	}}
	byIdx := func(idx int16) *verifier.Module {
		if idx == 1 {
			return module
		}
		return nil
	}
	const load = "r1 = *(u64 *)(r1 + 8)\n"
	for _, c := range []struct {
		name, text string
		id         int32
		idx        int16
		modules    func(int16) *verifier.Module
		no         errno.Errno
		words      string
	}{
		{"a trusted task", load, first, 1, byIdx, 0, ""},
		{"no task", "r1 = 0\n", first, 1, byIdx, errno.EACCES, "Possibly NULL pointer passed to trusted arg0"},
		{"the context", "", first, 1, byIdx, errno.EINVAL, "arg#0 pointer type STRUCT task_struct must point to scalar, or struct with scalar"},
		{"a function that is not registered", load, first + 1, 1, byIdx, errno.EACCES, "calling kernel function mod_hidden is not allowed"},
		{"no function", load, first - 1, 1, byIdx, errno.EINVAL, "is not a function"},
		{"no module", load, first, 2, byIdx, errno.EINVAL, "BTF fd for kfunc is not a module BTF"},
		{"no descriptors", load, first, 1, nil, errno.EPROTO, "kfunc offset > 0 without fd_array is invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			head, err := isa.Assemble("module", c.text, isa.Symbols{})
			if err != nil {
				t.Fatal(err)
			}
			insns := append(head, isa.Program(isa.KfuncCall(c.id, c.idx), isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())...)
			_, err = verifier.Verify(&verifier.Program{
				Type: catalog.ProgTracing, Attach: catalog.AttachTraceRawTp, AttachTo: "sched_switch",
				Insns: insns, GPL: true, KernelBTF: kernelBTF(), ModuleByIdx: c.modules,
			}, verifier.Options{})
			if c.no == 0 {
				if err != nil {
					t.Errorf("%+v", err)
				}
				return
			}
			if !errors.Is(err, c.no) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v, want %v %s", err, c.no, c.words)
			}
		})
	}
	t.Run("the kernel's words", func(t *testing.T) {
		oracle.Need(t, "bpf(2)", linux.Available())
		b, err := btf.NewBuilder([]btf.Type{u32}, nil)
		if err != nil {
			t.Fatal(err)
		}
		blob, err := b.Marshal(nil, btf.KernelMarshalOptions())
		if err != nil {
			t.Fatal(err)
		}
		own, err := linux.LoadBTF(blob)
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		for words, btfs := range map[string][]*linux.BTF{
			"kfunc offset > 0 without fd_array is invalid": nil,
			"BTF fd for kfunc is not a module BTF":         {own, own},
		} {
			insns := isa.Program(isa.KfuncCall(1, 1), isa.Mov64Imm(isa.R0, 0), isa.ExitInsn())
			p := &verifier.Program{Type: catalog.ProgSocketFilter, GPL: true, Insns: insns, KernelBTF: kernelBTF()}
			if btfs != nil {
				p.ModuleByIdx = func(int16) *verifier.Module { return nil }
			}
			_, kerr := linux.Load(&linux.Prog{Type: p.Type, License: "GPL", Insns: insns, BTFs: btfs, LogLevel: 1})
			_, err := verifier.Verify(p, verifier.Options{LogLevel: 1})
			var ke *linux.Error
			var ve *verifier.Error
			if !errors.As(kerr, &ke) || !errors.As(err, &ve) {
				t.Fatalf("the kernel says %v, skep %v", kerr, err)
			}
			if ke.Errno != ve.Errno || withoutTime(ke.Log) != withoutTime(ve.Log) || !strings.Contains(ve.Log, words) {
				t.Errorf("the kernel says %v\n%s\nskep %v\n%s", ke.Errno, ke.Log, ve.Errno, ve.Log)
			}
		}
	})
}
