const COLOURS = ["#0b6e8f", "#d1642a", "#4c8b3f", "#8a4fa3", "#b8912d", "#c2416b", "#3f6fb5", "#6b7a3a", "#2f9a92", "#8c5a3c"];
const $ = (id) => document.getElementById(id);
const colour = (at) => COLOURS[at % COLOURS.length];

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") node.className = value; else if (key.startsWith("on")) node.addEventListener(key.slice(2), value); else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}
function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
function time(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const sign = seconds < 0 ? "−" : "";
  let rest = Math.abs(Math.round(seconds));
  if (rest === 0) return seconds === 0 ? "0s" : sign + Math.abs(seconds).toFixed(1) + "s";
  const units = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const first = units.findIndex(([size]) => rest >= size);
  const told = [];
  for (const [size, unit] of units.slice(first, first + 2)) {
    if (rest >= size) told.push(Math.floor(rest / size) + unit);
    rest %= size;
  }
  return sign + told.join(" ");
}
const percent = (share) => (share > 0 && share < 0.01 ? (share * 100).toFixed(1) : Math.round(share * 100)) + "%";
const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

function tip(node, text) {
  node.addEventListener("mousemove", (event) => {
    const box = $("tip");
    box.textContent = text;
    box.style.display = "block";
    box.style.left = Math.min(event.clientX + 12, innerWidth - 300) + "px";
    box.style.top = event.clientY + 14 + "px";
  });
  node.addEventListener("mouseleave", () => { $("tip").style.display = "none"; });
}

/* Marks of an axis at round numbers. */
function marks(most, count) {
  if (!(most > 0)) return [0];
  const rough = most / count, power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const all = [];
  for (let at = 0; at <= most * 1.0001; at += step) all.push(at);
  return all;
}
function timeMarks(most) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800, 2592000];
  const step = steps.find((one) => most / one <= 8) || most / 6 || 1;
  const all = [];
  for (let at = 0; at <= most; at += step) all.push(at);
  return all;
}

const WIDTH = 1120, LEFT = 56, RIGHT = 14;
const across = (seconds, total) => LEFT + (WIDTH - LEFT - RIGHT) * (total > 0 ? seconds / total : 0);

function lines(target, series, total, most, label, clock = time) {
  const height = 220, top = 8, bottom = 24;
  const up = (value) => height - bottom - (height - top - bottom) * (most > 0 ? value / most : 0);
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": target });
  for (const value of marks(most, 4)) {
    chart.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: up(value), y2: up(value) }),
      svg("text", { x: LEFT - 6, y: up(value) + 4, "text-anchor": "end" }, label(value)));
  }
  for (const at of timeMarks(total)) chart.append(svg("text", { x: across(at, total), y: height - 6, "text-anchor": "middle" }, clock(at)));
  const caption = el("figcaption");
  series.forEach((one, number) => {
    const points = one.at.map((at, index) => `${across(at, total).toFixed(1)},${up(one.values[index]).toFixed(1)}`).join(" ");
    const line = svg("polyline", { points, fill: "none", stroke: colour(number), "stroke-width": 2, "stroke-linejoin": "round" });
    tip(line, one.name);
    chart.append(line);
    caption.append(el("span", {}, el("i", { style: `background:${colour(number)}` }), one.name));
  });
  $(target).replaceChildren(caption, chart);
}

function table(head, rows) {
  const cell = (name, text, number) => el(name, number ? { class: "number" } : {}, text);
  return el("table", {}, el("thead", {}, el("tr", {}, ...head.map(([text, number]) => cell("th", text, number)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((text, at) => cell("td", text, head[at][1]))))));
}
