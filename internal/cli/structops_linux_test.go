package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

// alone keeps tests of other processes away: the kernel has one table of these names.
func alone(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "skep-test-struct-ops.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
}

// Interfaces are registered, shown and taken away as bpftool does.
func TestStructOpsAsBpftool(t *testing.T) {
	object := compile(t, "congestion.c")
	// The kernel has one of a name: these are this process's.
	code, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("_%08d", os.Getpid())
	if err := os.WriteFile(object, bytes.ReplaceAll(code, []byte("_00000000\x00"), []byte(own+"\x00")), 0o600); err != nil {
		t.Fatal(err)
	}
	oracle.Need(t, "bpf(2)", linux.Available())
	alone(t)
	dir, err := os.MkdirTemp("/sys/fs/bpf", "skep-test-")
	oracle.Need(t, "a BPF file system", err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &system{live: true, dir: dir, bpftool: oracle.Tool(t, "bpftool"), flags: []string{"--engine", "linux"}}
	available := func(name string) bool {
		text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(text)+" ", name)
	}
	r := s.skep(t, "struct_ops", "register", object, dir+"/links")
	ids := registered.FindStringSubmatch(r.err)
	if r.code != 0 || ids == nil {
		t.Fatalf("register: %+v", r)
	}
	kept, linked := ids[1], ids[2]
	t.Cleanup(func() { s.skep(t, "struct_ops", "unregister", "id", kept) })
	if !available("k"+own) || !available("l"+own) {
		t.Error("the kernel knows none of them")
	}
	s.inAllForms(t, "struct_ops", "show", "id", kept)
	s.inAllForms(t, "struct_ops", "dump", "id", kept)
	s.same(t, "struct_ops", "dump", "id", linked)
	s.check(t)
	if out := s.do(t, "link", "show", "pinned", dir+"/links/skep_linked"); !strings.Contains(out, ": struct_ops  prog 0  \n\tmap_id "+linked) {
		t.Errorf("link show: %s", out)
	}
	if r := s.skep(t, "struct_ops", "register", object); r.code != 1 || !strings.Contains(r.err, "skep_kept: ") || !strings.Contains(r.err, "there is one of that name") {
		t.Errorf("registered twice: %+v", r)
	}
	os.Remove(dir + "/links/skep_linked")
	if r := s.skep(t, "struct_ops", "unregister", "id", kept); r.code != 0 || !strings.HasPrefix(r.err, "Unregistered tcp_congestion_ops skep_kept id ") {
		t.Errorf("unregister: %+v", r)
	}
	if available("k" + own) {
		t.Error("the kernel knows it still")
	}
	text := filepath.Join(t.TempDir(), "text.o")
	if err := os.WriteFile(text, []byte("no object"), 0o600); err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"register":                           "OBJ, the object file is missing",
		"register /nowhere.o":                "/nowhere.o: ",
		"register " + text:                   "not an ELF file",
		"register " + compile(t, "events.c"): "it holds no struct_ops",
		"unregister":                         "STRUCT_OPS_MAP is missing",
		"unregister id " + kept:              "map " + kept + ": ",
		"unregister name no_such_thing":      "there is no map with name no_such_thing",
		"unregister id 0":                    "map 0: ",
		"dump name":                          "name is missing",
		"show pinned /x":                     `"pinned": a struct_ops map is named by id or name`,
	} {
		if r := s.skep(t, join("struct_ops", words)...); r.code == 0 || !strings.Contains(r.err, want) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s: %+v", words, r)
		}
	}
}

// registered finds the maps' ids in what register says.
var registered = regexp.MustCompile(`Registered tcp_congestion_ops skep_kept id (\d+)\nRegistered tcp_congestion_ops skep_linked map id (\d+) link id \d+\n$`)
