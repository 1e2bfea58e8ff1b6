// Runs after the page's script: uses the page as a reader would, and leaves
// what it saw as JSON for the Go test.
const seen = {};
const note = (name, value) => { seen[name] = value; };
const one = sel => document.querySelector("#main " + sel);
const press = key => { (document.activeElement || document.body).dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true})); };
const click = e => e.dispatchEvent(new MouseEvent("click", {bubbles: true}));
const hover = e => e.dispatchEvent(new MouseEvent("mouseover", {bubbles: true}));
const at = () => +(one(".i.sel")?.dataset.s ?? -1);
const where = () => one(".walk").innerText.replace(/\s+/g, " ").trim();
const value = name => [...document.querySelectorAll("#main .v")].find(v => v.querySelector(".name")?.textContent === name)?.querySelector(".val").textContent ?? "";
const changed = () => [...document.querySelectorAll("#main .v.changed .name")].map(e => e.textContent).join(" ");
const visible = e => { const r = e.getBoundingClientRect(); return r.width > 0 && r.height > 0; };

// rgba of any CSS colour, by painting it.
const pixel = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const painted = new Map();
function rgba(colour) {
  if (!painted.has(colour)) {
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = colour;
    pixel.fillRect(0, 0, 1, 1);
    painted.set(colour, [...pixel.getImageData(0, 0, 1, 1).data]);
  }
  return painted.get(colour);
}
function luminance([r, g, b]) {
  const f = c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  return .2126 * f(r) + .7152 * f(g) + .0722 * f(b);
}
function background(e) {
  for (; e; e = e.parentElement) {
    const rect = e.matches("g.b") ? e.querySelector("rect") : null;
    const c = rgba(rect ? getComputedStyle(rect).fill : getComputedStyle(e).backgroundColor);
    if (c[3] === 255) return c;
  }
  return [255, 255, 255, 255];
}

// contrast finds the text that stands out least from what is behind it (WCAG's ratio).
function contrast() {
  let worst = {ratio: 99, text: ""};
  const cache = new Map();
  for (const e of document.querySelectorAll("header *, #main *, dialog[open] *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !visible(e) || e.matches("title, :disabled") || e.closest(":disabled")) continue;
    const s = getComputedStyle(e);
    const fore = rgba(e instanceof SVGElement ? s.fill : s.color), back = background(e);
    const key = fore + "/" + back;
    if (!cache.has(key)) {
      const a = luminance(fore), b = luminance(back);
      cache.set(key, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
    }
    if (cache.get(key) < worst.ratio) worst = {ratio: cache.get(key), text: `${e.tagName}.${e.getAttribute("class") || ""} ${e.textContent.slice(0, 40)}`};
  }
  return worst;
}

try { drive(); } catch (e) { trouble.push("driver: " + e.stack); }
seen.requests = performance.getEntriesByType("resource").map(r => r.name);
seen.trouble = trouble;
document.documentElement.innerHTML = "<body><pre id=result></pre></body>";
document.getElementById("result").textContent = JSON.stringify(seen);
