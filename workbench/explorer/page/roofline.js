// The tab Roofline: chart, bars, heat map, tables (see pictures.py). It places and formats numbers, and computes none.

function tickOld(value, least = 1) {
  if (value < 1 && value >= least) return String(+value.toPrecision(3));
  const [scale, prefix] = PREFIXES.find(([least]) => value >= least * 0.99995) ?? [1, ""];
  return `${+(value / scale).toPrecision(3)}${prefix}`;
}

const size = (value) => (value >= 16384 && value % 1024 === 0 ? `${value / 1024}K` : String(value)); // 16K is 16,384 tokens
const text = (x, y, words, attributes = {}) => ["text", { x: x.toFixed(1), y: y.toFixed(1), ...attributes }, words];
const wide = (words, size = 12) => words.length * size * 0.56; // about what a word takes, without asking the page

function logScale([low, high], [from, to]) {
  const a = Math.log10(low), b = Math.log10(high);
  return (value) => from + ((Math.log10(value) - a) / (b - a)) * (to - from);
}

function decades([low, high]) {
  const found = [];
  for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.log10(high) + 1e-9; power++) found.push(10 ** power);
  return found;
}

// Markers ---------------------------------------------------------------------------------------------------------

const MARKERSOld = {
  circle: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  square: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  triangle: (x, y, r) => `M${x} ${y - 1.2 * r}l${1.15 * r} ${2.1 * r}h${-2.3 * r}Z`,
  down: (x, y, r) => `M${x} ${y + 1.2 * r}l${1.15 * r} ${-2.1 * r}h${-2.3 * r}Z`,
  diamond: (x, y, r) => `M${x} ${y - 1.4 * r}l${1.2 * r} ${1.4 * r}l${-1.2 * r} ${1.4 * r}l${-1.2 * r} ${-1.4 * r}Z`,
  cross: (x, y, r) => `M${x - r} ${y - r / 3}h${r * 0.67}v${-r * 0.67}h${r * 0.67}v${r * 0.67}h${r * 0.67}v${r * 0.67}h${-r * 0.67}v${r * 0.67}h${-r * 0.67}v${-r * 0.67}h${-r * 0.67}Z`,
};
MARKERSOld.x = (x, y, r) => `M${x - r} ${y - r}l${2 * r} ${2 * r}M${x - r} ${y + r}l${2 * r} ${-2 * r}`;
MARKERSOld.star = (x, y, r) => [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => {
  const a = (Math.PI * i) / 5, far = (i % 2 ? 0.6 : 1.5) * r;
  return `${i ? "L" : "M"}${(x + far * Math.sin(a)).toFixed(1)} ${(y - far * Math.cos(a)).toFixed(1)}`;
}).join("") + "Z";
const marker = (kind, x, y, r) => MARKERSOld[kind](+x.toFixed(1), +y.toFixed(1), r);

// The roofline chart ----------------------------------------------------------------------------------------------

function pointAtOld(picture, group, i) {
  const lengths = picture.sizes.seq_len;
  return { ...group.at, batch_size: picture.sizes.batch_size[Math.floor(i / lengths.length)], seq_len: lengths[i % lengths.length] };
}

/** Give every group its columns of numbers; once for each picture. */
function unpackOld(picture) {
  const { groups, numbers } = picture.roofline, n = picture.sizes.batch_size.length * picture.sizes.seq_len.length;
  if (!groups.length || groups[0].x) return;
  const all = new Float64Array(numbers.buffer.slice(numbers.byteOffset, numbers.byteOffset + numbers.byteLength));
  groups.forEach((group, g) => ["x", "y", "time", "roof", "bound"].forEach((name, i) => {
    group[name] = [...all.subarray((5 * g + i) * n, (5 * g + i + 1) * n)];
  }));
}

function drawRoofline(svg, picture, width) {
  const chart = picture.roofline;
  const legend = legendRows(chart, width);
  const top = 8 + 12 * Math.min(chart.ceilings.length, 6), left = 58, right = width - 14;
  const bottom = top + Math.max(300, Math.min(460, width * 0.5)), height = bottom + 44 + legend.height;
  const x = logScale(chart.limits.x, [left, right]), y = logScale(chart.limits.y, [bottom, top]);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("height", height);

  const axes = [];
  for (const value of decades(chart.limits.x)) {
    axes.push(["line", { x1: x(value), x2: x(value), y1: top, y2: bottom, class: "wb-grid" }]);
    axes.push(text(x(value), bottom + 15, tickOld(value, 1e-4), { "text-anchor": "middle" }));
  }
  for (const value of decades(chart.limits.y)) {
    axes.push(["line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "wb-grid" }]);
    axes.push(text(left - 6, y(value) + 4, tickOld(value), { "text-anchor": "end" }));
  }
  axes.push(["path", { d: `M${left} ${top}V${bottom}H${right}`, class: "wb-axis" }]);
  axes.push(text((left + right) / 2, bottom + 33, "Operational intensity (FLOP/byte)", { "text-anchor": "middle" }));
  axes.push(text(0, 0, "Performance (FLOP/s)", { "text-anchor": "middle", transform: `translate(12 ${(top + bottom) / 2}) rotate(-90)` }));

  const behind = [], boxes = [], roofs = [], ridges = [];
  const way = (corners) => `M${corners.map(([a, b]) => `${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("L")}`;
  for (const range of chart.ranges) {
    const limits = `${digits(range.x_low)} to ${digits(range.x_high)} FLOP/byte`;
    if (!range.outline) {
      const at = x(range.x_low), title = [["title", {}, `ridge as transcribed, misread: ${digits(range.x_low)} FLOP/byte`]];
      behind.push(["path", { d: `M${at} ${top}V${bottom}`, class: "wb-range wb-misread" }, title]);
      ridges.push(text(at, top - 3, digits(range.x_low), { "text-anchor": "middle", class: "wb-small wb-misread" }));
      continue;
    }
    const d = `${way(range.outline)}Z`;
    behind.push(["path", { d, fill: range.color, class: "wb-range" }, [["title", {}, `published: ${range.series}, ${limits}`]]]);
    boxes.push(["path", { d, class: "wb-range-edge", ...(range.box ? {} : { style: `stroke: ${range.color}` }) }]);
  }
  chart.ceilings.forEach((ceiling, number) => {
    ceiling.lines.forEach((line, i) => {
      const [slope, flat, ridge] = ceiling.colors ?? [];
      const parts = ceiling.colors ? [[line.slice(0, 2), slope], [line.slice(1), flat]] : [[line, ""]];
      for (const [part, color] of parts)
        roofs.push(["path", { d: way(part), class: "wb-roof", "stroke-dasharray": color ? "7 4" : ceiling.dash, ...(color ? { style: `stroke: ${color}` } : {}) }]);
      const at = x(ceiling.ridges[i]);
      roofs.push(["line", { x1: at, x2: at, y1: top, y2: bottom, class: "wb-ridge", "stroke-dasharray": ridge ? "5 4" : ceiling.dash || "1 0", ...(ridge ? { style: `stroke: ${ridge}` } : {}) }]);
      if (number < 6) ridges.push(text(at, top - 3 - 12 * number, digits(ceiling.ridges[i]), { "text-anchor": "middle", class: "wb-small" }));
    });
  });
  // open markers lie over filled ones: both are seen where they meet
  const r = chart.groups.length > 16 ? 3.2 : 3.8, groups = [], rings = [];
  const lengths = picture.sizes.seq_len;
  const focus = picture.sizes.batch_size.indexOf(picture.bars.setting.batch_size) * lengths.length + lengths.indexOf(picture.bars.setting.seq_len);
  for (const group of [...chart.groups].sort((a, b) => a.hollow - b.hollow)) {
    group.px = group.x.map(x);
    group.py = group.y.map(y);
    const d = group.px.map((px, i) => marker(group.marker, px, group.py[i], r)).join("");
    groups.push(["path", { d, class: "wb-points", ...(group.hollow ? { fill: "none", stroke: group.color } : { fill: group.color, stroke: group.color }) }]);
    rings.push(marker("circle", group.px[focus], group.py[focus], r + 3));
  }
  const arrows = chart.arrows.flatMap(({ text: words, start, end, at }) => {
    const [x1, y1, x2, y2] = [x(start[0]), y(start[1]), x(end[0]), y(end[1])], long = Math.hypot(x2 - x1, y2 - y1);
    const [dx, dy] = [(x2 - x1) / long, (y2 - y1) / long], lines = words.split("\n");
    const [w, h, cx, cy] = [Math.max(...lines.map((line) => wide(line, 11))) + 10, 14 * lines.length + 6, x(at[0]), y(at[1])];
    const head = `M${x2} ${y2}L${x2 - 9 * dx - 4 * dy} ${y2 - 9 * dy + 4 * dx}L${x2 - 9 * dx + 4 * dy} ${y2 - 9 * dy - 4 * dx}Z`;
    return [
      ["path", { d: `M${cx} ${cy}L${x1} ${y1}`, class: "wb-leader" }], ["path", { d: `M${x1} ${y1}L${x2} ${y2}`, class: "wb-arrow" }],
      ["path", { d: head, class: "wb-head" }], ["rect", { x: cx - w / 2, y: cy - h / 2, width: w, height: h, rx: 4, class: "wb-label" }],
      ...lines.map((line, i) => text(cx, cy - h / 2 + 14 * (i + 1), line, { "text-anchor": "middle", class: "wb-small" })),
    ];
  });
  const pins = picture.compare.map((row, i) => text(x(row.intensity), y(row.performance) - 8, String(i + 1), { "text-anchor": "middle", class: "wb-pin" }));
  put(svg, [
    ["defs", {}, [["clipPath", { id: "wb-inside" }, [["rect", { x: left, y: top, width: right - left, height: bottom - top }]]]]],
    ["g", { class: "wb-axes" }, axes],
    ["g", { "clip-path": "url(#wb-inside)" }, [["g", {}, behind], ["g", {}, roofs], ["g", { class: chart.ceilings.some((ceiling) => ceiling.colors) ? "wb-groups wb-own" : "wb-groups" }, groups], ["g", {}, boxes], ["g", { class: "wb-arrows" }, arrows],
      ["path", { d: rings.join(""), class: "wb-setting" }], ["path", { d: "", class: "wb-hover" }]]],
    ["g", {}, ridges], ["g", { class: "wb-pins" }, pins],
    ["g", { class: "wb-legend", transform: `translate(0 ${bottom + 48})` }, legend.specs],
  ]);
}

function legendRows(chart, width) {
  const entries = chart.legend.map((entry) => ({
    words: entry.label,
    mark: ["path", { d: "", "data-marker": entry.marker, class: entry.color ? "" : "wb-ink", ...(entry.color ? { stroke: entry.color } : {}), fill: entry.hollow ? "none" : entry.color || "currentColor" }],
    marker: entry.marker,
  }));
  for (const { colors: [slope, flat], bandwidth, peaks } of chart.ceilings.filter((ceiling) => ceiling.colors).reverse()) {
    entries.unshift(...peaks.map((peak) => ({ words: si(peak, "FLOP/s"), dash: "7 4", color: flat })));
    entries.unshift({ words: `${si(bandwidth, "byte")}/s`, dash: "7 4", color: slope });
  }
  for (const ceiling of chart.ceilings.filter((ceiling) => !ceiling.colors))
    entries.push({ words: `${ceiling.gpu}: ${si(ceiling.bandwidth, "byte")}/s, ${ceiling.peaks.map((peak) => si(peak, "FLOP/s")).join(", ")}`, dash: ceiling.dash });
  if (chart.ranges.some((range) => range.outline)) entries.push({ words: "published range", range: true });
  for (const { x_low } of chart.ranges.filter((range) => !range.outline)) entries.push({ words: `misread ridge: ${digits(x_low)}`, dash: "2 3" });
  const specs = [];
  let at = 12, row = 0;
  for (const entry of entries) {
    const room = 26 + wide(entry.words) + 12;
    if (at + room > width && at > 12) [at, row] = [12, row + 1];
    const middle = 18 * row + 4;
    if (entry.mark) {
      const [tag, attributes] = entry.mark;
      specs.push([tag, { ...attributes, d: marker(entry.marker, at + 8, middle, 4.5) }]);
    } else if (entry.range) specs.push(["rect", { x: at, y: middle - 5, width: 18, height: 10, class: "wb-range wb-ink", fill: "currentColor" }]);
    else specs.push(["line", { x1: at - 2, x2: at + 20, y1: middle, y2: middle, class: "wb-roof", "stroke-dasharray": entry.dash, ...(entry.color ? { style: `stroke: ${entry.color}` } : {}) }]);
    specs.push(text(at + 24, middle + 4, entry.words));
    at += room;
  }
  return { specs, height: 18 * (row + 1) };
}

function describeOld(picture, group, i) {
  const at = pointAtOld(picture, group, i);
  return [
    setting(at),
    ...(group.label && Object.keys(at).length && picture.roofline.legend.some((row) => row.label === group.label) && group.label !== at.operator ? [group.label] : []),
    `${si(group.x[i], "FLOP/byte")}, ${si(group.y[i], "FLOP/s")}`,
    `${si(group.time[i], "s")} ${picture.roofline.what === "steps" ? "a step" : "a call"}, ${boundName(group.bound[i])}-bound`,
    `${percent(group.y[i] / group.roof[i])} of the roof (${si(group.roof[i], "FLOP/s")})`,
  ];
}

// Bars ------------------------------------------------------------------------------------------------------------

function dark(color) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b < 140;
}

function drawBars(svg, picture, width) {
  const { rows, setting: at, candidates } = picture.bars;
  const specs = [], inner = width - 4;
  const used = new Map();
  let y = 14;
  for (const row of rows) {
    specs.push(text(2, y, [row.gpu, row.model, row.phase].join(" · "), { class: "wb-strong" }));
    specs.push(text(width - 2, y, si(row.total, "s"), { "text-anchor": "end", class: "wb-strong" }));
    let x = 2;
    for (const part of row.parts) {
      used.set(part.operator, part.color);
      const w = inner * part.share, label = `${part.operator} ${percent(part.share)}`;
      const short = wide(label, 11) < w - 4 ? label : wide(percent(part.share), 11) < w - 2 ? percent(part.share) : "";
      specs.push(["g", { class: "wb-part" }, [
        ["title", {}, `${label}, ${si(part.time, "s")} of ${si(row.total, "s")}`],
        ["rect", { x: x.toFixed(1), y: y + 5, width: Math.max(w, 0.1).toFixed(1), height: 20, fill: part.color, class: "wb-cell" }],
        text(x + w / 2, y + 19, short, { "text-anchor": "middle", class: "wb-small", fill: dark(part.color) ? "#ffffff" : "#000000" }),
      ]]);
      x += w;
    }
    y += 46;
  }
  let x = 2;
  for (const [operator, color] of used) {
    if (x + 20 + wide(operator) > width) [x, y] = [2, y + 18];
    specs.push(["rect", { x, y: y - 9, width: 10, height: 10, fill: color }], text(x + 14, y, operator));
    x += 28 + wide(operator);
  }
  svg.setAttribute("viewBox", `0 0 ${width} ${y + 8}`);
  svg.setAttribute("height", y + 8);
  put(svg, specs);
  return `at batch ${count(at.batch_size)}, length ${count(at.seq_len)}${candidates ? `, candidates ${candidates}` : ""}`;
}

// Heat map --------------------------------------------------------------------------------------------------------

const VIRIDIS = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"];

function shade(share) {
  const at = Math.max(0, Math.min(1, share)) * (VIRIDIS.length - 1), i = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const mixed = [1, 3, 5].map((k) => {
    const [a, b] = [VIRIDIS[i], VIRIDIS[i + 1]].map((color) => parseInt(color.slice(k, k + 2), 16));
    return Math.round(a + (b - a) * (at - i)).toString(16).padStart(2, "0");
  });
  return `#${mixed.join("")}`;
}

function heatCells(heat, width) {
  const left = 52, top = 6, w = (width - left - 6) / heat.seq_len.length;
  const h = Math.max(24, 90 / heat.batch_size.length, Math.min(40, 280 / heat.batch_size.length));
  return { left, top, w, h, bottom: top + h * heat.batch_size.length };
}

function drawHeat(svg, picture, width) {
  const heat = picture.heat, { left, top, w, h, bottom } = heatCells(heat, width);
  const all = heat.values.flat().filter((value) => value !== null);
  const low = Math.min(...all), high = Math.max(...all), log = low > 0 && high / low > 20;
  const position = (value) => (high === low ? 0.5 : log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  const rows = heat.batch_size.length, cells = [], labels = [];
  let boundary = "";
  const number = (value) => (value === null ? "" : tickOld(value, heat.unit === "%" || heat.unit === "FLOP/byte" ? 1e-4 : 1));
  const roomy = all.every((value) => wide(number(value), 11) < w - 6); // all numbers or none
  const every = Math.ceil(Math.max(...heat.seq_len.map((value) => wide(size(value)))) / (w - 4)); // lengths that fit below
  heat.values.forEach((line, b) => line.forEach((value, s) => {
    const x = left + w * s, y = bottom - h * (b + 1), color = value === null ? "#808080" : shade(position(value));
    cells.push(["rect", { x: x.toFixed(1), y: y.toFixed(1), width: w.toFixed(1), height: h.toFixed(1), fill: color, class: "wb-cell" }]);
    if (roomy) labels.push(text(x + w / 2, y + h / 2 + 4, number(value), { "text-anchor": "middle", class: "wb-small", fill: dark(color) ? "#ffffff" : "#000000" }));
    const here = heat.bound[b][s];
    if (s + 1 < line.length && heat.bound[b][s + 1] !== here) boundary += `M${x + w} ${y}v${h}`;
    if (b + 1 < rows && heat.bound[b + 1][s] !== here) boundary += `M${x} ${y}h${w}`;
  }));
  heat.batch_size.forEach((value, b) => labels.push(text(left - 5, bottom - h * b - h / 2 + 4, size(value), { "text-anchor": "end" })));
  heat.seq_len.forEach((value, s) => s % every || labels.push(text(left + w * s + w / 2, bottom + 15, size(value), { "text-anchor": "middle" })));
  labels.push(text((left + width) / 2, bottom + 32, "Sequence length (tokens)", { "text-anchor": "middle" }));
  labels.push(text(0, 0, "Batch size", { "text-anchor": "middle", transform: `translate(12 ${(top + bottom) / 2}) rotate(-90)` }));
  const at = picture.bars.setting, b = heat.batch_size.indexOf(at.batch_size), s = heat.seq_len.indexOf(at.seq_len);
  const key = [], keyWidth = 110;
  for (let i = 0; i < 22; i++) key.push(["rect", { x: left + i * (keyWidth / 22), y: bottom + 42, width: keyWidth / 22 + 0.5, height: 9, fill: shade(i / 21) }]);
  key.push(text(left, bottom + 64, all.length ? si(low, heat.unit) : "", { class: "wb-small" }));
  key.push(text(left + keyWidth, bottom + 64, all.length ? si(high, heat.unit) : "", { "text-anchor": "end", class: "wb-small" }));
  const both = new Set(heat.bound.flat());
  const only = both.size === 1 ? `all ${boundName([...both][0])}-bound` : `line: ${[...both].sort().map(boundName).join(" | ")}`;
  if (both.size > 1) key.push(["path", { d: `M${left + keyWidth + 14} ${bottom + 47}h24`, class: "wb-boundary-under" }], ["path", { d: `M${left + keyWidth + 14} ${bottom + 47}h24`, class: "wb-boundary" }]);
  key.push(text(left + keyWidth + (both.size > 1 ? 44 : 14), bottom + 51, only));
  svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 70}`);
  svg.setAttribute("height", bottom + 70);
  put(svg, [
    ["g", {}, cells], ["path", { d: boundary, class: "wb-boundary-under" }], ["path", { d: boundary, class: "wb-boundary" }],
    ["rect", { x: left + w * s + 2, y: bottom - h * (b + 1) + 2, width: w - 4, height: h - 4, class: "wb-here" }],
    ["g", {}, labels], ["g", {}, key],
  ]);
}

const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "fill-opacity", "font-size", "font-family", "font-weight", "text-anchor", "paint-order"];

/** A chart as it looks now, as a file of its own: styles written into it, the page's ground behind it. */
function standalone(svg) {
  const copy = svg.cloneNode(true), from = [...svg.querySelectorAll("*")];
  [...copy.querySelectorAll("*")].forEach((node, i) => {
    const style = getComputedStyle(from[i]);
    for (const name of STYLES) if (style.getPropertyValue(name)) node.setAttribute(name, style.getPropertyValue(name));
    node.removeAttribute("class");
  });
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  copy.setAttribute("xmlns", SVG);
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  for (const name of ["class", "tabindex", "style"]) copy.removeAttribute(name);
  const ground = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ width, height, fill: getComputedStyle(svg.closest(".wb-views")).backgroundColor })) ground.setAttribute(name, value);
  copy.prepend(ground);
  return { words: new XMLSerializer().serializeToString(copy), width, height };
}


function imageOf(svg, kind) {
  const { words, width, height } = standalone(svg), image = new Image(), scale = 2;
  if (kind === "svg") return new Blob([words], { type: "image/svg+xml" });
  return new Promise((resolve) => {
    image.onload = () => {
      const canvas = make("canvas", { width: width * scale, height: height * scale });
      canvas.getContext("2d").drawImage(image, 0, 0, width * scale, height * scale);
      canvas.toBlob(resolve);
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(words)}`;
  });
}

function makeRoofline(page) {
  const model = page, picture = page.picture;
  const svgOf = (label, attributes = {}) => {
    const svg = document.createElementNS(SVG, "svg");
    for (const [name, value] of Object.entries({ role: "img", "aria-label": label, width: "100%", ...attributes })) svg.setAttribute(name, value);
    return svg;
  };
  const roofline = svgOf("Roofline chart. Arrow keys walk through its points, Enter pins one.", { tabindex: 0, class: "wb-roofline" });
  const bars = svgOf("Time by operator, stacked bars", { class: "wb-bars" });
  const heat = svgOf("Heat map over batch size and length. Arrow keys move the setting that the bars are of.", { tabindex: 0, class: "wb-heat" });
  const tip = make("div", { class: "wb-tip", "aria-live": "polite" });
  const files = (svg, name) => page.files({ image: (kind) => imageOf(svg, kind) }, name);
  const choice = (name, label) => make("select", { "aria-label": label, "data-name": name, onchange: (event) => page.send({ kind: "update", fields: { heat: { [name]: event.target.value } } }) });
  const choices = { variable: "Variable", operator: "Operator", phase: "Phase", gpu: "GPU", model: "Model" };
  const selects = Object.entries(choices).map(([name, label]) => choice(name, `${label} of the heat map`));
  const summary = make("div"), compare = make("div", { class: "wb-compare" });
  const published = make("div", { class: "wb-published" });
  const unpinAll = page.button("Unpin all", () => page.send({ kind: "unpin", number: null }));
  const toAudit = page.button("Audit rows", () => {
    const rows = root.querySelector(".wb-audit");
    rows.open = true;
    rows.scrollIntoView({ behavior: "smooth" });
  }, "What the source prints, beside what is recomputed");
  const root = make("div", { class: "wb-grid-of-two" }, [
    page.section("roofline", "Roofline", [toAudit, ...files(roofline, "roofline")], make("div", { class: "wb-chart" }, [roofline, tip])),
    page.section("published", "Published numbers", [], published),
    page.section("bars", "Time by operator", files(bars, "time-by-operator"), bars),
    page.section("heat", "Batch size and length", files(heat, "heat-map"), make("div", { class: "wb-choices" }, selects), heat),
    page.section("summary", "Summary", [], summary),
    page.section("compare", "Comparison of pinned points", [unpinAll], compare),
  ]);
  const sub = (name, words) => { root.querySelector(`.wb-${name}-section .wb-sub`).textContent = words; };
  const width = { roofline: 280, bars: 280, heat: 280 };

  function draw(now) {
    if (!now.roofline) return;
    unpackOld(now);
    drawRoofline(roofline, now, width.roofline);
    sub("bars", `${now.bars.whole ? "share of the step" : "share of these operators"} ${drawBars(bars, now, width.bars)}`);
    drawHeat(heat, now, width.heat);
    for (const select of selects) {
      const name = select.dataset.name, options = now.heat.choices[name];
      const words = { time: now.heat.whole ? "time per step" : "time per call", roof: "share of the roof" };
      put(select, options.map((option) => ["option", { value: option }, words[option] ?? option]));
      select.value = now.heat.chosen[name];
      select.hidden = options.length < 2;
    }
    sub("heat", `${now.heat.label}, ${now.heat.unit}`);
    const at = now.bars.setting;
    sub("summary", `whole step at batch ${count(at.batch_size)}, length ${count(at.seq_len)}`);
    page.table(summary, {
      columns: [
        { key: "gpu", title: "GPU" }, { key: "model", title: "model" }, { key: "phase", title: "phase" },
        ...[["time", "time per step", "s"], ["flops", "FLOPs", "FLOP"], ["bytes", "bytes", "byte"], ["intensity", "intensity", "FLOP/byte"], ["performance", "performance", "FLOP/s"]]
          .map(([key, title, unit]) => ({ key, title, number: true, show: (value) => si(value, unit) })),
      ],
      rows: now.summary, empty: "A step's time is the sum over the fused operators: choose the operators \"fused\".",
    });
    drawCompare(now);
    drawPublished(now);
    if (hover) show(hover.group < now.roofline.groups.length ? hover : null);
  }

  function drawCompare(now) {
    const first = now.compare[0];
    unpinAll.hidden = !first;
    page.table(compare, {
      columns: [
        { key: "number", title: "" }, { key: "at", title: "setting", show: setting }, { key: "settings", title: "settings besides", show: (value) => value || "defaults" },
        { key: "intensity", title: "intensity", number: true, show: (value) => si(value, "FLOP/byte") }, { key: "performance", title: "performance", number: true, show: (value) => si(value, "FLOP/s") },
        { key: "roof", title: "of the roof", number: true, show: (value, row) => percent(row.performance / value) }, { key: "time", title: "time", number: true, show: (value) => si(value, "s") },
        { key: "against", title: "against 1", number: true, show: (value, row) => `${digits(row.time / first.time)} ×` }, { key: "bound", title: "bound", show: boundName },
        { key: "unpin", title: "", show: (value, row) => [["button", { type: "button", "data-unpin": row.number - 1, title: "Unpin" }, "×"]] },
      ],
      rows: now.compare.map((row, i) => ({ ...row, number: i + 1 })),
      empty: "Click a point of the roofline to pin it here; it stays, with its settings, while the view changes.",
    });
  }

  compare.addEventListener("click", (event) => {
    const number = event.target.dataset?.unpin;
    if (number !== undefined) model.send({ kind: "unpin", number: Number(number) });
  });

  function drawPublished(now) {
    const shown = now.published;
    root.querySelector(".wb-published-section").hidden = toAudit.hidden = !shown;
    sub("roofline", shown ? shown.name : "");
    if (!shown) return put(published, []);
    sub("published", shown.name);
    const counts = new Map(), columns = ["published", "where", "number", "source's formula", "ours", "verdict"];
    for (const { verdicts } of shown.sources)
      for (const [verdict, rows] of Object.entries(verdicts)) counts.set(verdict, (counts.get(verdict) ?? 0) + rows.length);
    const total = [...counts.values()].reduce((sum, rows) => sum + rows, 0);
    const cited = ({ title, citation, url }) => ["p", {}, [
      ["strong", {}, `${title}: `], url ? ["a", { href: url, target: "_blank", rel: "noopener" }, citation] : ["span", {}, citation],
    ]];
    const judged = ([verdict, rows]) => ["tbody", {}, [
      ["tr", {}, [["th", { colspan: columns.length }, `${verdict}: ${rows.length}`]]],
      ...rows.map((row) => ["tr", { title: row.reason }, [row.statement, row.where, `${row.published} ${row.unit === "1" ? "" : row.unit}`, row.source_formula, row.ours, row.verdict].map((cell) => ["td", {}, cell])]),
    ]];
    put(published, [
      ["p", {}, shown.caption], ...shown.sources.map(cited),
      ["details", { class: "wb-audit", ...(open ? { open: "" } : {}) }, [
        ["summary", {}, `Audit: ${total} published numbers recomputed; ${[...counts].map(([verdict, rows]) => `${verdict}: ${rows}`).join(", ")}`],
        ...shown.sources.flatMap((source) => [
          ["h3", {}, source.title],
          ["table", {}, [
            ["thead", {}, [["tr", {}, columns.map((cell) => ["th", {}, cell])]]], ...Object.entries(source.verdicts).map(judged),
          ]],
        ]),
      ]],
    ]);
  }
  let open = false;
  published.addEventListener("toggle", (event) => { open = event.target.open; }, true);

  // Points: hover, walk, pin
  let hover = null;
  function show(point) {
    hover = point;
    const now = picture(), ring = roofline.querySelector(".wb-hover");
    if (!point || !now.roofline) {
      tip.style.display = "none";
      ring?.setAttribute("d", "");
      return;
    }
    const group = now.roofline.groups[point.group], i = Math.min(point.i, group.x.length - 1);
    ring.setAttribute("d", marker("circle", group.px[i], group.py[i], 7));
    const lines = describeOld(now, group, i);
    put(tip, lines.map((line, n) => [n ? "div" : "strong", {}, line]));
    tip.style.display = "block";
    const room = tip.parentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(0, Math.min(group.px[i] + 14, room))}px`;
    const below = group.py[i] + 16;
    tip.style.top = `${below + tip.offsetHeight > roofline.clientHeight ? group.py[i] - tip.offsetHeight - 12 : below}px`;
  }
  function nearest(event) {
    const box = roofline.getBoundingClientRect(), now = picture();
    const scale = Number(roofline.getAttribute("viewBox").split(" ")[2]) / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = null, least = 18 ** 2;
    now.roofline.groups.forEach((group, g) => group.px?.forEach((px, i) => {
      const distance = (px - x) ** 2 + (group.py[i] - y) ** 2;
      if (distance < least) [best, least] = [{ group: g, i }, distance];
    }));
    return best;
  }
  const pin = (point) => {
    const now = picture();
    if (point) model.send({ kind: "pin", at: pointAtOld(now, now.roofline.groups[point.group], point.i) });
  };
  roofline.addEventListener("pointermove", (event) => show(nearest(event)));
  roofline.addEventListener("pointerleave", () => show(null));
  roofline.addEventListener("click", (event) => pin(nearest(event)));
  roofline.addEventListener("blur", () => show(null));
  roofline.addEventListener("keydown", (event) => {
    const groups = picture().roofline?.groups ?? [];
    if (!groups.length) return;
    const { group, i } = hover ?? { group: 0, i: -1 };
    const points = groups[group].x.length;
    const to = {
      ArrowRight: { group, i: (i + 1) % points }, ArrowLeft: { group, i: (i + points - 1) % points },
      ArrowDown: { group: (group + 1) % groups.length, i: Math.max(i, 0) }, ArrowUp: { group: (group + groups.length - 1) % groups.length, i: Math.max(i, 0) },
    }[event.key];
    if (to) show(to);
    else if (event.key === "Enter" || event.key === " ") pin(hover);
    else if (event.key === "Escape") show(null);
    else return;
    event.preventDefault();
  });

  // The heat map: the setting is where one clicks, or walks
  function go(b, s) {
    const { batch_size, seq_len } = picture().heat;
    if (b in batch_size && s in seq_len) model.send({ kind: "update", fields: { setting: { batch_size: batch_size[b], seq_len: seq_len[s] } } });
  }
  heat.addEventListener("click", (event) => {
    const box = heat.getBoundingClientRect(), { left, top, w, h } = heatCells(picture().heat, box.width);
    const rows = picture().heat.batch_size.length;
    go(rows - 1 - Math.floor((event.clientY - box.top - top) / h), Math.floor((event.clientX - box.left - left) / w));
  });
  heat.addEventListener("keydown", (event) => {
    const move = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, 0], ArrowDown: [-1, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    const now = picture();
    go(now.heat.batch_size.indexOf(now.bars.setting.batch_size) + move[0], now.heat.seq_len.indexOf(now.bars.setting.seq_len) + move[1]);
  });

  const sized = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) width[target.dataset.width] = Math.max(280, Math.floor(contentRect.width));
    draw(picture());
  });
  for (const [name, svg] of Object.entries({ roofline, bars, heat })) {
    svg.parentElement.dataset.width = name;
    sized.observe(svg.parentElement);
  }
  return { root, draw };
}

TABS.roofline = { title: "Roofline", make: makeRoofline };
