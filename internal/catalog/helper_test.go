package catalog

import "testing"

// TestHelperRows walks all rows: no gap, no doubt which row holds, nothing left blank.
func TestHelperRows(t *testing.T) {
	names := map[string]HelperID{}
	for id := FnUnspec + 1; id <= LastHelper; id++ {
		rows := HelperVariants(id)
		if len(rows) == 0 {
			t.Fatalf("helper %d has no row", id)
		}
		for i, h := range rows {
			if h.ID != id || h.Name != rows[0].Name {
				t.Errorf("row %d of helper %d is of %d %q", i, id, h.ID, h.Name)
			}
			if h.Since == "" || h.Doc == "" || h.Progs == 0 {
				t.Errorf("%s: release, doc or program types missing", h.Name)
			}
			checkArgs(t, &h)
			for _, g := range rows[:i] {
				if g.Progs&h.Progs != 0 && (g.Attach == 0 || h.Attach != 0 && g.Attach&h.Attach != 0) {
					t.Errorf("%s: row %d is hidden by an earlier one", h.Name, i)
				}
			}
		}
		if old, dup := names[rows[0].Name]; dup {
			t.Errorf("%s is both %d and %d", rows[0].Name, old, id)
		}
		names[rows[0].Name] = id
		if h := HelperByName(rows[0].Name); h == nil || h.ID != id {
			t.Errorf("HelperByName(%q) = %v", rows[0].Name, h)
		}
	}
	for _, family := range helperFamilies {
		for i := range family {
			if rows := HelperVariants(family[i].ID); !contains(rows, &family[i]) {
				t.Errorf("%s: its rows are not next to each other", family[i].Name)
			}
		}
	}
	if HelperByID(0) != nil || HelperByID(LastHelper+1) != nil || HelperByID(-1) != nil {
		t.Error("a row for a number that is of no helper")
	}
}

func contains(rows []Helper, h *Helper) bool {
	for i := range rows {
		if &rows[i] == h {
			return true
		}
	}
	return false
}

// checkArgs holds a row to what the kernel's check_func_proto demands: sizes
// follow memory, fixed sizes and struct names are given, arguments leave no gap.
func checkArgs(t *testing.T, h *Helper) {
	t.Helper()
	for i, a := range h.Args {
		isSize := a.Type.Base() == ArgConstSize || a.Type.Base() == ArgConstSizeOrZero
		prevMem := i > 0 && h.Args[i-1].Type.Base() == ArgMem && !h.Args[i-1].Type.Has(FixedSize)
		if isSize != prevMem {
			t.Errorf("%s: argument %d: memory and size do not come in pairs", h.Name, i+1)
		}
		if a.Type.Has(FixedSize) != (a.Size != 0) {
			t.Errorf("%s: argument %d: fixed size not given, or given without need", h.Name, i+1)
		}
		if wantBTF := a.Type.Base() == ArgBTFID && !a.Type.Has(Release); wantBTF != (a.BTF != "") {
			t.Errorf("%s: argument %d: struct name %q", h.Name, i+1, a.BTF)
		}
		if a.Type != ArgNone && i > 0 && h.Args[i-1].Type == ArgNone {
			t.Errorf("%s: argument %d follows none", h.Name, i+1)
		}
	}
	if wantBTF := h.Ret.Base() == RetBTFID && h.ID != FnKptrXchg; wantBTF != (h.RetBTF != "") {
		t.Errorf("%s: returned struct's name %q", h.Name, h.RetBTF)
	}
}
