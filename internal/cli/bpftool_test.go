package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
	"github.com/skep-bpf/skep/internal/serve"
)

// system is one whose objects skep and bpftool show: the live kernel, or a
// machine that skep serve keeps.
type system struct {
	live    bool
	dir     string // in its BPF file system, this test's own
	bpftool string
	machine string
	flags   []string // which tell skep which system

	pending [][]string // commands to compare while nothing changes
}

// asSkep has the test binary be skep.
const asSkep = "SKEP_TEST_AS_SKEP"

// result is what a command gave.
type result struct {
	out, err string
	code     int
}

func command(t *testing.T, name string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), asSkep+"=1")
	var out, errw bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errw
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{out.String(), errw.String(), cmd.ProcessState.ExitCode()}
}

func self(t *testing.T) string {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// skep runs a command of skep's that asks the system.
func (s *system) skep(t *testing.T, args ...string) result {
	t.Helper()
	args = append(slices.Clone(args), s.flags...)
	if s.live { // a machine is joined for good
		var out, errw bytes.Buffer
		code := Main(args, strings.NewReader(""), &out, &errw)
		return result{out.String(), errw.String(), code}
	}
	return command(t, self(t), args...)
}

// do is skep for what has to succeed.
func (s *system) do(t *testing.T, args ...string) string {
	t.Helper()
	s.check(t)
	r := s.skep(t, args...)
	if r.code != 0 {
		t.Fatalf("skep %s: exit code %d: %s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out
}

// oracle runs bpftool with the same system, one command after the other.
func (s *system) oracle(t *testing.T, commands ...[]string) []result {
	t.Helper()
	// All go through one shell: to have a program served takes a while.
	const end = "\x01end\x01"
	script := `for c; do set -f; IFS="$(printf '\002')"; set -- $c; IFS=" "; "$BPFTOOL" "$@"; printf '\001end\001%s\001end\001' $?; printf '\001end\001' >&2; done`
	args := []string{"sh", "-c", "BPFTOOL=" + s.bpftool + "; " + script, "sh"}
	for _, c := range commands {
		args = append(args, strings.Join(c, "\x02"))
	}
	if !s.live {
		args = append([]string{self(t), "exec", "--machine", s.machine, "--"}, args...)
	}
	r := command(t, args[0], args[1:]...)
	outs, errs := strings.Split(r.out, end), strings.Split(r.err, end)
	if len(outs) != 2*len(commands)+1 || len(errs) != len(commands)+1 {
		t.Fatalf("bpftool: %+v", r)
	}
	results := make([]result, len(commands))
	for i := range results {
		code, err := strconv.Atoi(outs[2*i+1])
		if err != nil {
			t.Fatal(err)
		}
		results[i] = result{outs[2*i], errs[i], code}
	}
	return results
}

// compile makes an object of a source in testdata.
func compile(t *testing.T, name string) string {
	t.Helper()
	clang := oracle.Tool(t, "clang-19")
	out := filepath.Join(t.TempDir(), strings.TrimSuffix(name, ".c")+".o")
	cmd := exec.Command(clang, "-g", "-O2", "-target", "bpf", "-mcpu=v3", "-I../../image/testdata", "-Wno-int-to-void-pointer-cast", "-c", filepath.Join("testdata", name), "-o", out)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// newMachine has another process serve a machine until the test ends.
func newMachine(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "machine")
	startMachine(t, path)
	return path
}

// startMachine runs skep serve until the test ends, and returns what it says.
func startMachine(t *testing.T, args ...string) <-chan string {
	t.Helper()
	oracle.Need(t, "interception of system calls", serve.Available())
	cmd := exec.Command(self(t), append([]string{"serve"}, args...)...)
	cmd.Env = append(os.Environ(), asSkep+"=1")
	errw, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(errw)
	joinable, ended, said := make(chan bool, 1), make(chan struct{}), make(chan string, 100)
	go func() {
		defer close(ended)
		joinable <- lines.Scan() // it says when programs may join
		for lines.Scan() {
			t.Log(lines.Text())
			select {
			case said <- lines.Text():
			default:
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		<-ended // nothing is logged after the test
		cmd.Wait()
	})
	if !<-joinable {
		t.Fatal("skep serve ended at once")
	}
	return said
}

// systems runs a test on the live kernel and on a machine.
func systems(t *testing.T, f func(t *testing.T, s *system)) {
	bpftool := oracle.Tool(t, "bpftool")
	t.Run("kernel", func(t *testing.T) {
		oracle.Need(t, "bpf(2)", linux.Available())
		dir, err := os.MkdirTemp("/sys/fs/bpf", "skep-test-")
		oracle.Need(t, "a BPF file system", err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		s := &system{live: true, dir: dir, bpftool: bpftool, flags: []string{"--engine", "linux"}}
		f(t, s)
		s.check(t)
	})
	t.Run("machine", func(t *testing.T) {
		path := newMachine(t)
		s := &system{dir: "/sys/fs/bpf", bpftool: bpftool, machine: path, flags: []string{"--machine", path}}
		f(t, s)
		s.check(t)
	})
}

// same compares what skep and bpftool print of one thing, by and by.
func (s *system) same(t *testing.T, args ...string) { s.pending = append(s.pending, args) }

// check compares what is still to be compared.
func (s *system) check(t *testing.T) {
	t.Helper()
	if len(s.pending) == 0 {
		return
	}
	for i, want := range s.oracle(t, s.pending...) {
		args := s.pending[i]
		got := s.skep(t, args...)
		for tries := 0; s.live && slices.Contains(args, "show") && got.out != want.out && tries < 20; tries++ {
			w, g := s.oracle(t, args)[0], s.skep(t, args...)
			if w == want && g == got {
				break
			}
			want, got = w, g // others load and attach, too, and did so in between
		}
		if (got.code == 0) != (want.code == 0) {
			t.Errorf("%s: exit codes %d and bpftool's %d\n%s\n%s", strings.Join(args, " "), got.code, want.code, got.err, want.err)
		}
		if got.code != 0 && strings.HasPrefix(want.out, `{"error"`) {
			continue // in words of its own
		}
		if slices.Contains(args, "btf") {
			want.out = sortIDs(want.out)
		}
		// bpftool 7.1 does not know moves that add the address of a CPU's own data.
		if slices.Contains(args, "run") {
			got.out, want.out = duration.ReplaceAllString(got.out, "$1"), duration.ReplaceAllString(want.out, "$1")
		}
		got.out = perCPUMove.ReplaceAllString(got.out, "$1 = $2")
		if youngLink.MatchString(want.out) {
			continue // another test has such a link at the moment
		}
		if d := cmp.Diff(want.out, got.out); d != "" {
			t.Errorf("%s: - bpftool + skep\n%s", strings.Join(args, " "), d)
		}
	}
	s.pending = nil
}

// youngLink finds links of types that bpftool 7.1 has no names for.
var youngLink = regexp.MustCompile(`(?m)^[0-9]+: type [0-9]|"type": ?[0-9]`)

var perCPUMove = regexp.MustCompile(`(r\d) = \\?&\(void __percpu \*\)\((r\d)\)`)

var duration = regexp.MustCompile(`("duration": ?|duration: |duration \(average\): )\d+`)

// sortIDs sorts the ids of what has a BTF: bpftool has them in the order of a hash table.
func sortIDs(text string) string {
	return usersIDs.ReplaceAllStringFunc(text, func(match string) string {
		at := strings.LastIndexAny(match, " [") + 1
		ids := strings.Split(match[at:], ",")
		slices.SortFunc(ids, func(a, b string) int {
			m, _ := strconv.Atoi(a)
			n, _ := strconv.Atoi(b)
			return m - n
		})
		return match[:at] + strings.Join(ids, ",")
	})
}

var usersIDs = regexp.MustCompile(`("prog_ids": ?\[|"map_ids": ?\[|B  prog_ids |  map_ids )[0-9]+(,[0-9]+)+`)

// inAllForms is same for text, JSON, and JSON for people.
func (s *system) inAllForms(t *testing.T, args ...string) {
	t.Helper()
	s.same(t, args...)
	s.same(t, append([]string{"-j"}, args...)...)
	s.same(t, append([]string{"-p"}, args...)...)
}

// load loads an object's programs as bpftool does.
func (s *system) load(t *testing.T, object string) {
	t.Helper()
	if r := s.oracle(t, []string{"prog", "loadall", object, s.dir + "/p", "pinmaps", s.dir + "/m"}); r[0].code != 0 {
		t.Fatal(r[0].err)
	}
}

// bytesOf are n words that count up from a byte.
func bytesOf(from, n int) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = fmt.Sprint((from + 7*i) % 256)
	}
	return words
}

func join(parts ...any) (words []string) {
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			words = append(words, strings.Fields(p)...)
		case []string:
			words = append(words, p...)
		}
	}
	return words
}

// Objects are shown as bpftool shows them, byte for byte.
func TestShowsAsBpftool(t *testing.T) {
	object := compile(t, "objects.c")
	systems(t, func(t *testing.T, s *system) {
		s.load(t, object)
		m, p := s.dir+"/m/", s.dir+"/p/"
		s.do(t, join("map update pinned", m+"typed", "key 1 0 2 0 value", bytesOf(0, 112))...)
		s.do(t, join("map update pinned", m+"typed", "key 3 0 0xff 0xff value", bytesOf(129, 112))...)
		s.do(t, join("m up p", m+"typed", "v", strings.Repeat("0 ", 112), "k h ff 1 2 a noe")...)
		s.do(t, join("map update pinned", m+"percpu", "key 1 0 0 0 value hex 1 2 ff ff")...)
		s.do(t, join("map update pinned", m+"percpu_plain", "key 1 0 0 0 value", bytesOf(9, 20))...)
		s.do(t, join("map update pinned", m+"jumps", "key 1 0 0 0 value pinned", p+"a_name_longer_than_fifteen")...)
		for _, name := range []string{"typed", "percpu", "percpu_plain", "jumps", "objects_data", "objects_rodata"} {
			s.inAllForms(t, "map", "show", "pinned", m+name)
			s.inAllForms(t, "map", "dump", "pinned", m+name)
			s.inAllForms(t, "-f", "map", "list", "pinned", m+name)
		}
		for _, name := range []string{"a_name_longer_than_fifteen", "second"} {
			s.inAllForms(t, "prog", "show", "pinned", p+name)
			if !s.live { // the kernel has the programs of everybody, which may be many
				s.inAllForms(t, "prog", "show", "-f", "name", name)
				continue // what helpers are called is the kernel's list of symbols
			}
			s.same(t, "prog", "dump", "xlated", "pinned", p+name)
			s.same(t, "prog", "dump", "xlated", "pinned", p+name, "linum", "-j")
			s.same(t, "prog", "dump", "x", "p", p+name, "op", "-p")
			s.same(t, "prog", "dump", "x", "p", p+name, "vis")
		}
		s.inAllForms(t, join("map lookup pinned", m+"typed", "key 1 0 2 0")...)
		s.inAllForms(t, join("map lookup pinned", m+"typed", "key 1 0 2 1")...)
		s.inAllForms(t, join("map lookup pinned", m+"percpu", "key 0 0 0 0")...)
		s.inAllForms(t, join("map lookup pinned", m+"percpu_plain", "key 1 0 0 0")...)
		s.inAllForms(t, join("map lookup pinned", m+"jumps", "key 1 0 0 0")...)
		s.inAllForms(t, join("map getnext pinned", m+"jumps")...)
		s.inAllForms(t, join("map getnext pinned", m+"jumps", "key 1 0 0 0")...)
		s.same(t, join("-j map getnext pinned", m+"jumps", "key 3 0 0 0")...) // there is none
		s.same(t, join("map update pinned", m+"typed", "key 1 0 2 0 value", strings.Repeat("0 ", 112), "noexist")...)
		if got := s.do(t, join("-j map delete pinned", m+"typed", "key 1 0 2 0")...); got != "null\n" {
			t.Errorf("delete: %q", got)
		}
		s.same(t, join("-j map delete pinned", m+"typed", "key 1 0 2 0")...) // it is gone
		s.inAllForms(t, "link", "show")
		for _, of := range []string{"prog pinned " + p + "second", "map pinned " + m + "typed", "map pinned " + m + "typed key", "map pinned " + m + "percpu value", "map pinned " + m + "typed all"} {
			s.same(t, join("btf dump", of)...)
			s.same(t, join("btf dump -j", of, "format raw")...)
		}
		if !s.live { // others use the kernel at the same time
			s.inAllForms(t, "map", "show")
			s.inAllForms(t, "-f", "map")
			s.inAllForms(t, "prog")
			s.inAllForms(t, "btf", "list")
		}
	})
}

// Maps without types are shown as bytes; queues, stacks and maps of maps have their own verbs.
func TestMapsAsBpftool(t *testing.T) {
	systems(t, func(t *testing.T, s *system) {
		d := s.dir + "/"
		create := func(name, rest string) {
			t.Helper()
			s.do(t, join("map create", d+name, rest, "name", name)...)
			s.inAllForms(t, "map", "show", "pinned", d+name)
		}
		sizes := []struct{ key, value int }{{1, 1}, {4, 4}, {8, 16}, {4, 20}, {16, 8}, {12, 13}, {17, 1}, {20, 40}}
		for i, size := range sizes {
			name := fmt.Sprintf("hash%d", i)
			create(name, fmt.Sprintf("type hash key %d value %d entries 4 flags 1", size.key, size.value))
			s.same(t, "map", "dump", "pinned", d+name)
			s.do(t, join("map update pinned", d+name, "key", bytesOf(i, size.key), "value", bytesOf(i+1, size.value))...)
			s.inAllForms(t, "map", "dump", "pinned", d+name)
			s.inAllForms(t, join("map lookup pinned", d+name, "key", bytesOf(i, size.key))...)
			s.inAllForms(t, join("map getnext pinned", d+name)...)
		}
		for _, name := range []string{"queue", "stack"} {
			create(name, "type "+name+" key 0 value 4 entries 3")
			for i := range 2 {
				s.do(t, join("map push pinned", d+name, "value", bytesOf(i, 4))...)
			}
			s.inAllForms(t, "map", "peek", "pinned", d+name)
			first, second := s.do(t, "map", "pop", "pinned", d+name), s.do(t, "-j", "map", "dequeue", "pinned", d+name)
			want := [2]string{"value: 00 07 0e 15\n", `{"key":[],"value":["0x01","0x08","0x0f","0x16"]}` + "\n"}
			if name == "stack" {
				want = [2]string{"value: 01 08 0f 16\n", `{"key":[],"value":["0x00","0x07","0x0e","0x15"]}` + "\n"}
			}
			if first != want[0] || second != want[1] {
				t.Errorf("%s: popped %q and %q, want %q", name, first, second, want)
			}
			s.same(t, "map", "pop", "pinned", d+name) // it is empty
			s.same(t, "-j", "map", "peek", "pinned", d+name)
		}
		create("inner", "type array key 4 value 8 entries 2")
		create("outer", "type hash_of_maps key 4 value 4 entries 2 inner_map name inner")
		s.do(t, join("map update pinned", d+"outer", "key 0 0 0 0 value pinned", d+"inner")...)
		s.inAllForms(t, "map", "dump", "pinned", d+"outer")
		s.do(t, "map", "pin", "name", "inner", d+"again")
		s.inAllForms(t, "map", "show", "pinned", d+"again")
		s.do(t, "map", "freeze", "name", "inner")
		s.inAllForms(t, "map", "show", "name", "inner")
		create("lpm", "type lpm_trie key 8 value 1 entries 4 flags 1")
		create("devs", "type devmap_hash key 4 value 4 entries 4")
		create("percpu", "type lru_percpu_hash key 2 value 17 entries 4")
		s.do(t, join("map update pinned", d+"percpu", "key 1 0 value", bytesOf(3, 17), "any")...)
		s.inAllForms(t, "map", "dump", "pinned", d+"percpu")
		if s.live {
			return
		}
		// Several of one name are shown together, where all may be.
		s.do(t, join("map create", d+"twin1", "type hash key 4 value 4 entries 4 name twin")...)
		s.do(t, join("map create", d+"twin2", "type array key 4 value 4 entries 2 name twin")...)
		s.inAllForms(t, "map", "show", "name", "twin")
		s.inAllForms(t, "map", "dump", "name", "twin")
		if r := s.skep(t, "map", "freeze", "name", "twin"); r.code != 1 || !strings.Contains(r.err, "several maps have it: id ") {
			t.Errorf("freeze of two: %+v", r)
		}
	})
}

// Without a system, and with wrong words, one line says what to do.
func TestObjectErrors(t *testing.T) {
	for _, row := range []struct {
		args string
		code int
		want string
	}{
		{"map show", 1, "no machine to ask: begin one with skep serve, name one by --machine PATH or SKEP_MACHINE, or ask the kernel by --engine linux"},
		{"prog show --engine bsd", 2, `--engine bsd: there are skep and linux`},
		{"map show --machine /nowhere/at/all", 1, "no skep serve listens at /nowhere/at/all: file does not exist: begin with skep serve /nowhere/at/all"},
		{"ip --machine /nowhere link show", 1, "skep ip: no skep serve listens at /nowhere: file does not exist: begin with skep serve /nowhere"},
		{"exec --machine /nowhere -- true", 125, "no skep serve listens at /nowhere"},
		{"exec --machine testdata -- true", 125, "skep exec: testdata: that is no socket, on which a skep serve could listen"},
		{"serve /nowhere/at/all", 1, "skep serve: /nowhere/at/all: bind: no such file or directory"},
		{"serve testdata/objects.c", 1, "skep serve: testdata/objects.c: there is a file of that name"},
		{"map dump --engine linux", 2, "nothing is named: a map is named by id, name or pinned"},
		{"map dump --engine linux number 1", 2, `"number": a map is named by id, name or pinned`},
		{"map dump --engine linux id one", 2, `id "one": not a number`},
		{"prog show --engine linux tag 12", 2, `tag "12": not 16 hexadecimal digits`},
		{"map create --engine linux /x type hashed", 2, `type "hashed": there is no such map type`},
		{"map create --engine linux /x key 4", 2, "type is missing"},
		{"map create --engine linux", 2, "FILE, where to pin the map is missing"},
		{"map frobnicate", 2, `there is no command "frobnicate"`},
		{"link show --engine linux pinned", 2, "the name of a pinned link is missing"},
	} {
		r := command(t, self(t), strings.Fields(row.args)...)
		if r.code != row.code || !strings.Contains(r.err, row.want) || strings.Count(r.err, "\n") != 1 || r.out != "" {
			t.Errorf("skep %s: %+v", row.args, r)
		}
	}
}

// pins are the names in a directory.
func (s *system) pins(t *testing.T, dir string) []string {
	t.Helper()
	if s.live {
		return listNames(t, dir)
	}
	r := command(t, self(t), "exec", "--machine", s.machine, "--", "ls", dir)
	return strings.Fields(r.out)
}

func listNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// skep prog loads, pins and runs what bpftool does.
func TestLoadsAsBpftool(t *testing.T) {
	object := compile(t, "objects.c")
	packet := filepath.Join(t.TempDir(), "packet")
	if err := os.WriteFile(packet, bytes.Repeat([]byte("skep!\x01"), 20), 0o600); err != nil {
		t.Fatal(err)
	}
	systems(t, func(t *testing.T, s *system) {
		s.load(t, object)
		d := s.dir + "/"
		s.do(t, "prog", "loadall", object, d+"q", "pinmaps", d+"qm")
		for _, dirs := range [][2]string{{"p", "q"}, {"m", "qm"}} {
			if a, b := s.pins(t, d+dirs[0]), s.pins(t, d+dirs[1]); !slices.Equal(a, b) {
				t.Errorf("bpftool pins %v, skep %v", a, b)
			}
		}
		for _, name := range []string{"a_name_longer_than_fifteen", "second"} {
			a := digits.ReplaceAllString(s.do(t, "prog", "show", "pinned", d+"p/"+name), "N")
			b := digits.ReplaceAllString(s.do(t, "prog", "show", "pinned", d+"q/"+name), "N")
			if a != b {
				t.Errorf("loaded by bpftool %s\nby skep %s", a, b)
			}
		}
		for _, name := range []string{"typed", "percpu", "objects_rodata", "objects_data"} {
			a := digits.ReplaceAllString(s.do(t, "map", "show", "pinned", d+"m/"+name), "N")
			b := digits.ReplaceAllString(s.do(t, "map", "show", "pinned", d+"qm/"+name), "N")
			if a != b {
				t.Errorf("loaded by bpftool %s\nby skep %s", a, b)
			}
			s.inAllForms(t, "map", "dump", "pinned", d+"qm/"+name)
		}
		for _, words := range []string{"data_in " + packet, "data_in " + packet + " data_out - repeat 3", "data_i " + packet + " data_o - data_s 128"} {
			s.inAllForms(t, join("prog run pinned", d+"q/second", words)...)
		}

		// A map of the system's in place of the object's, another type, a name that is taken.
		s.do(t, "prog", "load", object, d+"r", "map", "name", "percpu", "pinned", d+"m/percpu", "type", "xdp")
		if out := s.do(t, "prog", "show", "pinned", d+"r"); !strings.Contains(out, ": xdp  name a_name_longer_than_fifteen  ") {
			t.Error(out)
		}
		before := s.do(t, "map", "lookup", "pinned", d+"m/percpu", "key", "0", "0", "0", "0")
		s.do(t, "prog", "loadall", object, d+"s", "map", "name", "percpu", "pinned", d+"m/percpu")
		s.do(t, "prog", "run", "pinned", d+"s/second", "data_in", packet)
		if after := s.do(t, "map", "lookup", "pinned", d+"m/percpu", "key", "0", "0", "0", "0"); after == before {
			t.Errorf("a run did not count in the map that was put in place: %s", after)
		}
		if r := s.skep(t, "prog", "load", object, d+"r"); r.code != 1 || strings.Count(r.err, "\n") != 1 {
			t.Errorf("load over a name: %+v", r)
		}
		s.do(t, "prog", "pin", "pinned", d+"r", d+"again")
		s.inAllForms(t, "prog", "show", "pinned", d+"again")
		if r := s.skep(t, "prog", "loadall", object, d+"nowhere/at/all"); r.code != 1 {
			t.Errorf("loadall without a directory: %+v", r)
		}
		if out := s.do(t, "prog", "profile", "pinned", d+"r", "duration", "0", "-j"); !strings.Contains(out, `[{"metric":"run_cnt","value":0},`) {
			t.Error(out)
		}
	})
}

var digits = regexp.MustCompile(`\b\d+\b`)

// What a machine's programs trace is read by tracelog, and their native code is shown.
func TestMachinePrograms(t *testing.T) {
	object := compile(t, "objects.c")
	packet := filepath.Join(t.TempDir(), "packet")
	if err := os.WriteFile(packet, make([]byte, 64), 0o600); err != nil {
		t.Fatal(err)
	}
	path := newMachine(t)
	s := &system{dir: "/sys/fs/bpf", machine: path, flags: []string{"--machine", path}}
	s.do(t, "prog", "loadall", object, s.dir+"/p")
	s.do(t, "prog", "run", "name", "a_name_longer_than_fifteen", "data_in", packet)

	cmd := exec.Command(self(t), "prog", "tracelog", "--machine", path)
	cmd.Env = append(os.Environ(), asSkep+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasSuffix(line, ": bpf_trace_printk: hi 226\n") {
		t.Errorf("tracelog: %q, %v", line, err)
	}
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Errorf("tracelog ends with %v", err)
	}

	xlated := s.do(t, "prog", "dump", "xlated", "name", "a_name_longer_than_fifteen", "linum")
	for _, want := range []string{"int a_name_longer_than_fifteen(void * ctx):\n", "; int a_name_longer_than_fifteen(void *ctx) [file:", "int helper(int x):\n", "call bpf_trace_printk#6\n", "#bpf_prog_7b493907c3bd6550_helper\n"} {
		if !strings.Contains(xlated, want) {
			t.Errorf("xlated has no %q:\n%s", want, xlated)
		}
	}
	if graph := s.do(t, "prog", "dump", "xlated", "name", "second", "visual"); !strings.HasPrefix(graph, `digraph "DOT graph for eBPF program" {`) {
		t.Error(graph)
	}
	if serve.Available() == nil && s.do(t, "prog", "show", "name", "second", "-j") != "" && strings.Contains(s.do(t, "prog", "show", "name", "second"), "  jited ") {
		jited := s.do(t, "prog", "dump", "jited", "name", "a_name_longer_than_fifteen")
		for _, want := range []string{"int helper(int x):\nbpf_prog_7b493907c3bd6550_helper:\n", "; return x * counter + limit;\n"} {
			if !strings.Contains(jited, want) {
				t.Errorf("jited has no %q:\n%s", want, jited)
			}
		}
		file := filepath.Join(t.TempDir(), "code")
		s.do(t, "prog", "dump", "jited", "name", "second", "file", file)
		if st, err := os.Stat(file); err != nil || st.Size() == 0 {
			t.Errorf("dump to a file: %v", err)
		}
	}
}
