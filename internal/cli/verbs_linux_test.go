package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// agrees runs a command by skep and then, after undo, by bpftool, which have to succeed both or fail both.
func (s *system) agrees(t *testing.T, undo func(), args ...string) {
	t.Helper()
	s.check(t)
	mine := s.skep(t, args...)
	if mine.code == 0 && undo != nil {
		undo()
	}
	theirs := s.oracle(t, args)[0]
	if (mine.code == 0) != (theirs.code == 0) || mine.out != theirs.out && mine.code == 0 {
		t.Errorf("%s: %+v, bpftool %+v", strings.Join(args, " "), mine, theirs)
	}
	if mine.code == 0 && undo != nil {
		undo()
	}
	if mine.code != 0 && strings.Count(mine.err, "\n") != 1 {
		t.Errorf("%s fails with %q", strings.Join(args, " "), mine.err)
	}
}

// remove takes a name in the system's BPF file system away.
func (s *system) remove(t *testing.T, path string) {
	t.Helper()
	if s.live {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
		return
	}
	if r := command(t, self(t), "exec", "--machine", s.machine, "--", "rm", path); r.code != 0 {
		t.Error(r.err)
	}
}

// Programs are put at maps of sockets and at the flow dissector's place, and taken away, as by bpftool.
func TestAttachAsBpftool(t *testing.T) {
	object := compile(t, "sockets.c")
	systems(t, func(t *testing.T, s *system) {
		s.do(t, "prog", "loadall", object, s.dir+"/p", "pinmaps", s.dir+"/m")
		p, socks := s.dir+"/p/", s.dir+"/m/socks"
		for _, row := range []struct{ prog, place, old string }{
			{"parser", "sk_skb_stream_parser", "stream_parser"},
			{"verdict", "sk_skb_stream_verdict", "stream_verdict"},
			{"plain", "sk_skb_verdict", "skb_verdict"},
			{"message", "sk_msg_verdict", "msg_verdict"},
			{"dissect", "flow_dissector", "flow_dissector"},
		} {
			target := []string{"pinned", socks}
			if row.place == "flow_dissector" {
				target = nil
			}
			for _, place := range []string{row.place, row.old} {
				words := join("pinned", p+row.prog, place, target)
				s.agrees(t, func() { s.do(t, join("prog detach", words)...) }, join("prog attach", words)...)
				s.do(t, join("prog attach", words)...)
				if got := s.oracle(t, join("prog detach", words))[0]; got.code != 0 {
					t.Errorf("bpftool does not find %s at %s: %s", row.prog, place, got.err)
				}
				s.agrees(t, nil, join("prog detach", words)...) // it is gone
				s.agrees(t, nil, join("-j prog detach", words)...)
			}
			s.agrees(t, nil, join("prog attach pinned", p+"switched", row.place, target)...)
		}
		for words, want := range map[string]string{
			"attach":                                                        "nothing is named: a program is named by id, tag, name or pinned",
			"attach pinned " + p + "parser":                                 "ATTACH_TYPE is missing",
			"attach pinned " + p + "parser sideways":                        `"sideways": there are sk_msg_verdict,`,
			"attach pinned " + p + "parser stream_parser":                   "nothing is named: a map is named by",
			"attach pinned " + p + "parser stream_parser id 0":              "map 0: ",
			"attach pinned " + p + "parser stream_p pinned " + p + "parser": "a prog is pinned there, no map",
			"attach pinned " + p + "dissect flow_dissector more":            `"more": nothing more was expected`,
			"detach id 0 flow_dissector":                                    "prog 0: ",
			"detach pinned " + p + "nowhere flow_dissector":                 "/nowhere: ",
		} {
			s.refuses(t, want, join("prog", words)...)
		}
	})
}

// refuses has a command fail with one line that says what was wrong.
func (s *system) refuses(t *testing.T, want string, args ...string) {
	t.Helper()
	r := s.skep(t, args...)
	if r.code == 0 || !strings.Contains(r.err, want) || strings.Count(r.err, "\n") != 1 || r.out != "" {
		t.Errorf("%s: %+v, want %q", strings.Join(args, " "), r, want)
	}
}

// Iterators and links are pinned, shown and detached as by bpftool.
func TestLinksAsBpftool(t *testing.T) {
	iter, elems, object := compile(t, "iter.c"), compile(t, "iter_elem.c"), compile(t, "sockets.c")
	systems(t, func(t *testing.T, s *system) {
		d := s.dir + "/"
		s.do(t, join("map create", d+"m", "type hash key 4 value 4 entries 4 name walked")...)
		s.do(t, join("map update pinned", d+"m", "key 7 0 0 0 value 1 0 0 0")...)
		s.do(t, "iter", "pin", iter, d+"maps")
		names := []string{"maps"}
		keys := join("iter pin", elems, d+"keys map pinned", d+"m")
		if s.live { // some kernels let nobody load this one
			s.agrees(t, func() { s.remove(t, d+"keys") }, keys...)
			if text, err := os.ReadFile(d + "maps"); !strings.HasPrefix(string(text), "map ") {
				t.Errorf("maps: %q, %v", text, err)
			}
		} else {
			s.do(t, keys...)
			names = append(names, "keys")
		}
		for _, name := range names {
			s.inAllForms(t, "link", "show", "pinned", d+name)
			s.inAllForms(t, "-f", "link", "list", "pinned", d+name)
		}
		s.agrees(t, func() { s.remove(t, d+"again") }, "iter", "pin", iter, d+"again")
		s.agrees(t, nil, "iter", "pin", iter, d+"maps")   // a name that is taken
		s.agrees(t, nil, "iter", "pin", elems, d+"again") // without the map it wants
		s.agrees(t, func() { s.remove(t, d+"again") }, join("iter pin", iter, d+"again map pinned", d+"m")...)

		s.do(t, "prog", "loadall", object, d+"auto", "autoattach")
		s.inAllForms(t, "link", "show", "pinned", d+"auto/switched")
		s.inAllForms(t, "prog", "show", "pinned", d+"auto/parser") // which does not attach by itself
		s.do(t, "link", "pin", "pinned", d+"auto/switched", d+"second")
		s.inAllForms(t, "-f", "link", "show", "pinned", d+"second")
		s.agrees(t, func() { s.remove(t, d+"third") }, "link", "pin", "pinned", d+"second", d+"third")
		s.agrees(t, nil, "link", "pin", "pinned", d+"second", d+"auto/switched")
		s.agrees(t, nil, "link", "detach", "pinned", d+"second")
		s.agrees(t, nil, "link", "detach", "id", "0")
		s.agrees(t, nil, "prog", "load", object, d+"dev", "dev", "lo")
		// What today's bpftool has and Debian's has not.
		for _, form := range [][2]string{{"", ""}, {"-j", `""` + "\n"}} {
			if got := s.do(t, join(form[0], "prog tracelog stdout pinned", d+"auto/parser")...); got != form[1] {
				t.Errorf("a stream that nothing was written to: %q", got)
			}
		}
		for words, want := range map[string]string{
			"prog tracelog stderr":                                                          "nothing is named: a program is named by",
			"prog tracelog stdout id 0":                                                     "prog 0: ",
			"prog tracelog upwards":                                                         `"upwards": nothing more was expected`,
			"prog load " + object + " " + d + "x offload_dev lo":                            "bpf(",
			"prog load " + object + " " + d + "x xdpmeta_dev no":                            "device no: ",
			"map create " + d + "x type hash key 4 value 4 entries 1 name x offload_dev lo": "bpf(MAP_CREATE)",
			"token show more":                                                               `"more": nothing more was expected`,
			"iter pin":                                                                      "OBJ, the object file is missing",
			"iter pin " + iter:                                                              "PATH, where to pin is missing",
			"iter pin " + iter + " " + d + "x map":                                          "nothing is named: a map is named by",
			"iter pin " + iter + " " + d + "x map id 0":                                     "map 0: ",
			"iter pin " + iter + " " + d + "x more":                                         `"more": nothing more was expected`,
			"iter pin /nowhere.o " + d + "x":                                                "/nowhere.o: ",
			"iter pin " + object + " " + d + "x":                                            "is no iterator",
			"link pin pinned " + d + "second":                                               "FILE is missing",
			"link pin id 0 " + d + "x":                                                      "link 0: ",
			"link pin pinned " + d + "m " + d + "x":                                         "a map is pinned there, no link",
			"link detach":                                                                   "nothing is named: a link is named by id or pinned",
			"link show id x":                                                                `id "x": not a number`,
			"prog load " + object + " " + d + "x dev no":                                    "device no: ",
			"prog load " + object:                                                           "PATH, where to pin is missing",
			"prog load " + object + " " + d + "x type t":                                    `type "t": there is no such program type`,
			"prog load " + object + " " + d + "x map idx 9 id 1":                            "map idx 9: ",
			"prog load " + object + " " + d + "x map name n id 1":                           "map name n: ",
		} {
			s.refuses(t, want, strings.Fields(words)...)
		}
	})
}

// Types of maps are dumped part by part, values name other objects, and wrong ones are refused, as by bpftool.
func TestPartsAsBpftool(t *testing.T) {
	object := compile(t, "objects.c")
	systems(t, func(t *testing.T, s *system) {
		s.load(t, object)
		m := s.dir + "/m/"
		for _, part := range []string{"", "kv", "key", "value", "all"} {
			for _, format := range []string{"", "format raw", "format c"} {
				args := join("btf dump map pinned", m+"typed", part, format)
				if format != "format c" {
					s.same(t, args...)
					s.same(t, append([]string{"-j"}, args...)...)
				} else if r := s.skep(t, args...); r.code != 0 || r.out == "" {
					t.Errorf("%v: %+v", args, r)
				}
			}
		}
		s.agrees(t, nil, join("btf dump map pinned", m+"typed", "half")...)
		s.agrees(t, nil, join("btf dump map pinned", m+"jumps")...)
		d := s.dir + "/"
		s.do(t, join("map create", d+"inner", "type array key 4 value 4 entries 1 name inner")...)
		s.do(t, join("map create", d+"outer", "type array_of_maps key 4 value 4 entries 2 name outer inner_map pinned", d+"inner")...)
		id := strings.Fields(s.do(t, "map", "show", "pinned", d+"inner"))[0]
		for _, value := range []string{"pinned " + d + "inner", "id " + strings.TrimSuffix(id, ":")} {
			args := join("map update pinned", d+"outer", "key 1 0 0 0 value", value)
			s.agrees(t, func() { s.do(t, join("map delete pinned", d+"outer", "key 1 0 0 0")...) }, args...)
			s.do(t, args...)
			s.inAllForms(t, "map", "dump", "pinned", d+"outer")
		}
		for _, words := range []string{
			"update pinned " + d + "outer key 1 0 0 0 value pinned " + m + "typed", // another shape
			"update pinned " + d + "outer key 9 0 0 0 value pinned " + d + "inner", // no such key
			"update pinned " + d + "outer key 1 0 0 0 value id 0",
			"update pinned " + m + "jumps key 1 0 0 0 value pinned " + d + "inner",
			"update pinned " + d + "inner key 0 0 0 value 1 2 3 4",   // half a key
			"update pinned " + d + "inner key 0 0 0 0 value 1 2 3",   // half a value
			"update pinned " + d + "inner key 0 0 0 0 value 1 2 3 x", // no number
			"update pinned " + d + "inner key 0 0 0 0 value 1 2 3 4 sometimes",
			"update pinned " + d + "inner key 0 0 0 0",
			"lookup pinned " + d + "inner",
			"lookup pinned " + d + "inner key 0 0 0",
			"delete pinned " + d + "inner key 0 0 0 0", // an array's stay
			"getnext pinned " + d + "inner key 0 0 0 0",
			"pop pinned " + d + "inner",
			"push pinned " + d + "nowhere value 1",
			"create " + d + "x type hash key 4 value 4 entries 0 name x",
			"create " + d + "x type hash key 4 value 4 entries 1 name x flags 0xffff",
			"create " + d + "x type array_of_maps key 4 value 4 entries 1 name x",
			"create " + d + "inner type hash key 4 value 4 entries 1 name x", // the name is taken
			"create /tmp/x/y/z type hash key 4 value 4 entries 1 name x -n",
			"pin pinned " + d + "inner " + d + "outer",
			"freeze id 0",
		} {
			s.agrees(t, nil, join("map", words)...)
		}
		if diff := cmp.Diff(s.oracle(t, []string{"map", "dump", "pinned", d + "inner"})[0].out, s.do(t, "map", "dump", "pinned", d+"inner")); diff != "" {
			t.Error(diff)
		}
	})
}
