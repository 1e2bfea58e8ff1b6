package prog

import (
	"fmt"

	"github.com/skep-bpf/skep/internal/cli/objects"
	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/linux"
)

// defaultRoom is how many bytes a run may give back where nothing else is said.
const defaultRoom = 32 << 10

// runOptions are the words of run.
type runOptions struct {
	dataIn, dataOut, ctxIn, ctxOut string
	dataRoom, ctxRoom, repeat      uint64
}

// run runs a program once, or often, on given data.
func run(v *objects.Verb) error {
	o, err := v.Prog()
	if err != nil {
		return err
	}
	defer o.Close()
	w := runOptions{repeat: 1}
	if err := w.parse(v); err != nil {
		return err
	}
	in := &linux.Run{Repeat: uint32(w.repeat), NoDataOut: w.dataIn == "", DataRoom: int(w.dataRoom), CtxRoom: int(w.ctxRoom)}
	if in.Data, err = input(v, w.dataIn); err != nil {
		return err
	}
	if in.Ctx, err = input(v, w.ctxIn); err != nil {
		return err
	}
	out, err := o.AsProg().TestRun(in)
	if err != nil {
		return err
	}
	if v.J != nil {
		v.J.Object()
		defer v.J.EndObject()
	}
	if err := output(v, w.dataOut, "data_out", out.Data); err != nil {
		return err
	}
	if err := output(v, w.ctxOut, "ctx_out", out.Ctx); err != nil {
		return err
	}
	if v.J != nil {
		v.J.Field("retval", out.Ret)
		v.J.Field("duration", out.Duration.Nanoseconds())
		return nil
	}
	average := ""
	if w.repeat > 1 {
		average = " (average)"
	}
	v.Printf("Return value: %d, duration%s: %dns\n", out.Ret, average, out.Duration.Nanoseconds())
	return nil
}

func (w *runOptions) parse(v *objects.Verb) (err error) {
	files := map[string]*string{"data_in": &w.dataIn, "data_out": &w.dataOut, "ctx_in": &w.ctxIn, "ctx_out": &w.ctxOut}
	numbers := map[string]*uint64{"data_size_out": &w.dataRoom, "ctx_size_out": &w.ctxRoom, "repeat": &w.repeat}
	for v.Len() > 0 {
		word, err := runWord(v)
		if err != nil {
			return err
		}
		if file := files[word]; file != nil {
			*file, err = v.Next(word + "'s FILE")
		} else {
			*numbers[word], err = v.Uint(word, 32)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case w.dataIn == "" && w.ctxIn == "":
		return ui.Usagef("nothing to run the program on: data_in FILE, ctx_in FILE")
	case w.dataIn == "-" && w.ctxIn == "-":
		return ui.Usagef("standard input cannot be both data_in and ctx_in")
	}
	if w.dataRoom == 0 {
		w.dataRoom = defaultRoom
	}
	if w.ctxRoom == 0 {
		w.ctxRoom = defaultRoom
	}
	const most = 1 << 30
	w.dataRoom, w.ctxRoom = min(w.dataRoom, most), min(w.ctxRoom, most)
	return nil
}

// runWord takes one of the words, whose beginning has to tell it from the others.
func runWord(v *objects.Verb) (string, error) {
	var found []string
	for _, word := range []string{"data_in", "data_out", "data_size_out", "ctx_in", "ctx_out", "ctx_size_out", "repeat"} {
		if objects.Begins(v.Peek(), word) {
			found = append(found, word)
		}
	}
	switch len(found) {
	case 0:
		return "", ui.Usagef("%q: there are data_in, data_out, data_size_out, ctx_in, ctx_out, ctx_size_out and repeat", v.Peek())
	case 1:
		v.Take(found[0])
		return found[0], nil
	}
	return "", ui.Usagef("%q can be %s or %s", v.Peek(), found[0], found[1])
}

func input(v *objects.Verb, name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	data, err := v.UI.ReadFile(name)
	if data == nil && err == nil {
		data = []byte{} // given, and empty
	}
	return data, err
}

// output writes what a run gave back: - is standard output, for people as od and hexdump do.
func output(v *objects.Verb, name, field string, data []byte) error {
	switch {
	case name == "" || data == nil:
		return nil
	case name != "-":
		return ui.WriteFile(name, data)
	case v.J != nil:
		v.J.Name(field)
		v.J.Numbers(data)
		return nil
	}
	for at := 0; at < len(data); at += 16 {
		line := data[at:min(at+16, len(data))]
		hex, text := "", ""
		for i := range 16 {
			switch {
			case i >= len(line):
				hex += "  "
			default:
				hex += fmt.Sprintf("%02x", line[i])
				c := line[i]
				if c < ' ' || c > '~' {
					c = '.'
				}
				text += string(rune(c))
			}
			if i%2 == 1 {
				hex += " "
			}
			if i == 7 && i < len(line) {
				text += " "
			}
		}
		v.Printf("%07x\t%s| %s\n", at, hex, text)
	}
	return nil
}
