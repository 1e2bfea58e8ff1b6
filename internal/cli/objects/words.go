package objects

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/skep-bpf/skep/internal/cli/ui"
	"github.com/skep-bpf/skep/internal/errno"
	"github.com/skep-bpf/skep/internal/linux"
)

// Words are what is left of a command line.
type Words struct{ Left []string }

// Len is how many are left.
func (w *Words) Len() int { return len(w.Left) }

// Peek is the next word, "" if there is none.
func (w *Words) Peek() string {
	if len(w.Left) == 0 {
		return ""
	}
	return w.Left[0]
}

// Next takes a word; what says what it was to be.
func (w *Words) Next(what string) (string, error) {
	if len(w.Left) == 0 {
		return "", ui.Usagef("%s is missing", what)
	}
	word := w.Left[0]
	w.Left = w.Left[1:]
	return word, nil
}

// Take takes the next word if it is a beginning of keyword.
func (w *Words) Take(keyword string) bool {
	if !Begins(w.Peek(), keyword) {
		return false
	}
	w.Left = w.Left[1:]
	return true
}

// End fails if words are left.
func (w *Words) End() error {
	if len(w.Left) > 0 {
		return ui.Usagef("%q: nothing more was expected", w.Left[0])
	}
	return nil
}

// Begins reports whether word is a beginning of keyword, as bpftool takes any for the whole.
func Begins(word, keyword string) bool { return word != "" && strings.HasPrefix(keyword, word) }

// Uint takes a number of at most bits bits, in C's notation.
func (w *Words) Uint(what string, bits int) (uint64, error) {
	word, err := w.Next(what)
	if err != nil {
		return 0, err
	}
	n, err := Number(word, bits)
	if err != nil {
		return 0, ui.Usagef("%s %q: not a number", what, word)
	}
	return n, nil
}

// Number reads a number in C's notation: 10, 0x0a, 012.
func Number(word string, bits int) (uint64, error) {
	if strings.Contains(word, "_") {
		return 0, strconv.ErrSyntax
	}
	if strings.HasPrefix(word, "0b") || strings.HasPrefix(word, "0o") {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(word, 0, bits)
}

// Progs takes PROG := { id N | tag T | name S | pinned FILE } and opens all programs it names, at least one.
func (v *Verb) Progs() ([]*linux.Object, error) {
	switch {
	case v.Take("id"):
		return v.byID(linux.KindProg)
	case v.Take("tag"):
		word, err := v.Next("tag")
		if err != nil {
			return nil, err
		}
		var tag [8]byte
		if n, err := fmt.Sscanf(word, "%02x%02x%02x%02x%02x%02x%02x%02x", &tag[0], &tag[1], &tag[2], &tag[3], &tag[4], &tag[5], &tag[6], &tag[7]); n != len(tag) || err != nil {
			return nil, ui.Usagef("tag %q: not 16 hexadecimal digits", word)
		}
		return v.matching(linux.KindProg, "tag "+word, func(o *linux.Object) (bool, error) {
			info, err := o.Prog()
			return err == nil && info.Tag == tag, err
		})
	case v.Take("name"):
		word, err := v.Next("name")
		if err != nil {
			return nil, err
		}
		return v.matching(linux.KindProg, "name "+word, func(o *linux.Object) (bool, error) {
			info, err := o.Prog()
			return err == nil && v.FullName(info) == word, err
		})
	case v.Take("pinned"):
		return v.pinned(linux.KindProg)
	}
	return nil, ui.Usagef("%s: a program is named by id, tag, name or pinned", v.got())
}

// Maps takes MAP := { id N | name S | pinned FILE } and opens all maps it names, at least one.
func (v *Verb) Maps() ([]*linux.Object, error) {
	switch {
	case v.Take("id"):
		return v.byID(linux.KindMap)
	case v.Take("name"):
		word, err := v.Next("name")
		if err != nil {
			return nil, err
		}
		return v.matching(linux.KindMap, "name "+word, func(o *linux.Object) (bool, error) {
			info, err := o.Map()
			return err == nil && info.Name == word, err
		})
	case v.Take("pinned"):
		return v.pinned(linux.KindMap)
	}
	return nil, ui.Usagef("%s: a map is named by id, name or pinned", v.got())
}

// Link takes LINK := { id N | pinned FILE }.
func (v *Verb) Link() (*linux.Object, error) {
	switch {
	case v.Take("id"):
		return one(v.byID(linux.KindLink))
	case v.Take("pinned"):
		return one(v.pinned(linux.KindLink))
	}
	return nil, ui.Usagef("%s: a link is named by id or pinned", v.got())
}

// Prog takes a PROG that is one program.
func (v *Verb) Prog() (*linux.Object, error) { return one(v.Progs()) }

// Map takes a MAP that is one map, and asks about it.
func (v *Verb) Map() (*linux.Object, *linux.MapInfo, error) {
	o, err := one(v.Maps())
	if err != nil {
		return nil, nil, err
	}
	info, err := o.Map()
	if err != nil {
		o.Close()
		return nil, nil, err
	}
	return o, info, nil
}

func (v *Verb) got() string {
	if v.Len() == 0 {
		return "nothing is named"
	}
	return strconv.Quote(v.Peek())
}

func one(list []*linux.Object, err error) (*linux.Object, error) {
	if err != nil {
		return nil, err
	}
	if len(list) > 1 {
		ids := make([]string, len(list))
		for i, o := range list {
			ids[i] = "?"
			if id, err := ID(o); err == nil {
				ids[i] = fmt.Sprint(id)
			}
			o.Close()
		}
		return nil, fmt.Errorf("several %ss have it: id %s", list[0].Kind(), strings.Join(ids, ", "))
	}
	return list[0], nil
}

// ID asks an object its id.
func ID(o *linux.Object) (uint32, error) {
	switch o.Kind() {
	case linux.KindProg:
		info, err := o.Prog()
		if err != nil {
			return 0, err
		}
		return info.ID, nil
	case linux.KindMap:
		info, err := o.Map()
		if err != nil {
			return 0, err
		}
		return info.ID, nil
	case linux.KindLink:
		info, err := o.Link()
		if err != nil {
			return 0, err
		}
		return info.ID, nil
	}
	info, err := o.BTF()
	if err != nil {
		return 0, err
	}
	return info.ID, nil
}

func (v *Verb) byID(k linux.Kind) ([]*linux.Object, error) {
	id, err := v.Uint("id", 32)
	if err != nil {
		return nil, err
	}
	o, err := linux.OpenID(k, uint32(id))
	if err != nil {
		return nil, fmt.Errorf("%s %d: %w", k, id, err)
	}
	return []*linux.Object{o}, nil
}

func (v *Verb) pinned(k linux.Kind) ([]*linux.Object, error) {
	path, err := v.Next("the name of a pinned " + k.String())
	if err != nil {
		return nil, err
	}
	o, err := linux.OpenPinned(path)
	if errors.Is(err, errno.EACCES) {
		if _, e := os.Stat(path); e == nil {
			return nil, fmt.Errorf("%s: %w: is it in a BPF file system?", path, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if o.Kind() != k {
		o.Close()
		return nil, fmt.Errorf("%s: a %s is pinned there, no %s", path, o.Kind(), k)
	}
	return []*linux.Object{o}, nil
}

// matching opens the objects of a kind that match, in the order of their ids.
func (v *Verb) matching(k linux.Kind, what string, match func(*linux.Object) (bool, error)) ([]*linux.Object, error) {
	var found []*linux.Object
	err := Each(k, func(_ uint32, o *linux.Object) (keep bool, err error) {
		if keep, err = match(o); keep {
			found = append(found, o)
		}
		return keep, err
	})
	switch {
	case err != nil:
		for _, o := range found {
			o.Close()
		}
		return nil, err
	case len(found) == 0:
		return nil, fmt.Errorf("there is no %s with %s", k, what)
	}
	return found, nil
}

// Each calls do for all objects of a kind, open; those it does not keep are
// closed. Objects that go away meanwhile are left out.
func Each(k linux.Kind, do func(id uint32, o *linux.Object) (keep bool, err error)) error {
	ids, err := linux.IDs(k)
	if err != nil {
		return fmt.Errorf("%ss: %w", k, err)
	}
	for _, id := range ids {
		o, err := linux.OpenID(k, id)
		if errors.Is(err, errno.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s %d: %w", k, id, err)
		}
		keep, err := do(id, o)
		if !keep {
			o.Close()
		}
		if err != nil {
			return fmt.Errorf("%s %d: %w", k, id, err)
		}
	}
	return nil
}
