package verifier_test

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/verifier"
)

// addresses are what the kernel prints of its own memory in 64-bit loads.
var addresses = regexp.MustCompile(`\(18\) (r\d) = 0x[0-9a-f]+ *`)

var tracing = regexp.MustCompile(`^(mark_precise:|frame \d+: propagating)`)

// normalLog takes out of a log what need not agree. Where there are callbacks,
// that is how often and how far precision is traced back through them: the
// kernel does so less.
func normalLog(log string) []string {
	log = addresses.ReplaceAllString(log, "(18) $1 = ADDR ")
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if strings.Contains(log, " cb\n") {
		lines = slices.DeleteFunc(lines, func(l string) bool { return tracing.MatchString(l) })
	}
	return lines
}

// examplesDiffer are the programs of examples whose logs are not the kernel's, with why.
var examplesDiffer = map[string]string{"cubic.o/cut": nullIsPrecise, "cubic.o/end": nullIsPrecise}

// TestLogs compares the whole log of every example, at the level where every
// instruction is shown, with the live kernel's: states, marks and statistics.
func TestLogs(t *testing.T) {
	oracle.Need(t, "bpf(2)", linux.Available())
	for _, ex := range exampleObjects(t) {
		for _, p := range ex.img.Programs {
			t.Run(p.Name, func(t *testing.T) {
				res, err := verifier.Verify(imageProgram(ex.img, p), verifier.Options{LogLevel: 2, CPUs: cpus(t)})
				log := ""
				var ve *verifier.Error
				if errors.As(err, &ve) {
					log = ve.Log
				} else {
					log = res.Log
				}
				klog, kerr := loadImage(t, ex.img, p)
				if (err == nil) != (kerr == nil) {
					t.Fatalf("skep says %v, the kernel %v", err, kerr)
				}
				got, want := normalLog(log), normalLog(klog)
				if why, known := examplesDiffer[filepath.Base(ex.file)+"/"+p.Name]; known {
					if slices.Equal(got, want) {
						t.Errorf("is the kernel's after all (%s)", why)
					}
					return
				}
				compareLogs(t, got, want)
			})
		}
	}
}

// compareLogs reports the first line that differs. Insn counts and states of
// the last line count as well.
func compareLogs(t *testing.T, got, want []string) {
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if strings.TrimRight(g, " ") != strings.TrimRight(w, " ") {
			from := max(0, i-3)
			t.Errorf("line %d:\n skep:   %s\n kernel: %s\nafter:\n%s", i+1, g, w, strings.Join(got[from:min(i, len(got))], "\n"))
			return
		}
	}
}

func cpus(t testing.TB) int {
	n, err := linux.PossibleCPUs()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// loadImage gives a program of an object to the live kernel and returns its log.
func loadImage(t *testing.T, img *image.Image, p *image.Program) (string, error) {
	lp := &linux.Prog{Name: p.Name, Type: p.Type, Attach: p.Attach, Flags: p.Flags, Insns: p.Insns, License: img.License, LogLevel: 2}
	lp.AttachTo(kernelBTF(), p.AttachTo)
	for _, m := range img.Maps {
		if m.Kind == image.KindStructOps { // no program refers to one
			lp.Maps = append(lp.Maps, nil)
			continue
		}
		d := imageMap(m)
		km, err := linux.NewMap(d, nil)
		if err != nil {
			t.Fatalf("map %s: %v", m.Name, err)
		}
		t.Cleanup(func() { km.Close() })
		if m.Data != nil {
			if err := km.Update([]byte{0, 0, 0, 0}, m.Data, 0); err != nil {
				t.Fatalf("map %s: %v", m.Name, err)
			}
		}
		if m.Freeze {
			if err := km.Freeze(); err != nil {
				t.Fatalf("map %s: %v", m.Name, err)
			}
		}
		lp.Maps = append(lp.Maps, km)
	}
	b, err := linux.LoadBTF(img.RawBTF)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	lp.BTF = b
	lp.FuncInfo, lp.LineInfo = p.FuncInfoRecords(binary.LittleEndian), p.LineInfoRecords(binary.LittleEndian)
	k, err := linux.Load(lp)
	if err != nil {
		var ke *linux.Error
		if errors.As(err, &ke) {
			return ke.Log, err
		}
		t.Fatal(err)
	}
	defer k.Close()
	return k.Log, nil
}
