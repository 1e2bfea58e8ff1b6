package cli

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/oracle"
)

func init() {
	// attached attaches to tracepoints and a function of its own, and runs the command in its environment.
	clients["attached"] = func() error {
		prog := func(t ebpf.ProgramType) *ebpf.Program {
			p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: t, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
			if err != nil {
				panic(err)
			}
			return p
		}
		if _, err := link.Tracepoint("sched", "sched_switch", prog(ebpf.TracePoint), nil); err != nil {
			return err
		}
		if _, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_waking", Program: prog(ebpf.RawTracepoint)}); err != nil {
			return err
		}
		exe, err := link.OpenExecutable("/proc/self/exe")
		if err != nil {
			return err
		}
		at := &link.UprobeOptions{Address: 0x1000}
		if _, err := exe.Uprobe("", prog(ebpf.Kprobe), at); err != nil {
			return err
		}
		if _, err := exe.Uretprobe("", prog(ebpf.Kprobe), at); err != nil {
			return err
		}
		for _, form := range [][]string{nil, {"-j"}, {"-p"}} {
			args := append(strings.Fields(os.Getenv("SKEP_CLI_SHOW")), form...)
			cmd := exec.Command(args[0], append(args[1:], "perf", "show")...)
			cmd.Env = append(os.Environ(), clientEnv+"=")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%v: %w", cmd.Args, err)
			}
		}
		return nil
	}
}

// Who has programs attached to events is shown of a machine as of the kernel, by bpftool and by skep.
func TestPerfShowsEvents(t *testing.T) {
	bpftool := oracle.Tool(t, "bpftool")
	oracle.Need(t, "bpf(2)", linux.Available())
	path := newMachine(t)
	show := func(live bool, by string) string {
		args := []string{"env", clientEnv + "=attached", "SKEP_CLI_SHOW=" + by, self(t)}
		if !live {
			args = append([]string{self(t), "exec", "--machine", path, "--"}, args...)
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), asSkep+"=1")
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v: %s", by, err, errs.String())
		}
		text := string(out)
		if live { // where others may have programs attached at the same time
			text = ofProcess(text, cmd.ProcessState.Pid())
		}
		return taskNumbers.ReplaceAllString(text, "${1}N")
	}
	want := show(true, bpftool)
	if strings.Count(want, "sched_switch") != 3 || strings.Count(want, "uretprobe") != 3 || strings.Count(want, "sched_waking") != 3 {
		t.Errorf("bpftool shows of the kernel:\n%s", want)
	}
	// Below skep exec skep asks the same machine, named or not.
	for by, live := range map[string]bool{bpftool: false, self(t) + " --engine linux": true, self(t): false, self(t) + " --machine " + path: false} {
		if got := show(live, by); got != want {
			t.Errorf("%s, live %t:\n%s\nwant:\n%s", by, live, got, want)
		}
	}
}

// ofProcess leaves out what other processes have attached.
func ofProcess(text string, pid int) string {
	text = taskEntry.ReplaceAllStringFunc(text, func(entry string) string {
		if taskEntry.FindStringSubmatch(entry)[1] != strconv.Itoa(pid) {
			return ""
		}
		return entry
	})
	return strings.ReplaceAll(text, "[,", "[")
}

// taskEntry is an entry, as text or in JSON.
var taskEntry = regexp.MustCompile(`(?m:^pid |,?\{\s*"pid": ?)(\d+)(?:  fd .*\n|,[^}]*\})`)

// taskNumbers are what differs from run to run.
var taskNumbers = regexp.MustCompile(`(pid |fd |prog_id |"pid": ?|"fd": ?|"prog_id": ?)\d+`)
