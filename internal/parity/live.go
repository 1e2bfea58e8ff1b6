package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/linux"
)

// liveObject is an object's maps and types in the live kernel.
type liveObject struct {
	o    *object
	maps []*linux.Map
	btf  *linux.BTF
	err  error
}

func newLiveObject(o *object) *liveObject {
	l := &liveObject{o: o}
	if o.img.RawBTF != nil {
		if l.btf, l.err = linux.LoadBTF(o.img.RawBTF); l.err != nil {
			return l
		}
	}
	for i, m := range o.img.Maps {
		if m.Kind == image.KindStructOps {
			l.maps = append(l.maps, nil)
			continue
		}
		km, err := linux.NewMap(o.defs[i], nil)
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
