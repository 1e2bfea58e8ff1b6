package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-bpf/skep/internal/oracle"
)

// watching is a command that prints until it is told to end.
type watching struct {
	t    *testing.T
	cmd  *exec.Cmd
	errw bytes.Buffer
	read chan struct{} // closed at the end of what it prints

	mu  sync.Mutex
	out []byte
}

// watch starts a command that asks the system and prints without end: skep's, or bpftool's.
func (s *system) watch(t *testing.T, bpftool bool, args ...string) *watching {
	t.Helper()
	name := self(t)
	if bpftool {
		name, args = "stdbuf", append([]string{"-o0", s.bpftool}, args...)
		if !s.live {
			name, args = self(t), append([]string{"exec", "--machine", s.machine, "--", "stdbuf"}, args...)
		}
	} else {
		args = append(args, s.flags...)
	}
	w := &watching{t: t, cmd: exec.Command(name, args...), read: make(chan struct{})}
	w.cmd.Env = append(os.Environ(), asSkep+"=1")
	w.cmd.Stderr = &w.errw
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.cmd.Process.Kill() })
	go func() {
		defer close(w.read)
		buf := make([]byte, 4096)
		for {
			n, err := out.Read(buf)
			w.mu.Lock()
			w.out = append(w.out, buf[:n]...)
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return w
}

// text is what was printed so far.
func (w *watching) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.out)
}

// until does something again and again, until the text fits.
func (w *watching) until(fits func(text string) bool, again func()) {
	w.t.Helper()
	for !fits(w.text()) {
		select {
		case <-w.read:
			w.t.Fatalf("%v: it ends with %q %s", w.cmd.Args, w.text(), w.errw.String())
		default:
			again()
		}
	}
}

// end has the command end, and returns all that it printed.
func (w *watching) end() string {
	w.t.Helper()
	w.cmd.Process.Signal(syscall.SIGTERM)
	<-w.read
	if err := w.cmd.Wait(); err != nil {
		w.t.Fatalf("%v: %v: %s", w.cmd.Args, err, w.errw.String())
	}
	return w.text()
}

// What differs from one event to the next: where and when.
var eventNumbers = regexp.MustCompile(`(@|CPU: |index: |"cpu": ?|"index": ?|"timestamp": ?)[0-9.]+`)

// sample is the first sample that is printed whole.
var sample = regexp.MustCompile(`(?s)^.*?(00 00 00 00\n|\]\s*\})`)

// Samples of programs are printed as they come, as by bpftool.
func TestEventPipeAsBpftool(t *testing.T) {
	oracle.Tool(t, "stdbuf")
	object := compile(t, "events.c")
	packet := filepath.Join(t.TempDir(), "packet")
	if err := os.WriteFile(packet, make([]byte, 64), 0o600); err != nil {
		t.Fatal(err)
	}
	systems(t, func(t *testing.T, s *system) {
		s.load(t, object)
		events := []string{"map", "event_pipe", "pinned", s.dir + "/m/events"}
		for _, form := range []string{"", "-j", "-p"} {
			var first, last [2]string // what is printed of the first sample, and at the end
			for i := range first {
				w := s.watch(t, i == 1, join(form, events)...)
				w.until(func(text string) bool {
					first[i] = sample.FindString(text)
					return first[i] != ""
				}, func() { s.do(t, "prog", "run", "pinned", s.dir+"/p/report", "data_in", packet) })
				text := w.end()
				first[i] = eventNumbers.ReplaceAllString(first[i], "${1}N")
				last[i] = text[strings.LastIndex(text, "}")+1:]
				if form == "" {
					last[i] = ""
				}
			}
			if d := cmp.Diff(first[1]+last[1], first[0]+last[0]); d != "" {
				t.Errorf("%s: - bpftool + skep\n%s", form, d)
			}
		}
		for words, want := range map[string]string{
			"pinned " + s.dir + "/m/events cpu 0":            "cpu and index are given together",
			"pinned " + s.dir + "/m/events cpu one index 0":  `cpu "one": not a number`,
			"pinned " + s.dir + "/m/events cpu 0 index 64":   "index 64: ",
			"pinned " + s.dir + "/m/events cpu 9999 index 0": "CPU 9999: ",
			"pinned " + s.dir + "/m/events always":           `"always": there are cpu and index`,
			"id 0":                                           "map 0: ",
		} {
			if r := s.skep(t, join("map event_pipe", words)...); r.code == 0 || !strings.Contains(r.err, want) || strings.Count(r.err, "\n") != 1 {
				t.Errorf("%s: %+v", words, r)
			}
		}
	})
}

// What a machine's programs trace is read by other people's programs, too, each line once.
func TestTracePipeServed(t *testing.T) {
	oracle.Tool(t, "stdbuf")
	object := compile(t, "objects.c")
	packet := filepath.Join(t.TempDir(), "packet")
	if err := os.WriteFile(packet, make([]byte, 64), 0o600); err != nil {
		t.Fatal(err)
	}
	path := newMachine(t)
	s := &system{dir: "/sys/fs/bpf", machine: path, bpftool: oracle.Tool(t, "bpftool"), flags: []string{"--machine", path}}
	s.do(t, "prog", "loadall", object, s.dir+"/p")
	run := func() { s.do(t, "prog", "run", "name", "a_name_longer_than_fifteen", "data_in", packet) }
	lines := func(text string) int { return strings.Count(text, ": bpf_trace_printk: hi 226\n") }

	run() // before anybody reads
	tool := s.watch(t, true, "prog", "tracelog")
	tool.until(func(text string) bool { return lines(text) == 1 }, func() {})
	run()
	tool.until(func(text string) bool { return lines(text) == 2 }, func() {})
	tool.end()
	if r := command(t, self(t), "exec", "--machine", path, "--", "timeout", "0.1", "cat", "/sys/kernel/tracing/trace_pipe"); r.code != 124 || r.out != "" {
		t.Errorf("lines are read twice: %+v", r)
	}
	run()
	for range 3 { // a reader that has gone takes nothing with it
		if r := command(t, self(t), "exec", "--machine", path, "--", "sh", "-c", "exec 3< /sys/kernel/debug/tracing/trace_pipe; head -n 1 <&3"); lines(r.out) != 1 {
			t.Errorf("%+v", r)
		}
		run()
	}
	if r := command(t, self(t), "exec", "--unprivileged", "--", "sh", "-c", "exec 3< /sys/kernel/tracing/trace_pipe"); os.Getuid() != 0 && r.code == 0 {
		t.Errorf("without capabilities: %+v", r)
	}
}
