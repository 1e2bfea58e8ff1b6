package page_test

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skep-bpf/skep/internal/oracle"
)

//go:embed testdata/before.js
var beforeJS string

//go:embed testdata/drive.js
var driveJS string

// seen is what the driver reports of a page.
type seen struct {
	Trouble  []string
	Requests []string
	Notes    map[string]any
}

// browse opens the page of an object in a headless Chromium, which runs the
// function drive of the script given, and returns what that noted.
func browse(t *testing.T, object, width, drive string) seen {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no browser")
	}
	chromium := oracle.Tool(t, "chromium", "chromium-browser", "google-chrome")
	text := string(pageOf(t, object))
	text = strings.Replace(text, "<head>", "<head><script>"+beforeJS+"</script>", 1)
	text = strings.Replace(text, "</body>", "<script>function drive() {"+drive+"}\n"+driveJS+"</script></body>", 1)
	dir := t.TempDir()
	file := filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--user-data-dir="+filepath.Join(dir, "profile"), "--window-size="+width,
		"--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", "file://"+file)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	_, dom, ok := strings.Cut(string(out), `<pre id="result">`)
	if err != nil || !ok {
		t.Fatalf("%v: no result\n%s\n%.2000s", err, stderr.Bytes(), out)
	}
	dom, _, _ = strings.Cut(dom, "</pre>")
	var s seen
	dom = html.UnescapeString(dom)
	if err := json.Unmarshal([]byte(dom), &s.Notes); err != nil {
		t.Fatalf("%v: %s", err, dom)
	}
	if err := json.Unmarshal([]byte(dom), &s); err != nil {
		t.Fatal(err)
	}
	for _, what := range s.Trouble {
		t.Error(what)
	}
	for _, r := range s.Requests {
		t.Errorf("the page asks for %s", r)
	}
	return s
}

// want compares notes: want maps their names to the values they must have.
func (s seen) want(t *testing.T, want map[string]any) {
	t.Helper()
	for name, w := range want {
		got, ok := s.Notes[name]
		if n, isInt := w.(int); isInt {
			w = float64(n)
		}
		if !ok || got != w {
			t.Errorf("%s: %v, want %v", name, got, w)
		}
	}
}

// TestRefusedInBrowser opens a page of refused programs: each shows where and why.
func TestRefusedInBrowser(t *testing.T) {
	s := browse(t, "refused/refused", "1500,900", `
		note("first", at());
		note("dead rows", document.querySelectorAll("#main .i.h0").length);
		note("reason", one(".why strong").innerText);
		note("source line", one(".l.sel .no").innerText);
		note("R1", value("R1"));
		note("changed", changed());
		note("pinned", one(".insns .i.sel + .pin").innerText);
		note("end", one(".ends").innerText);
		press("k"); note("back", at()); note("R1 before", value("R1"));
		press("j"); note("forth", at());
		press("3"); note("third", one("h2").innerText); note("third at", at());
		press("Home"); note("home", at());
		press("e"); note("end again", at());
		// The explanation's chain: at the head, and below instructions and lines.
		press("5");
		note("chain", [...document.querySelectorAll("#main .chain button i")].map(e => e.textContent).join(" "));
		note("pins", [...document.querySelectorAll("#main .insns .pin")].map(e => e.className.replace("pin ", "")).join(" "));
		note("pins of lines", document.querySelectorAll("#main .source .pin").length);
		note("fix", one(".insns .pin.fix pre").innerText);
		note("title", one(".why em").innerText !== "" && one(".why .known code").innerText);
		click(one(".chain button")); note("first link", one(".i.sel code").innerText);
		click(one('[data-go="refusal"]')); note("refusal again", at());
		click(document.querySelectorAll("#programs button")[8]); note("ninth", one("h2").innerText);
		note("fragment", location.hash);
		click(document.querySelectorAll("#programs button")[6]);
		note("dead edges", document.querySelectorAll("#main .e.dead").length > 0);
		note("held", value("holds"));
	`)
	s.want(t, map[string]any{
		"first": 1, "reason": "invalid access to packet, off=12 size=2, R1(id=0,off=12,r=0)", "source line": "34",
		"R1": "pkt(r=0)", "changed": "R1", "pinned": "invalid access to packet, off=12 size=2, R1(id=0,off=12,r=0)",
		"end": "ends refused at 1", "back": 0, "R1 before": "ctx()", "forth": 1,
		"third": "wrong_cast", "third at": 12, "home": 0, "end again": 12,
		"chain": "1 2 fix", "pins": "why-step bad why-step fix", "pins of lines": 4, "fix": "if (!value)\n\treturn XDP_PASS;",
		"title": "value", "first link": "call bpf_map_lookup_elem#1", "refusal again": 7,
		"ninth": "endless", "fragment": "#endless/8", "held": "ref=2", "dead edges": true, "dead rows": 4,
	})
}

// TestAcceptedInBrowser walks through an accepted program's paths by keys and clicks.
func TestAcceptedInBrowser(t *testing.T) {
	s := browse(t, "firewall/firewall", "1500,900", `
		note("verdict", one(".verdict").innerText);
		note("start", at());
		note("next", one(".after").innerText.replace(/\s+/g, " "));
		for (let i = 0; i < 11; i++) press("ArrowDown");
		note("eleven on", at());
		press("o"); press("j"); const one_ = at();
		press("k"); press("o"); press("j");
		note("both ways", [one_, at()].sort((a, b) => a - b).join(" "));
		press("Home"); press("J"); note("next line", one(".l.sel .no").innerText);
		press("n"); note("second path", where().startsWith("path ‹ 2 of 98 ›"));
		press("p"); note("first path", where().startsWith("path ‹ 1 of 98 ›"));
		click(document.querySelector('#main .i[data-s="170"]')); note("clicked", at());
		press("]"); note("second visit", where().includes("visit ‹ 2 of"));
		press("["); note("first visit", where().includes("visit ‹ 1 of"));
		const line = [...document.querySelectorAll("#main .l")].find(l => l.innerText.includes("struct flow flow"));
		hover(line); note("hover", document.querySelectorAll("#main .i.hov").length);
		click(line); note("line's instruction", one(".i.sel code").innerText);
		const block = document.querySelectorAll("#main .b")[3];
		click(block); note("block", at() === +block.dataset.s && block.classList.contains("sel"));
		hover(block); note("block's instructions", document.querySelectorAll("#main .i.hov").length > 0);
		// A pruned path leads to the state that stood for it.
		const pruned = view.t.paths.findIndex(p => p.how === 1);
		view.openPath(pruned); press("e");
		const end = at(); note("pruned", one(".ends").innerText.startsWith("pruned at " + end));
		press("f"); note("followed", at() === end && view.path !== pruned);
		note("path marked", document.querySelectorAll("#main .e.on").length > 0);
		one(".paths").open = true; view.listPaths(); note("paths listed", document.querySelectorAll("#main .p").length);
		one(".paths").open = false;
		const width = () => +one("svg.shown").getAttribute("width");
		const before = width(); press("+"); note("larger", width() > before); press("0"); note("fits", width() <= one(".graph .scroll").clientWidth);
		press("g"); note("big graph", !visible(one(".insns")) && visible(one(".graph"))); press("g");
		note("words", ["scalar()", "scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))", "Pscalar(id=5,smin=0xffffffff80000001,smax=smax32=-53,umin=0xffffffff80000001,umax=0xffffffffffffffcb)",
			"map_value(map=m,ks=4,vs=8,off=4)", "map_value_or_null(id=1,map=m,ks=4,vs=8)", "pkt(off=14,r=34)", "pkt(r=0)", "mmmm7", "????scalar(umax=9)", "00000000", "mmmm????", "fp-8", "P3", "-3", "ptr_or_null_task_struct(id=2)"].map(gloss).join("; "));
		press("?"); note("help", document.querySelector("dialog").open); document.querySelector("dialog").close();
		note("blocks", [...document.querySelectorAll("#main .b rect")].filter(visible).length);
		const theme = document.documentElement.dataset.theme;
		note("contrast", contrast());
		press("t"); note("other theme", document.documentElement.dataset.theme !== theme);
		note("contrast in the other", contrast());
		document.querySelector("dialog").showModal(); note("contrast of the help", contrast());
	`)
	s.want(t, map[string]any{
		"verdict": "accepted", "start": 0, "next": "this instruction leads to R6 → pkt_end()", "eleven on": 11, "both ways": "12 170",
		"next line": "178", "second path": true, "first path": true, "clicked": 170, "second visit": true, "first visit": true,
		"hover": 6, "line's instruction": "*(u64 *)(r10 - 32) = r1", "block": true, "block's instructions": true, "pruned": true, "followed": true,
		"path marked": true, "paths listed": 98, "larger": true, "fits": true, "big graph": true, "help": true,
		"words": "any number; a number from 0 to 255; a number from -0x7fffffff to -53, and its value matters; value of map m, 8 bytes, 4 bytes in; " +
			"value of map m, 8 bytes, or NULL: not checked yet; in the packet, 14 bytes in; the first 34 bytes are known to be there; " +
			"in the packet; nothing is known to be there; low 4 bytes: 7; low 4 bytes: a number from 0 to 9; zero; some bytes, not written; " +
			"address on the stack; this very number, and it matters; ; struct task_struct of the kernel, or NULL: not checked yet", "other theme": true,
		"blocks": 49,
	})
	for _, name := range []string{"contrast", "contrast in the other", "contrast of the help"} {
		c, _ := s.Notes[name].(map[string]any)
		if ratio, _ := c["ratio"].(float64); ratio < 4.5 || ratio > 21 {
			t.Errorf("%s: %v; text wants 4.5", name, c)
		}
	}
}

// TestNarrowInBrowser opens a page where there is room for one pane and the state.
func TestNarrowInBrowser(t *testing.T) {
	s := browse(t, "loops/loops", "500,900", `
		const shown = () => [...document.querySelectorAll("#main .pane")].filter(visible).map(p => p.getAttribute("aria-label")).join(", ");
		note("first", shown());
		click(one('[data-view="graph"]')); note("graph", shown());
		click(one('[data-view="insns"]')); note("insns", shown());
		note("overflow", document.documentElement.scrollWidth > innerWidth);
		press("j"); note("j", at());
	`)
	s.want(t, map[string]any{"first": "Source, State", "graph": "Flow graph, State", "insns": "Instructions, State", "overflow": false, "j": 1})
}
