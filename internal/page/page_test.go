package page_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/page"
	"github.com/skep-bpf/skep/internal/testprog"
	"github.com/skep-bpf/skep/isa"
	"github.com/skep-bpf/skep/verify"
)

// pageOf returns the page of an example: "firewall/firewall".
func pageOf(t testing.TB, object string) []byte {
	t.Helper()
	img, err := image.LoadFile(filepath.Join("../../examples", object+".o"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return pageOfImage(t, img)
}

func pageOfImage(t testing.TB, img *image.Image) []byte {
	t.Helper()
	r, err := verify.Image(img, &verify.Options{Trace: page.Steps(len(img.Programs)), Explain: true})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := page.Write(&b, img, r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSelfContained looks for anything a page would fetch, and that it is the same every time.
func TestSelfContained(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/*.o")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	outside := regexp.MustCompile(`(?i)https?:|src=|@import|url\([^#]|<link|fetch\(|XMLHttpRequest|import\(`)
	for _, file := range files {
		object := strings.TrimSuffix(strings.TrimPrefix(file, "../../examples/"), ".o")
		text := pageOf(t, object)
		if at := outside.FindIndex(text); at != nil {
			t.Errorf("%s: %q", object, text[max(0, at[0]-40):min(len(text), at[1]+40)])
		}
		if !bytes.Equal(text, pageOf(t, object)) {
			t.Errorf("%s: another page the second time", object)
		}
		if len(text) > 1<<20 {
			t.Errorf("%s: %d bytes", object, len(text))
		}
	}
}

// TestForeignText puts markup where an object's names and lines stand.
func TestForeignText(t *testing.T) {
	const evil = `</script><img src=x onerror=alert(1)>`
	img := testprog.Image(t, nil, testprog.Prog{Name: "p", Type: catalog.ProgXDP, Text: "r0 = 0\nexit\n"})
	p := img.Programs[0]
	p.Name, p.Section = evil, evil
	p.Lines = []image.LineInfo{{Slot: 0, File: "dir/" + evil, Line: evil + ` "` + evil + `" // ` + evil, LineNo: 1}}
	text := string(pageOfImage(t, img))
	if strings.Contains(text, "<img") {
		t.Error("markup of the object is markup of the page")
	}
	if n := strings.Count(text, "</script>"); n != 2 {
		t.Errorf("%d scripts end, want 2", n)
	}
	if !strings.Contains(text, "&lt;img src=x") {
		t.Error("the text is not shown")
	}
}

func BenchmarkPage(b *testing.B) {
	data, err := os.ReadFile("../../examples/balancer/balancer.o")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		pageOf(b, "balancer/balancer")
	}
}

// TestAnyCode makes pages of random instructions, which the verifier refuses
// before it follows any path, and of a program that never gets to it.
func TestAnyCode(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		img := testprog.Image(t, nil, testprog.Prog{Name: "p", Type: catalog.ProgXDP, Text: "r0 = 0\nexit\n"})
		p := img.Programs[0]
		p.Insns = make([]isa.Instruction, 1+r.IntN(30))
		for i := range p.Insns {
			p.Insns[i] = isa.Instruction{Op: isa.Opcode(r.Uint32()), Dst: isa.Register(r.IntN(11)), Src: isa.Register(r.IntN(11)),
				Off: int16(r.IntN(9) - 4), Imm: int32(r.IntN(9) - 4)}
			if r.IntN(3) == 0 {
				p.Insns[i].Op = 0x18 // a wide load, perhaps cut in half
			}
		}
		for range r.IntN(4) {
			p.Lines = append(p.Lines, image.LineInfo{Slot: r.IntN(40), File: "f.c", LineNo: r.IntN(3)})
		}
		if r.IntN(5) == 0 {
			p.Err = errors.New("no such thing as <this>")
		}
		if text := pageOfImage(t, img); !bytes.Contains(text, []byte(`<span class="no">0</span>`)) {
			t.Fatalf("no instruction in the page of %v", p.Insns)
		}
	}
}
