package page_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/page"
	"github.com/skep-bpf/skep/internal/testprog"
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
	r, err := verify.Image(img, &verify.Options{Trace: page.Steps(len(img.Programs))})
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
