package corpus

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/image"
	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/linuxload"
)

// Live is an object's maps and types in the live kernel.
type Live struct {
	o    *Object
	maps []*linux.Map
	btf  *linux.BTF
}

// Live makes the object's maps in the live kernel. The error names the map
// that it did not make.
func (o *Object) Live() (*Live, error) {
	l := &Live{o: o}
	if o.Image.RawBTF != nil {
		// As libbpf does, go on without types that the kernel does not like.
		l.btf, _ = linux.LoadBTF(o.Image.RawBTF)
	}
	for i, m := range o.Image.Maps {
		if m.Kind == image.KindStructOps {
			l.maps = append(l.maps, nil)
			continue
		}
		km, err := linuxload.NewMap(m, l.described(*o.Defs[i]), l.btf, 0)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("map %s: %w", m.Name, err)
		}
		l.maps = append(l.maps, km)
	}
	return l, nil
}

// described is d without types where the object has none that the kernel took.
func (l *Live) described(d catalog.MapDef) *catalog.MapDef {
	if l.btf == nil {
		d.Key, d.Value = nil, nil
		if d.Inner != nil {
			d.Inner = l.described(*d.Inner)
		}
	}
	return &d
}

// Close drops maps and types; a nil Live has none.
func (l *Live) Close() {
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

// Prog is what the kernel is given of p.
func (l *Live) Prog(p *image.Program) *linux.Prog {
	lp := linuxload.Prog(l.o.Image, p, l.maps, l.btf)
	lp.Flags |= l.o.Flags[p.Name]
	lp.AttachTo(l.o.kernel, p.AttachTo)
	return lp
}

var errNoHook = errors.New("EPERM before the verifier: the kernel does not permit what the program attaches to")

var processed = regexp.MustCompile(`(?m)^processed (\d+) insns`)

// Load asks the kernel about p. The error is not nil if it has no opinion.
func (l *Live) Load(p *image.Program) (Answer, error) {
	lp := l.Prog(p)
	lp.LogLevel = 4 // the figures; to write down every path takes ten times as long
	k, err := linux.Load(lp)
	if err == nil {
		k.Close()
		return Answer{Accept: true, Log: k.Log, Insns: processedIn(k.Log)}, nil
	}
	lp.LogLevel = 1 | 4
	if k, again := linux.Load(lp); again == nil {
		k.Close()
	} else {
		err = again
	}
	var ke *linux.Error
	if !errors.As(err, &ke) {
		return Answer{}, err
	}
	if ke.Errno == errno.EPERM && processedIn(ke.Log) == 0 {
		return Answer{}, errNoHook
	}
	return Answer{Errno: ke.Errno.Name(), Log: ke.Log, Msg: reason(ke.Log), Insns: processedIn(ke.Log)}, nil
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
