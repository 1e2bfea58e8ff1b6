package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/linux"
)

// liveObject is an object's maps and types in the live kernel.
type liveObject struct {
	o    *object
	maps []*linux.Map
	btf  *linux.BTF
	err  error

	kernel *btf.Spec
}

func newLiveObject(o *object, kernel *btf.Spec) *liveObject {
	l := &liveObject{o: o, kernel: kernel}
	if o.img.RawBTF != nil {
		// As libbpf does, go on without types that the kernel does not like.
		l.btf, _ = linux.LoadBTF(o.img.RawBTF)
	}
	for i, m := range o.img.Maps {
		if m.Kind == image.KindStructOps {
			l.maps = append(l.maps, nil)
			continue
		}
		d := *o.defs[i]
		if l.btf == nil {
			d.Key, d.Value = nil, nil
		}
		km, err := linux.NewMap(&d, &linux.MapOptions{BTF: l.btf, KeyID: m.KeyID, ValueID: m.ValueID})
		if err == nil && m.Data != nil && m.Freeze {
			err = errors.Join(km.Update([]byte{0, 0, 0, 0}, m.Data, 0), km.Freeze())
		}
		if err != nil {
			l.err = fmt.Errorf("map %s: %w", m.Name, err)
			return l
		}
		l.maps = append(l.maps, km)
	}
	return l
}

func (l *liveObject) close() {
	if l == nil {
		return
	}
	for _, m := range l.maps {
		if m != nil {
			m.Close()
		}
	}
	if l.btf != nil {
		l.btf.Close()
	}
}

var processed = regexp.MustCompile(`(?m)^processed (\d+) insns`)

// load asks the kernel about a program. The time is of a second load, without a log.
func (l *liveObject) load(p *image.Program, flags uint32) (answer, error) {
	if l.err != nil {
		return answer{}, l.err
	}
	lp := &linux.Prog{
		Name: p.Name, Type: p.Type, Attach: p.Attach, Flags: p.Flags | flags, Insns: p.Insns,
		License: l.o.img.License, Maps: l.maps, BTF: l.btf, LogLevel: 1 | 4,
		FuncInfo: p.FuncInfoRecords(binary.LittleEndian), LineInfo: p.LineInfoRecords(binary.LittleEndian),
	}
	lp.AttachTo(l.kernel, p.AttachTo)
	k, err := linux.Load(lp)
	if err == nil {
		k.Close()
		a := answer{accept: true, log: k.Log, insns: processedIn(k.Log)}
		lp.LogLevel = 0
		start := time.Now()
		if k, err = linux.Load(lp); err == nil {
			a.took = time.Since(start)
			k.Close()
		}
		return a, nil
	}
	var ke *linux.Error
	if !errors.As(err, &ke) {
		return answer{}, err
	}
	return answer{errno: ke.Errno.Name(), log: ke.Log, msg: reason(ke.Log), insns: processedIn(ke.Log)}, nil
}

func processedIn(log string) int {
	if m := processed.FindStringSubmatch(log); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return 0
}

// reason is the last line of a log but figures.
func reason(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		switch {
		case strings.HasPrefix(lines[i], "processed "), strings.HasPrefix(lines[i], "verification time "), strings.HasPrefix(lines[i], "stack depth "),
			strings.HasPrefix(lines[i], "mark_precise"):
		default:
			return lines[i]
		}
	}
	return ""
}
