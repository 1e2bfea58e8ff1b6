package main

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// A row is what a live kernel said of one program of one object in one mode.
type row struct {
	tree    string // kernel version of the sources and -mcpu: "6.12-v3"
	object  string // file name without ".o"
	program string
	mode    string // "priv", or "unpriv~capbpf": with CAP_BPF alone
	accept  bool
	errno   string // of a refusal: "EACCES"
	insns   int    // instructions processed, 0: not known
	loadUS  float64
}

// group is the set of objects the row counts for.
func (r *row) group() string {
	if strings.HasPrefix(r.object, "verifier_") {
		return "verifier_*"
	}
	return "others"
}

// columns are the fields of the table that rows are made of.
var columns = []string{"tree", "object", "program", "mode", "best_verdict", "best_errno", "best_insn_processed", "best_load_us"}

// readTable reads the table at path: tab-separated, gzipped if its name says so,
// with the names of the columns in the first line. Rows without a verdict of the
// verifier are left out: those the kernel never came to verify, and those it
// answered with EPERM before it did.
func readTable(path string) ([]row, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var rd io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if rd, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	rows, err := parseTable(rd)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return rows, nil
}

func parseTable(rd io.Reader) ([]row, error) {
	sc := bufio.NewScanner(rd)
	sc.Buffer(nil, 1<<20)
	if !sc.Scan() {
		return nil, fmt.Errorf("no line with the names of the columns: %w", sc.Err())
	}
	head := strings.Split(sc.Text(), "\t")
	at := map[string]int{}
	for _, name := range columns {
		i := slices.Index(head, name)
		if i < 0 {
			return nil, fmt.Errorf("no column %q", name)
		}
		at[name] = i
	}
	var rows []row
	for n := 2; sc.Scan(); n++ {
		cells := strings.Split(sc.Text(), "\t")
		if len(cells) != len(head) {
			return nil, fmt.Errorf("line %d has %d columns, not %d", n, len(cells), len(head))
		}
		get := func(name string) string { return cells[at[name]] }
		verdict := get("best_verdict")
		if verdict != "accept" && verdict != "reject" {
			continue
		}
		r := row{
			tree: get("tree"), object: get("object"), program: get("program"), mode: get("mode"),
			accept: verdict == "accept", errno: get("best_errno"),
		}
		if r.errno == "EPERM" && r.mode == "priv" && get("best_insn_processed") == "" {
			continue // refused for what it attaches to
		}
		r.insns, _ = strconv.Atoi(get("best_insn_processed"))
		r.loadUS, _ = strconv.ParseFloat(get("best_load_us"), 64)
		rows = append(rows, r)
	}
	return rows, sc.Err()
}
