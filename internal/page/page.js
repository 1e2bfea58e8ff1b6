"use strict";
// The page's only script. It looks things up in the data the page carries and
// shows them; nothing is loaded, nothing leaves the page.

const $ = (sel, in_ = document) => in_.querySelector(sel);
const $$ = (sel, in_ = document) => [...in_.querySelectorAll(sel)];
const number = n => n.toLocaleString("en");
const ENDS = ["exit", "pruned", "refused"]; // data.paths' how

// make builds an element: make("div", {class: "x"}, "text", child, …).
function make(tag, attrs, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attrs || {})) {
    if (k === "onclick") e.onclick = v; else if (v !== false) e.setAttribute(k, v === true ? "" : v);
  }
  e.append(...children.filter(c => c !== null && c !== undefined));
  return e;
}

// push adds a value to the list a map has under a key.
function push(map, key, value) {
  if (map.has(key)) map.get(key).push(value); else map.set(key, [value]);
}

// Trace unpacks what is known of a program's paths.
//
// A step is an index into the arrays below; its number (n) counts the
// instructions the verifier processed, of which long traces keep some. A path is
// a piece: it branches off its parent after step fork and runs to an end.
class Trace {
  constructor(d) {
    this.d = d;
    this.n = []; this.slot = []; this.frame = []; this.full = []; this.at = []; // at: of its changes in d.steps
    for (let i = 0, n = 0; i < d.steps.length;) {
      n += d.steps[i];
      this.n.push(n); this.slot.push(d.steps[i + 1]); this.frame.push(d.steps[i + 2]); this.full.push(d.steps[i + 3]);
      this.at.push(i + 4);
      i += 5 + 2 * d.steps[i + 4];
    }
    this.paths = [];
    for (let i = 0; i < d.paths.length; i += 6) {
      const [parent, fork, first, end, how, by] = d.paths.slice(i, i + 6);
      this.paths.push({parent, fork, first, end, how, by, lo: this.lower(first), hi: this.lower(end)});
    }
    this.visits = new Map(); // slot → steps
    this.slot.forEach((s, i) => push(this.visits, s, i));
    this.branches = new Map(); // n of a step → paths that branch off there
    this.paths.forEach((p, k) => { if (p.parent >= 0) push(this.branches, p.fork, k); });
  }

  // lower is the first step whose number is at least n.
  lower(n) {
    let lo = 0, hi = this.n.length;
    while (lo < hi) { const m = (lo + hi) >> 1; if (this.n[m] < n) lo = m + 1; else hi = m; }
    return lo;
  }

  // step finds a step by its number, -1 if it was not kept.
  step(n) { const i = this.lower(n); return this.n[i] === n ? i : -1; }

  // pathOf is the piece a step lies on.
  pathOf(step) {
    let lo = 0, hi = this.paths.length - 1;
    while (lo < hi) { const m = (lo + hi + 1) >> 1; if (this.paths[m].first <= this.n[step]) lo = m; else hi = m - 1; }
    return lo;
  }

  // walk is the whole way to a piece's end: its steps, first to last, and how many are lost.
  walk(k) {
    const parts = [];
    let length = 0;
    for (let end = this.paths[k].end; k >= 0;) {
      const p = this.paths[k];
      parts.push([p.lo, this.lower(end)]);
      length += end - p.first;
      k = p.parent; end = p.fork + 1;
    }
    const steps = [];
    for (const [lo, hi] of parts.reverse()) for (let i = lo; i < hi; i++) steps.push(i);
    return {steps, length, pos: new Map(steps.map((s, i) => [s, i]))};
  }

  // state is what is known before a step: place → text.
  state(step) {
    let from = step;
    while (!this.full[from]) from--;
    const known = new Map();
    for (let i = from; i <= step; i++) {
      for (let c = this.at[i] + 1, n = this.d.steps[this.at[i]]; n > 0; n--, c += 2) known.set(this.d.steps[c], this.d.steps[c + 1]);
    }
    return known;
  }
}

// What the marks beside instructions mean, by class.
const MARKS = {
  state: "states remembered here, to end paths that bring nothing new",
  pruned: "paths that ended here: a state seen before stood for the rest",
  mem: "the memory it touches, on every path",
  always: "the jump is taken on every path", never: "the jump is taken on no path",
  loop: "one run takes this jump at most so often",
  key: "the key is this constant, on every path",
};

// colour sets words, numbers, strings, comments and registers of code apart.
const TOKEN = /\/\/.*|\/\*.*?(?:\*\/|$)|"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|\w+|[^\w"'\/]+|./g;
const C_WORDS = new Set(("break case char const continue default do double else enum extern float for goto if inline int long " +
  "register return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false NULL SEC " +
  "__u8 __u16 __u32 __u64 __s8 __s16 __s32 __s64 __be16 __be32 __be64 u8 u16 u32 u64 s8 s16 s32 s64 __always_inline").split(" "));
const INSN_WORDS = new Set(["if", "goto", "call", "callx", "exit", "lock", "may_goto"]);
function colour(code, words) {
  code.replaceChildren(...(code.textContent.match(TOKEN) || []).map(t => {
    const c = words.has(t) ? "k" : /^\d/.test(t) ? "n" : /^["']/.test(t) ? "s" : /^\/[\/*]/.test(t) ? "c" :
      words === INSN_WORDS && /^[rw]\d+$/.test(t) ? "r" : "";
    return c ? make("b", {class: c}, t) : t;
  }));
}

// Places, as the verifier numbers them: a register or stack slot in the low
// seven bits, the frame above.
const frameOf = place => place >> 7;
function placeName(place) {
  place &= 127;
  if (place === 127) return "holds";
  return place < 11 ? "R" + place : "fp-" + 8 * (place - 10);
}

// gloss says in words what a value in the verifier's notation means.
function gloss(text) {
  if (/^[?rm0dif]{8}$/.test(text)) return bytesGloss(text);
  if (/^P?-?(0x)?[0-9a-f]+$/.test(text)) return text[0] === "P" ? "this very number, and it matters" : "";
  for (const n of [4, 6, 7]) { // four, two or one byte of a slot hold a number
    const rest = text.slice(n);
    if (/^[?m0]+$/.test(text.slice(0, n)) && /^(P?-?(0x)?[0-9a-f]+$|P?scalar\()/.test(rest)) return `low ${n === 7 ? "byte" : 8 - n + " bytes"}: ${gloss(rest) || rest}`;
  }
  const m = /^(P?)([\w]+)(?:\[(\d)\])?(-?\d+)?(?:\((.*)\))?$/.exec(text);
  if (!m) return "";
  const [, precise, kind, frame, off] = m;
  const f = {};
  for (const part of (m[5] || "").split(/,(?![^(]*\))/)) {
    const names = part.split("=");
    for (const name of names.slice(0, -1)) f[name] = names[names.length - 1];
  }
  const base = kind.replace(/^(rdonly_|ringbuf_|user_|percpu_|rcu_|untrusted_|trusted_)+/, "").replace(/_or_null$/, "");
  const null_ = kind.includes("or_null") ? ", or NULL: not checked yet" : "";
  const bytes = n => n === "1" ? "1 byte" : n + " bytes";
  const at = f.off ? `, ${bytes(f.off)} in` : "";
  const plus = f.umax ? `, plus ${f.umin || 0} to ${f.umax}` : f.var_off ? ", plus something variable" : "";
  switch (base) {
  case "scalar": {
    // The verifier has a signed range and an unsigned one: the narrower tells more.
    const signed = v => v === undefined ? v : BigInt.asIntN(64, BigInt(v)), unsigned = v => v === undefined ? v : BigInt(v);
    const smin = signed(f.smin), smax = signed(f.smax);
    const byUnsigned = f.umax !== undefined && (smin === undefined || smin >= 0n);
    const lo = byUnsigned ? unsigned(f.umin) ?? 0n : smin ?? unsigned(f.umin), hi = byUnsigned ? unsigned(f.umax) : smax;
    const say = b => b > -1000000n && b < 1000000n ? String(b) : (b < 0n ? "-" : "") + "0x" + (b < 0n ? -b : b).toString(16);
    const range = lo !== undefined && hi !== undefined ? `a number from ${say(lo)} to ${say(hi)}` : hi !== undefined ? `a number up to ${say(hi)}` :
      lo !== undefined ? `a number from ${say(lo)}` : "any number";
    return range + (precise ? ", and its value matters" : "");
  }
  case "ctx": return "the context" + at;
  case "fp": return `address on the stack${frame ? " of frame " + frame : ""}`;
  case "pkt": return `in the packet${at}${plus}; ` + (f.r && f.r !== "0" ? `the first ${bytes(f.r)} are known to be there` : "nothing is known to be there");
  case "pkt_meta": return "in the packet's metadata" + at;
  case "pkt_end": return "the end of the packet";
  case "map_ptr": return "map " + (f.map || "");
  case "map_value": return `value of map ${f.map || ""}, ${bytes(f.vs)}${at}${plus}${null_}`;
  case "map_key": return `key of map ${f.map || ""}${at}`;
  case "mem": return `memory of ${bytes(f.sz || "?")}${at}${plus}${null_}`;
  case "func": return "a function";
  case "sock": case "sock_common": case "tcp_sock": case "xdp_sock": return "a socket" + null_;
  }
  if (base.startsWith("ptr_")) return `struct ${base.slice(4).replace(/^or_null_/, "")} of the kernel${null_}`;
  if (kind.startsWith("iter_")) return "an iterator";
  if (kind.startsWith("dynptr_")) return "a dynptr";
  return null_.slice(2);
}

function bytesGloss(t) {
  const names = {"?": "not written", m: "some bytes", 0: "zero", d: "of a dynptr", i: "of an iterator", f: "of saved flags", r: "spilled"};
  const kinds = [...new Set(t)];
  return kinds.length === 1 ? names[kinds[0]] : kinds.map(k => names[k]).join(", ");
}

// View shows one program.
class View {
  constructor(index) {
    this.index = index;
    this.d = JSON.parse($("#data-" + index).textContent);
    this.t = new Trace(this.d);
    this.root = $("#prog-" + index).content.firstElementChild.cloneNode(true);
    this.rows = new Map($$(".i", this.root).map(e => [+e.dataset.s, e]));
    this.lines = $$(".l", this.root);
    this.blocks = new Map($$(".b", this.root).map(e => [+e.dataset.b, e]));
    for (const c of $$(".i code", this.root)) colour(c, INSN_WORDS);
    for (const c of $$(".l code", this.root)) colour(c, C_WORDS);
    this.edges = new Map();
    for (const e of $$(".e", this.root)) push(this.edges, e.dataset.e, e);
    this.lineSlots = new Map(); this.blockSlots = new Map();
    for (const s of this.rows.keys()) { push(this.lineSlots, this.d.line[s], s); push(this.blockSlots, this.d.block[s], s); }
    this.path = -1; this.step = -1; this.slot = -1; this.func = -1; this.zoom = 1; this.fitted = new Set(); this.on = new Set(); this.hovered = new Set();
    this.listen();
    this.setView($(".l code:not(:empty)", this.root) ? "source" : "insns");
  }

  // show puts the program into the page, at step number n if there is one.
  show(n) {
    $("#main").replaceChildren(this.root);
    const at = n === undefined ? -1 : this.t.step(n);
    if (this.step >= 0 && at < 0) { this.refresh(); return; }
    if (at >= 0) this.select(at);
    else this.begin();
  }

  // begin selects what a reader wants to see first.
  begin() {
    const refused = this.t.paths.findIndex(p => ENDS[p.how] === "refused");
    if (refused >= 0) { this.setPath(refused); this.select(this.walk.steps.at(-1) ?? -1); }
    else if (this.t.n.length > 0) this.select(0);
    if (this.step < 0) this.selectSlot(this.d.start);
  }

  setPath(k) {
    if (k === this.path) return;
    this.path = k;
    this.walk = this.t.walk(k);
    const on = new Set(), add = e => { if (e) on.add(e); };
    const last = []; // by frame: the block and slot before
    let frame = -1;
    for (const s of this.walk.steps) {
      const slot = this.t.slot[s], b = this.d.block[slot];
      if (this.t.frame[s] > frame) last.length = this.t.frame[s];
      frame = this.t.frame[s];
      add(this.rows.get(slot)); add(this.lines[this.d.line[slot]]); add(this.blocks.get(b));
      const was = last[frame];
      if (was && (was.b !== b || slot <= was.slot)) (this.edges.get(was.b + "-" + b) || []).forEach(add);
      last[frame] = {b, slot};
    }
    // Paths share most of their way: only what differs is touched.
    for (const e of this.on) if (!on.has(e)) e.classList.remove("on");
    for (const e of on) if (!this.on.has(e)) e.classList.add("on");
    this.on = on;
  }

  // select shows a step; the path stays if the step lies on it.
  select(step) {
    if (step < 0) return;
    if (this.path < 0 || !this.walk.pos.has(step)) this.setPath(this.t.pathOf(step));
    this.step = step;
    this.slot = this.t.slot[step];
    this.refresh();
  }

  // selectSlot shows an instruction: where the path comes by next, else its first visit.
  selectSlot(slot) {
    if (!this.rows.has(slot)) slot--; // the second half of a 64-bit load
    const visits = this.t.visits.get(slot) || [];
    if (visits.length === 0) {
      this.slot = slot; this.step = -1;
      this.refresh();
      return;
    }
    const onPath = this.path < 0 ? [] : visits.filter(s => this.walk.pos.has(s));
    this.select(onPath.find(s => s >= this.step) ?? onPath.at(-1) ?? visits[0]);
  }

  selectLine(l) {
    const slots = this.lineSlots.get(l) || [];
    const at = slots.indexOf(this.slot);
    const rest = at >= 0 ? slots.slice(at + 1).concat(slots.slice(0, at + 1)) : slots;
    const slot = rest.find(s => this.path >= 0 && (this.t.visits.get(s) || []).some(v => this.walk.pos.has(v)))
      ?? rest.find(s => this.t.visits.has(s)) ?? rest[0];
    if (slot !== undefined) this.selectSlot(slot);
  }

  // move goes along the path.
  move(by) {
    if (this.path < 0) return;
    const pos = this.step >= 0 ? this.walk.pos.get(this.step) + by : 0;
    const s = this.walk.steps[Math.max(0, Math.min(pos, this.walk.steps.length - 1))];
    if (s !== undefined) this.select(s);
  }

  // moveLine goes along the path to another source line.
  moveLine(by) {
    if (this.step < 0) return;
    const line = s => this.d.line[this.t.slot[s]];
    const from = line(this.step);
    let pos = this.walk.pos.get(this.step);
    while (this.walk.steps[pos + by] !== undefined) {
      pos += by;
      if (line(this.walk.steps[pos]) !== from) break;
    }
    this.select(this.walk.steps[pos]);
  }

  movePath(by) {
    const k = this.path + by;
    if (k < 0 || k >= this.t.paths.length) return;
    this.openPath(k);
  }

  // openPath shows a path where it leaves its parent.
  openPath(k) {
    this.setPath(k);
    const p = this.t.paths[k];
    this.select(p.lo < p.hi ? p.lo : this.walk.steps.at(-1) ?? -1);
  }

  moveVisit(by) {
    const visits = this.t.visits.get(this.slot) || [];
    const s = visits[visits.indexOf(this.step) + by];
    if (s !== undefined) this.select(s);
  }

  // other takes the other way at this branch.
  other() {
    if (this.step < 0) return;
    const ways = [this.t.pathOf(this.step), ...(this.t.branches.get(this.t.n[this.step]) || [])];
    if (ways.length < 2) return;
    const onWay = ways.findLastIndex((k, i) => i === 0 || this.leadsTo(k));
    const step = this.step;
    this.setPath(ways[(onWay + 1) % ways.length]);
    this.select(step);
  }

  // leadsTo reports whether the current path goes through piece k.
  leadsTo(k) {
    for (let p = this.path; p >= 0; p = this.t.paths[p].parent) if (p === k) return true;
    return false;
  }

  // follow goes from a pruned path to the state that stood for it.
  follow() {
    const p = this.t.paths[this.path];
    if (p && p.by >= 0) this.select(this.t.step(p.by));
  }

  end() { if (this.path >= 0) this.select(this.walk.steps.at(-1) ?? -1); }

  // refresh brings everything in line with the selection.
  refresh() {
    for (const e of $$(".i.sel, .l.sel, .b.sel", this.root)) e.classList.remove("sel");
    const row = this.rows.get(this.slot), line = this.lines[this.d.line[this.slot]], block = this.blocks.get(this.d.block[this.slot]);
    for (const e of [row, line, block]) e?.classList.add("sel");
    this.setFunction(this.d.func[this.slot] ?? 0);
    for (const e of [row, line]) if (e) scrollTo(e.closest(".scroll"), e);
    if (block) scrollTo(block.closest(".scroll"), block);
    this.showWalk();
    this.showValues();
    if ($(".paths", this.root).open) this.listPaths();
    const name = encodeURIComponent(this.d.name);
    history.replaceState(null, "", "#" + name + (this.step >= 0 ? "/" + this.t.n[this.step] : ""));
  }

  setFunction(f) {
    if (f === this.func) return;
    this.func = f;
    for (const e of $$("[data-func]", this.root)) {
      e.classList.toggle("shown", +e.dataset.func === f);
      if (e.tagName === "BUTTON") e.setAttribute("aria-selected", +e.dataset.func === f);
    }
    if (!this.fitted.has(f)) { this.fitted.add(f); this.setZoom("first"); }
  }

  setZoom(how) {
    const svg = $("svg.shown", this.root);
    if (!svg) return;
    const box = svg.closest(".scroll"), {width: w, height: h} = svg.viewBox.baseVal;
    const z = this.zoom;
    if (how === "big") $(".panes", this.root).classList.toggle("big");
    if (how === "in") this.zoom = Math.min(3, z * 1.25);
    else if (how === "out") this.zoom = Math.max(.08, z / 1.25);
    else if (how === "fit") this.zoom = Math.max(.08, Math.min(1.2, (box.clientWidth - 4) / w, (box.clientHeight - 4) / h));
    else this.zoom = Math.max(.62, Math.min(1, (box.clientWidth - 16) / w)); // readable at first
    svg.setAttribute("width", w * this.zoom); svg.setAttribute("height", h * this.zoom);
    const block = this.blocks.get(this.d.block[this.slot]);
    if (block) scrollTo(box, block, true);
  }

  setView(view) {
    $(".panes", this.root).dataset.view = view;
    for (const b of $$("[data-view]", $(".views", this.root))) b.setAttribute("aria-selected", b.dataset.view === view);
    if (view === "graph" && this.slot >= 0) this.setZoom("first");
  }

  // showWalk shows where on which path the selection is.
  showWalk() {
    const t = this.t, box = $(".walk", this.root);
    const ctl = (name, text, back, on, ends) => [make("span", {class: "dim"}, name), make("span", {class: "ctl"},
      make("button", {onclick: back, disabled: ends[0], "aria-label": name + " before"}, "‹"), text,
      make("button", {onclick: on, disabled: ends[1], "aria-label": "next " + name}, "›"))];
    $(".at", this.root).textContent = this.slot < 0 ? "" : "before instruction " + this.slot;
    if (this.path < 0 || this.step < 0) {
      box.replaceChildren(make("span", {class: "ends"}, t.n.length === 0 ? "The verifier did not come to follow any path." : "No path leads here."));
      return;
    }
    const pos = this.walk.pos.get(this.step), last = this.walk.steps.length - 1;
    const visits = t.visits.get(this.slot), visit = visits.indexOf(this.step);
    const range = make("input", {type: "range", min: 0, max: last, value: pos, "aria-label": "step of the path"});
    range.oninput = () => { this.select(this.walk.steps[+range.value]); };
    const p = t.paths[this.path], end = this.walk.steps.at(-1);
    const ends = make("span", {class: "ends " + ENDS[p.how]});
    const slot = end === undefined ? "?" : t.slot[end];
    if (ENDS[p.how] === "exit") ends.append(`ends with exit at ${slot}`);
    else if (ENDS[p.how] === "refused") ends.append(`ends refused at ${slot}`);
    else {
      ends.append(`pruned at ${slot}: `);
      const by = t.step(p.by);
      if (by < 0) ends.append("a state seen before stands for the rest");
      else ends.append(make("button", {class: "link", title: "key f", onclick: () => this.follow()}, `the state of path ${t.pathOf(by) + 1}`), " stands for the rest");
    }
    const steps = this.walk.length === last + 1 ? `${number(pos + 1)} of ${number(last + 1)}` : `${number(pos + 1)} of ${number(last + 1)} kept`;
    box.replaceChildren(...[
      ...ctl("path", `${number(this.path + 1)} of ${number(t.paths.length)}`, () => this.movePath(-1), () => this.movePath(1), [this.path === 0, this.path === t.paths.length - 1]),
      ...ctl("step", steps, () => this.move(-1), () => this.move(1), [pos === 0, pos === last]),
      ...ctl("visit", `${number(visit + 1)} of ${number(visits.length)}`, () => this.moveVisit(-1), () => this.moveVisit(1), [visit === 0, visit === visits.length - 1]),
      range, ends,
      this.walk.length > last + 1 ? make("span", {class: "lost"}, `${number(this.walk.length - last - 1)} of the path's ${number(this.walk.length)} steps are not kept`) : null,
      this.t.branches.has(t.n[this.step]) ? make("span", {class: "ends"}, make("button", {class: "link", title: "key o", onclick: () => this.other()}, "the other way at this branch")) : null,
    ].filter(c => c));
    if (t.n.length < this.d.processed) {
      box.append(make("span", {class: "lost"}, `Of ${number(this.d.processed)} steps in all this page has ${number(t.n.length)}; the counts are exact.`));
    }
  }

  // showValues shows the state at the selected step, and what it changes.
  showValues() {
    const box = $(".values", this.root);
    box.replaceChildren();
    if (this.step < 0) return;
    const t = this.t, pos = this.walk.pos.get(this.step), frame = t.frame[this.step];
    const known = t.state(this.step);
    const before = this.walk.steps[pos - 1], after = this.walk.steps[pos + 1];
    const follows = (a, b) => a !== undefined && b !== undefined && (t.n[b] === t.n[a] + 1 || t.paths[t.pathOf(b)].fork === t.n[a]);
    const was = follows(before, this.step) ? t.state(before) : null;
    if (follows(this.step, after)) this.showNext(box, known, t.state(after));
    for (let f = frame; f >= 0; f--) {
      if (frame > 0) box.append(make("h4", {}, f === frame ? `this function (frame ${f})` : f === frame - 1 ? `its caller (frame ${f})` : `frame ${f}`));
      for (let p = 0; p < 127; p++) this.value(box, f << 7 | p, known, was);
      const unknown = [...Array(11).keys()].filter(r => !known.get(f << 7 | r)).map(placeName);
      if (unknown.length > 0 && f === frame) {
        box.append(make("div", {class: "v none"}, make("span", {class: "val wide"}, unknown.join(" ")), make("span", {class: "say wide"}, "not written, must not be read")));
      }
    }
    this.value(box, 127, known, was);
  }

  value(box, place, known, was) {
    const text = this.d.texts[known.get(place) || 0], old = was ? this.d.texts[was.get(place) || 0] : text;
    if (!text && !old) return;
    const changed = text !== old;
    const say = gloss(text);
    box.append(make("div", {class: "v" + (text ? "" : " none") + (changed ? " changed" : "")},
      make("span", {class: "name"}, placeName(place)), make("span", {class: "val"}, text || "–"),
      say ? make("span", {class: "say"}, say) : null,
      changed && old ? make("span", {class: "was"}, old) : null));
  }

  // showNext lists what the selected instruction does to the state.
  showNext(box, known, after) {
    const list = [];
    for (const place of [...new Set([...known.keys(), ...after.keys()])].sort((a, b) => a - b)) {
      const a = this.d.texts[known.get(place) || 0], b = this.d.texts[after.get(place) || 0];
      if (a !== b) list.push(make("div", {}, make("span", {}, (frameOf(place) > 0 ? `frame ${frameOf(place)} ` : "") + placeName(place) + " → "), b || "–"));
    }
    if (list.length > 0 && list.length <= 12) box.append(make("div", {class: "after"}, make("span", {}, "this instruction leads to"), ...list));
  }

  listPaths() {
    const list = $(".paths .list", this.root), most = 1000;
    const from = Math.max(0, Math.min(this.path - most / 2, this.t.paths.length - most));
    list.replaceChildren(...this.t.paths.slice(from, from + most).map((p, i) => {
      const k = from + i, slot = p.lo < p.hi ? this.t.slot[p.lo] : "?";
      return make("button", {class: "p" + (k === this.path ? " sel" : ""), onclick: () => this.openPath(k)},
        `${k + 1}: from ${slot}, ${number(p.end - p.first)} steps, ${ENDS[p.how]}`);
    }));
  }

  listen() {
    const r = this.root;
    const find = e => e.target.closest("[data-s], [data-l], [data-go], [data-zoom], [data-view], [data-func]");
    r.addEventListener("click", e => {
      const d = find(e)?.dataset;
      if (!d || this.dragged) return;
      if (d.zoom) this.setZoom(d.zoom);
      else if (d.view) this.setView(d.view);
      else if (d.go) { this.step = -1; this.path = -1; this.begin(); }
      else if (d.l !== undefined) this.selectLine(+d.l);
      else if (d.slot !== undefined || d.s !== undefined) this.selectSlot(+(d.s ?? d.slot));
    });
    // Hovering shows what belongs together.
    r.addEventListener("mouseover", e => {
      const d = find(e)?.dataset, mark = e.target.closest(".marks span");
      if (mark) mark.title = MARKS[mark.className];
      let slots = [];
      if (d?.l !== undefined) slots = this.lineSlots.get(+d.l) || [];
      else if (d?.b !== undefined) slots = this.blockSlots.get(+d.b) || [];
      else if (d?.s !== undefined) slots = [+d.s];
      for (const h of this.hovered) h.classList.remove("hov");
      this.hovered = new Set(slots.flatMap(s => [this.rows.get(s), this.lines[this.d.line[s]], this.blocks.get(this.d.block[s])]).filter(h => h));
      for (const h of this.hovered) h.classList.add("hov");
    });
    $(".paths", r).addEventListener("toggle", () => this.listPaths());
    // The graph is moved by dragging.
    const g = $(".graph .scroll", r);
    g.addEventListener("pointerdown", e => {
      if (e.button !== 0) return;
      const x = e.clientX + g.scrollLeft, y = e.clientY + g.scrollTop;
      this.dragged = false;
      const move = m => {
        if (Math.abs(m.clientX - e.clientX) + Math.abs(m.clientY - e.clientY) > 4) { this.dragged = true; g.classList.add("drag"); }
        if (this.dragged) g.scrollTo(x - m.clientX, y - m.clientY);
      };
      addEventListener("pointermove", move);
      addEventListener("pointerup", () => { removeEventListener("pointermove", move); g.classList.remove("drag"); setTimeout(() => { this.dragged = false; }); }, {once: true});
    });
    g.addEventListener("wheel", e => {
      if (e.ctrlKey) { e.preventDefault(); this.setZoom(e.deltaY < 0 ? "in" : "out"); }
    }, {passive: false});
  }
}

// scrollTo brings el into view inside box, to its middle if it is out of sight.
function scrollTo(box, el, always) {
  const b = box.getBoundingClientRect(), e = el.getBoundingClientRect();
  if (b.height === 0) return;
  const edge = Math.min(48, b.height / 4);
  if (always || e.top < b.top + edge || e.bottom > b.bottom - edge) box.scrollTop += (e.top + e.bottom - b.top - b.bottom) / 2;
  if (!(el instanceof SVGElement)) return;
  if (always || e.left < b.left || e.right > b.right) box.scrollLeft += (e.left + e.right - b.left - b.right) / 2;
}

const views = [];
let view = null;
function open(index, n) {
  view = views[index] ||= new View(index);
  for (const b of $$("#programs button")) b.setAttribute("aria-selected", +b.dataset.prog === index);
  view.show(n);
}

function setTheme(theme) { document.documentElement.dataset.theme = theme; }
const dark = matchMedia("(prefers-color-scheme: dark)");
setTheme(dark.matches ? "dark" : "light");
dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
const toggleTheme = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");

const help = $("#help");
const KEYS = {
  j: v => v.move(1), ArrowDown: v => v.move(1), k: v => v.move(-1), ArrowUp: v => v.move(-1),
  J: v => v.moveLine(1), ArrowRight: v => v.moveLine(1), K: v => v.moveLine(-1), ArrowLeft: v => v.moveLine(-1),
  Home: v => v.move(-Infinity), End: v => v.end(), e: v => v.end(),
  n: v => v.movePath(1), p: v => v.movePath(-1), "]": v => v.moveVisit(1), "[": v => v.moveVisit(-1),
  o: v => v.other(), f: v => v.follow(),
  g: v => innerWidth > 1240 ? v.setZoom("big") : v.setView($(".panes").dataset.view === "graph" ? "source" : "graph"),
  "+": v => v.setZoom("in"), "=": v => v.setZoom("in"), "-": v => v.setZoom("out"), 0: v => v.setZoom("fit"),
  t: toggleTheme, "?": () => help.showModal(),
};
document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey || help.open || !view) return;
  if (e.key >= "1" && e.key <= "9") { if ($(`#prog-${e.key - 1}`)) open(e.key - 1); return; }
  if (e.target.type === "range" && e.key.startsWith("Arrow")) return;
  const act = KEYS[e.key];
  if (act) { e.preventDefault(); act(view); }
});
$("#theme").onclick = toggleTheme;
$("#keys").onclick = () => help.showModal();
$("#programs").onclick = e => { const b = e.target.closest("[data-prog]"); if (b) open(+b.dataset.prog); };

// An arrow's head for the edges of all graphs, in the edge's colour.
document.body.insertAdjacentHTML("beforeend", `<svg width="0" height="0" style="position:absolute;display:block" aria-hidden="true"><marker id="arrow" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="6" markerHeight="6" orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="context-stroke"/></marker></svg>`);

// The fragment says what to show: #program or #program/step.
function openFragment() {
  const [name, n] = location.hash.slice(1).split("/");
  const names = $$("#programs button").map(b => b.textContent.slice(1));
  let at = names.indexOf(decodeURIComponent(name));
  if (at < 0) at = Math.max(0, $$("#programs button").findIndex(b => $(".bad", b))); // the first that is refused
  if ($("#prog-" + at)) open(at, n === undefined ? undefined : +n);
}
addEventListener("hashchange", openFragment);
openFragment();
