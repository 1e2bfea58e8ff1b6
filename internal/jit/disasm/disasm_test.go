package disasm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/skep-bpf/skep/internal/oracle"
)

func TestText(t *testing.T) {
	for _, c := range []struct {
		arch, code, want string
		size             int
	}{
		{"amd64", "\x55", "push   %rbp", 1},
		{"amd64", "\x48\x89\xe5", "mov    %rsp,%rbp", 3},
		{"amd64", "\x41\xff\x64\x24\x68", "jmpq   *0x68(%r12)", 5},
		{"amd64", "\xc4\xe2\xf9\xf7\xdf", "shlx   %rax,%rdi,%rbx", 5},
		{"amd64", "\xc4\xe3\x7b\xf0\xdf\x07", "rorx   $0x7,%edi,%ebx", 6},
		{"amd64", "\xc4\x42\xfb\xf6\xc1", "mulx   %r9,%rax,%r8", 5},
		{"amd64", "\xc4\xe2", ".byte 0xc4", 1},
		{"amd64", "\x06", ".byte 0x06", 1},
		{"arm64", "\xc0\x03\x5f\xd6", "ret", 4},
		{"arm64", "\xff\xff\xff\xff", ".inst 0xffffffff", 4},
		{"arm64", "\xc0", ".byte 0xc0", 1},
		{"s390x", "\x07", ".byte 0x07", 1},
	} {
		if got, n := Text(c.arch, []byte(c.code), 0); got != c.want || n != c.size {
			t.Errorf("%s % x: %q, %d bytes; want %q, %d", c.arch, c.code, got, n, c.want, c.size)
		}
	}
}

// What the JIT's golden texts hold is cut into instructions where objdump cuts it.
func TestBoundaries(t *testing.T) {
	_, err := exec.LookPath("objdump")
	oracle.Need(t, "objdump", err)
	code := []byte("\x55\x48\x89\xe5\x48\x83\xec\x50\x0f\x57\xc0\x0f\x11\x45\xb0\x41\xff\x64\x24\x68\xc4\xe2\xf9\xf7\xdf\xc4\xe3\x7b\xf0\xdf\x07" +
		"\x0f\x38\xf0\x7e\x04\xf0\x48\x0f\xb1\x4f\x08\xf0\x0f\xc1\x07\xc4\x42\xfb\xf6\xc1\x0f\xae\xe8\xf3\x90\xcc\x0f\x84\x10\x00\x00\x00\x59\xff\xe1")
	name := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(name, code, 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "--insn-width=16", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []int
	for _, m := range regexp.MustCompile(`(?m)^ *([0-9a-f]+):\t`).FindAllSubmatch(bytes.TrimSpace(out), -1) {
		off, _ := strconv.ParseInt(string(m[1]), 16, 32)
		want = append(want, int(off))
	}
	var got []int
	for off := 0; off < len(code); {
		got = append(got, off)
		text, n := Text("amd64", code[off:], uint64(off))
		if strings.HasPrefix(text, ".byte") {
			t.Errorf("at %#x: %s", off, text)
		}
		off += n
	}
	if len(got) != len(want) {
		t.Fatalf("instructions at %x, objdump has them at %x", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("instructions at %x, objdump has them at %x", got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("amd64", []byte("\xc4\xe2\xf9\xf7\xdf"))
	f.Add("arm64", []byte("\xc0\x03\x5f\xd6"))
	f.Fuzz(func(t *testing.T, arch string, code []byte) {
		if len(code) == 0 {
			return
		}
		if text, n := Text(arch, code, 0); text == "" || n < 1 || n > len(code) {
			t.Fatalf("%q, %d bytes of %d", text, n, len(code))
		}
	})
}
