package prog

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/skep-bpf/skep/internal/catalog"
	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
	"github.com/skep-bpf/skep/internal/rawbtf"
)

func show(v *objects.Verb) error { return v.Show(linux.KindProg, v.Progs, showOne) }

// header shows what comes first of a program.
func header(v *objects.Verb, p *linux.ProgInfo) {
	typ := objects.ProgType(p.Type)
	if v.J != nil {
		v.J.Field("id", p.ID)
		if typ != "" {
			v.J.Field("type", typ)
		} else {
			v.J.Field("type", uint32(p.Type))
		}
		if p.Name != "" {
			v.J.Field("name", v.FullName(p))
		}
		v.J.Field("tag", fmt.Sprintf("%x", p.Tag))
		v.J.Field("gpl_compatible", p.GPL)
		if p.RunTime != 0 {
			v.J.Field("run_time_ns", p.RunTime.Nanoseconds())
			v.J.Field("run_cnt", p.RunCount)
		}
		if p.Misses != 0 {
			v.J.Field("recursion_misses", p.Misses)
		}
		return
	}
	if typ == "" {
		typ = fmt.Sprintf("type %d", p.Type)
	}
	v.Printf("%d: %s  ", p.ID, typ)
	if p.Name != "" {
		v.Printf("name %s  ", ui.Printable(v.FullName(p)))
	}
	v.Printf("tag %x", p.Tag)
	v.Device(p.Device)
	if p.GPL {
		v.Printf("  gpl")
	}
	if p.RunTime != 0 {
		v.Printf(" run_time_ns %d run_cnt %d", p.RunTime.Nanoseconds(), p.RunCount)
	}
	if p.Misses != 0 {
		v.Printf(" recursion_misses %d", p.Misses)
	}
	v.Printf("\n")
}

func showOne(v *objects.Verb, o *linux.Object, names objects.Names) error {
	p, err := o.Prog()
	if err != nil {
		return err
	}
	if v.J != nil {
		v.J.Object()
		defer v.J.EndObject()
	}
	header(v, p)
	if v.J != nil {
		v.Device(p.Device)
	}
	loaded(v, p)
	memlock, hasMemlock := o.FDInfo()["memlock"]
	if v.J != nil {
		v.J.Field("bytes_xlated", p.XlatedLen)
		v.J.Field("jited", p.JitedLen != 0)
		if p.JitedLen != 0 {
			v.J.Field("bytes_jited", p.JitedLen)
		}
		if hasMemlock {
			n, _ := strconv.ParseInt(memlock, 10, 64)
			v.J.Field("bytes_memlock", n)
		}
		if len(p.MapIDs) > 0 {
			v.J.Name("map_ids")
			v.J.Array()
			for _, id := range p.MapIDs {
				v.J.Raw("%d", id)
			}
			v.J.EndArray()
		}
		if p.BTFID != 0 {
			v.J.Field("btf_id", p.BTFID)
		}
		v.Pins(names, p.ID)
		metadata(v, p)
		return nil
	}
	v.Printf("\txlated %dB", p.XlatedLen)
	if p.JitedLen != 0 {
		v.Printf("  jited %dB", p.JitedLen)
	} else {
		v.Printf("  not jited")
	}
	if hasMemlock {
		v.Printf("  memlock %sB", ui.Printable(memlock))
	}
	if len(p.MapIDs) > 0 {
		v.Printf("  map_ids %s", strings.Join(strings.Fields(strings.Trim(fmt.Sprint(p.MapIDs), "[]")), ","))
	}
	v.Pins(names, p.ID)
	if p.BTFID != 0 {
		v.Printf("\n\tbtf_id %d", p.BTFID)
	}
	v.Printf("\n")
	metadata(v, p)
	return nil
}

// loaded shows when a program was loaded, and by whom.
func loaded(v *objects.Verb, p *linux.ProgInfo) {
	boot, err := linux.Booted()
	if err != nil || p.LoadTime == 0 {
		return
	}
	at := boot.Add(p.LoadTime)
	if v.J != nil {
		v.J.Field("loaded_at", at.Unix())
		v.J.Field("uid", p.UID)
		return
	}
	v.Printf("\tloaded_at %s  uid %d\n", at.In(time.Local).Format("2006-01-02T15:04:05-0700"), p.UID)
}

// metadataPrefix is what constants are called whose value is shown with the program.
const metadataPrefix = "bpf_metadata_"

// metadata shows what a program's object says of itself in its constants:
//
//	const volatile char bpf_metadata_author[] = "…";
func metadata(v *objects.Verb, p *linux.ProgInfo) {
	b, section, value := constants(v, p)
	if b == nil {
		return
	}
	var fields [][2]int // variable, offset
	for i := range b.Vlen(section) {
		at := rawbtf.SecVar(i)
		if id := b.Word(section, at); b.Valid(id) && b.Kind(int(id)) == rawbtf.KindVar && strings.HasPrefix(b.Name(int(id)), metadataPrefix) {
			fields = append(fields, [2]int{int(id), int(b.Word(section, at+1))})
		}
	}
	if fields == nil {
		return
	}
	write := func(j *objects.JSON, f [2]int) {
		w := objects.Values{J: j, BTF: b, Text: v.J == nil}
		// What cannot be shown has left a null.
		_ = w.Write(b.Word(f[0], 2), value[min(f[1], len(value)):])
	}
	name := func(f [2]int) string { return strings.TrimPrefix(b.Name(f[0]), metadataPrefix) }
	if v.J != nil {
		v.J.Name("metadata")
		v.J.Object()
		for _, f := range fields {
			v.J.Name(name(f))
			write(v.J, f)
		}
		v.J.EndObject()
		return
	}
	v.Printf("\tmetadata:")
	for _, f := range fields {
		v.Printf("\n\t\t%s = ", ui.Printable(name(f)))
		write(objects.NewJSON(v.Out, false), f)
	}
	v.Printf("\n")
}

// constants finds the section of constants among a program's maps: its types,
// the section in them, what it holds. The first is nil where there is none.
func constants(v *objects.Verb, p *linux.ProgInfo) (*rawbtf.BTF, int, []byte) {
	for _, id := range p.MapIDs {
		o, err := linux.OpenID(linux.KindMap, id)
		if err != nil {
			return nil, 0, nil
		}
		defer o.Close()
		m, err := o.Map()
		if err != nil {
			return nil, 0, nil
		}
		if m.Type != catalog.MapArray || m.KeySize != 4 || m.MaxEntries != 1 || m.ValueID == 0 || !strings.Contains(m.Name, ".rodata") {
			continue
		}
		value := make([]byte, m.ValueSize)
		if err := o.AsMap().Lookup(make([]byte, 4), value, 0); err != nil {
			return nil, 0, nil
		}
		b, err := v.Types(m.BTFID)
		if err != nil || !b.Valid(m.ValueID) || b.Kind(int(m.ValueID)) != rawbtf.KindDatasec {
			return nil, 0, nil
		}
		return b, int(m.ValueID), value
	}
	return nil, 0, nil
}

func pin(v *objects.Verb) error {
	o, err := v.Prog()
	if err != nil {
		return err
	}
	return v.Pin(o)
}
