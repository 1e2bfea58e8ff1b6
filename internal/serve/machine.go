package serve

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/internal/bpfsys"
	"github.com/skep-bpf/skep/internal/packet"
	"github.com/skep-bpf/skep/internal/run"
)

// MachineOptions shape the machine that programs are served by.
type MachineOptions struct {
	// Sysctl are settings to begin with, each "net.core.bpf_jit_harden=2".
	Sysctl []string
	// Checked runs programs in the interpreter's checked mode.
	Checked bool
	// Net is the network around packets; nil: a loopback device alone.
	Net packet.Net
	// Devices carry out what is attached to devices; nil: nobody does.
	Devices bpfsys.Devices
	// Trace takes what programs trace; nil: it is dropped.
	Trace *TracePipe
}

// NewSystem makes a machine for other processes, with as many possible CPUs as
// this system says it has: clients size their per-CPU values by that. What
// cannot be served is told on errw, each thing once. close ends it.
func NewSystem(mo MachineOptions, errw io.Writer) (sys *bpfsys.System, close func(), err error) {
	o := run.Options{Share: true, Checked: mo.Checked, CPUs: possibleCPUs(), Net: mo.Net}
	if mo.Trace != nil {
		o.Trace = mo.Trace.program
	}
	for _, set := range mo.Sysctl { // which cannot be changed later
		if name, value, _ := strings.Cut(set, "="); bpfsys.SysctlByName(name) == bpfsys.SysctlByName("net.core.bpf_jit_enable") && strings.TrimSpace(value) == "0" {
			o.JIT = run.JITOff
		}
	}
	m, err := run.New(o)
	if err != nil {
		return nil, nil, err
	}
	var told sync.Map
	sys = bpfsys.New(m, bpfsys.Options{
		States: o.Checked, Devices: mo.Devices,
		KernelBTF:    kernelBTF,
		KernelBTFRaw: func() []byte { b, _ := os.ReadFile("/sys/kernel/btf/vmlinux"); return b },
		Unserved: func(what, instead string) {
			line := "skep: not served: " + what
			if instead != "" {
				line += "; use " + instead
			}
			if _, again := told.LoadOrStore(line, true); !again {
				fmt.Fprintln(errw, line)
			}
		},
	})
	close = func() {
		sys.Close()
		m.Close()
	}
	for _, set := range mo.Sysctl {
		name, value, _ := strings.Cut(set, "=")
		row := bpfsys.SysctlByName(strings.TrimSpace(name))
		if row == nil {
			close()
			return nil, nil, fmt.Errorf("--sysctl %s: no such setting; there are %s", set, sysctlNames())
		}
		if e := sys.SetSysctl(row, value, bpfsys.AllCaps); e != 0 {
			close()
			return nil, nil, fmt.Errorf("--sysctl %s: %w (%s: 0 to %d: %s)", set, e, row.Name, row.Max, row.Doc)
		}
	}
	return sys, close, nil
}

// sysctlNames lists the settings for people.
func sysctlNames() string {
	var all []string
	for _, row := range bpfsys.Sysctls {
		all = append(all, row.Name)
	}
	return strings.Join(all, ", ")
}

// kernelBTF returns the running kernel's types, or nil where there are none.
func kernelBTF() *btf.Spec {
	spec, _ := btf.LoadKernelSpec()
	return spec
}

// possibleCPUs is the number of CPUs the system may ever have: the last number
// in "0-7" and one.
func possibleCPUs() int {
	b, err := os.ReadFile("/sys/devices/system/cpu/possible")
	if err != nil {
		return 0 // as many as Go uses
	}
	text := strings.TrimSpace(string(b))
	last, err := strconv.Atoi(text[strings.LastIndexAny(text, "-,")+1:])
	if err != nil {
		return 0
	}
	return last + 1
}
