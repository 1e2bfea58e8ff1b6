package image

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

// FuzzLoad: no file panics or hangs, every error names the file and wraps a
// sentinel, and every reference in a program that was linked leads somewhere.
func FuzzLoad(f *testing.F) {
	for name := range objects {
		data, err := os.ReadFile("testdata/" + name + ".o")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	opts := goldenOptions("")
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := Load(bytes.NewReader(data), "fuzz.o", opts)
		if err != nil {
			checkError(t, err)
			if img != nil {
				t.Error("an image in spite of the error")
			}
			return
		}
		for _, p := range img.Programs {
			if p.Err != nil {
				checkError(t, p.Err)
				continue
			}
			checkRefs(t, img, p)
		}
		for _, v := range img.Variables() {
			v.Bytes()
		}
	})
}

func checkError(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.File != "fuzz.o" {
		t.Errorf("no *Error with a file: %v", err)
	}
	for _, s := range []error{ErrNotELF, ErrNotBPF, ErrTruncated, ErrTooLarge, ErrBadBTF, ErrBadProgram,
		ErrBadMap, ErrBadReloc, ErrNotSupported, ErrNoTarget, ErrUnresolved, ErrBadConfig} {
		if errors.Is(err, s) {
			return
		}
	}
	t.Errorf("no sentinel in %v", err)
}

func checkRefs(t *testing.T, img *Image, p *Program) {
	t.Helper()
	for i, ins := range p.Insns {
		if ins.IsLocalCall() {
			if to := i + int(ins.Imm) + 1; to < 0 || to >= len(p.Insns) {
				t.Errorf("%s: insn %d calls %d of %d", p.Name, i, to, len(p.Insns))
			}
		}
	}
	for _, fn := range p.Funcs {
		if fn.Slot >= len(p.Insns) || fn.Func == nil {
			t.Errorf("%s: function info at %d of %d", p.Name, fn.Slot, len(p.Insns))
		}
	}
}
