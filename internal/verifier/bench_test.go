package verifier_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/loadprog"
	"github.com/skep-bpf/skep/internal/verifier"
)

type exampleObject struct {
	file string
	img  *image.Image
}

// exampleObjects are the objects of the repository's examples.
func exampleObjects(t testing.TB) (out []exampleObject) {
	files, err := filepath.Glob("../../examples/*/*.o")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		img, err := image.LoadFile(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, exampleObject{file, img})
	}
	return out
}

// imageProgram makes of an image's program what the verifier takes.
func imageProgram(img *image.Image, p *image.Program) *verifier.Program {
	var defs []*catalog.MapDef
	for _, m := range img.Maps {
		defs = append(defs, imageMap(m))
	}
	vp := loadprog.For(img, p, func(i int32) *catalog.MapDef {
		if i < 0 || int(i) >= len(defs) {
			return nil
		}
		return defs[i]
	})
	vp.GPL, vp.KernelBTF = strings.Contains(img.License, "GPL"), kernelBTF()
	return vp
}

func imageMap(m *image.Map) *catalog.MapDef {
	d := &catalog.MapDef{Name: m.KernelName, Type: m.Type, KeySize: m.KeySize, ValueSize: m.ValueSize,
		MaxEntries: m.MaxEntries, Flags: m.Flags, Key: m.Key, Value: m.Value}
	if d.Type == catalog.MapPerfEventArray && d.MaxEntries == 0 {
		d.MaxEntries = 2
	}
	if m.Inner != nil {
		d.Inner = imageMap(m.Inner)
	}
	if m.Freeze && m.Flags&catalog.FlagRdonlyProg != 0 {
		d.ReadConst = func(off uint32, b []byte) bool {
			if int(off)+len(b) > int(m.ValueSize) {
				return false
			}
			clear(b)
			if int(off) < len(m.Data) {
				copy(b, m.Data[off:])
			}
			return true
		}
	}
	return d
}

func BenchmarkVerify(b *testing.B) {
	for _, ex := range exampleObjects(b) {
		for _, p := range ex.img.Programs {
			benchProgram(b, imageProgram(ex.img, p))
		}
	}
}

func benchProgram(b *testing.B, p *verifier.Program) {
	res, err := verifier.Verify(p, verifier.Options{CPUs: 2})
	if err != nil {
		return // an example of a refusal
	}
	b.Run(fmt.Sprintf("%s/%d", p.Name, res.Stats.InsnProcessed), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := verifier.Verify(p, verifier.Options{CPUs: 2}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(res.Stats.InsnProcessed), "ns/insn")
	})
}
