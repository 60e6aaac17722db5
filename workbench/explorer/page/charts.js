// What all charts share: ECharts on a canvas, colours that can be read on light and dark ground, markers, files.
//
// charts.roofline | bars | stacked | heat | scatter | lines | overTime (el, page) makes a chart in `el` once and returns
// { draw(section, picture), image(kind) }: draw takes what Python computed, image gives a Promise of a Blob, kind "svg"
// or "png", with title, setting, date and version in it. What a section holds is said at each chart.

const charts = {};

// Colours ---------------------------------------------------------------------------------------------------------

const parts = (color) => (color.match(/^#/) ? [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)) : color.match(/[\d.]+/g).slice(0, 3).map(Number));

function luminance(color) {
  const [r, g, b] = parts(color).map((part) => (part / 255 <= 0.03928 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** The contrast of two colours, 1 to 21 (WCAG 2.2). */
function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

function mix(color, other, share) {
  const to = parts(other);
  return `#${parts(color).map((part, i) => Math.round(part + (to[i] - part) * share).toString(16).padStart(2, "0")).join("")}`;
}

const inkOn = (color) => (contrast(color, "#000000") >= contrast(color, "#ffffff") ? "#000000" : "#ffffff");

/** A colour, darker or lighter where it would not stand out from the ground: marks need 3:1. */
const readable = Object.assign((color, ground, least = 3) => {
  const key = color + ground + least;
  if (readable.known.has(key)) return readable.known.get(key);
  let shown = color;
  for (let share = 0; contrast(shown, ground) < least && share <= 1; share += 0.05) shown = mix(color, inkOn(ground), share);
  readable.known.set(key, shown);
  return shown;
}, { known: new Map() });

/** The page's colours as they are now, for the canvas, which knows no variables of CSS; asked for again only by another
 * theme, as every question makes the browser lay out the page. */
const theme = Object.assign((el) => {
  const key = `${matchMedia("print").matches} ${matchMedia("(prefers-color-scheme: dark)").matches} ${document.body.dataset.jpThemeLight}`;
  if (theme.known?.key === key) return theme.known;
  const probe = el.appendChild(make("span")), found = { key };
  for (const name of ["ground", "ink", "faint", "line", "mark"]) {
    probe.style.color = `var(--${name})`;
    const color = getComputedStyle(probe).color, alpha = Number(color.match(/^rgba.*?([\d.]+)\)$/)?.[1] ?? 1);
    found[name] = mix(color, found.ground ?? "#ffffff", 1 - alpha);
  }
  probe.remove();
  found.font = getComputedStyle(el).fontFamily.replaceAll('"', "'"); // double quotes would end an attribute of SVG
  if (el.isConnected) theme.known = found;
  return found;
}, { known: null });

// Markers: corners for a radius of 1, circles apart ------------------------------------------------------------------

const star = Array.from({ length: 10 }, (_, i) => [(i % 2 ? 0.6 : 1.5) * Math.sin((Math.PI * i) / 5), -(i % 2 ? 0.6 : 1.5) * Math.cos((Math.PI * i) / 5)]);
const turned = (corners, turn) => corners.map(([x, y]) => [x * Math.cos(turn) - y * Math.sin(turn), x * Math.sin(turn) + y * Math.cos(turn)]);
const plus = [[-1.2, -0.4], [-0.4, -0.4], [-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4], [1.2, 0.4], [0.4, 0.4], [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4]];
const triangle = [[0, -1.2], [1.15, 0.9], [-1.15, 0.9]];
const hourglass = [[-1, -1.1], [1, -1.1], [0.25, 0], [1, 1.1], [-1, 1.1], [-0.25, 0]];
const MARKERS = {
  circle: null, square: [[-0.95, -0.95], [0.95, -0.95], [0.95, 0.95], [-0.95, 0.95]], triangle,
  diamond: [[0, -1.4], [1.2, 0], [0, 1.4], [-1.2, 0]], cross: plus, down: turned(triangle, Math.PI), star, x: turned(plus, Math.PI / 4),
  right: turned(triangle, Math.PI / 2), left: turned(triangle, -Math.PI / 2), hourglass, bowtie: turned(hourglass, Math.PI / 2),
};

function trace(path, kind, x, y, r) {
  const corners = MARKERS[kind];
  if (!corners) {
    path.moveTo(x + r, y);
    path.arc(x, y, r, 0, 2 * Math.PI);
    return;
  }
  for (let i = 0; i < corners.length; i++) path[i ? "lineTo" : "moveTo"](x + r * corners[i][0], y + r * corners[i][1]);
  path.closePath();
}

/** The same as a path of SVG, for the legend. */
function markerPath(kind, x, y, r) {
  if (!MARKERS[kind]) return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
  return `M${MARKERS[kind].map(([dx, dy]) => `${(x + r * dx).toFixed(2)} ${(y + r * dy).toFixed(2)}`).join("L")}Z`;
}

// Shapes that a custom series draws: thousands of marks are one path, which no series of a library does as fast ------

function shape(name, build) {
  echarts.graphic.registerShape(name, echarts.graphic.extendShape({ shape: {}, buildPath: build }));
}
shape("wb-marks", (path, { kind, px, py, r }) => {
  for (let i = 0; i < px.length; i++) trace(path, kind, px[i], py[i], r);
});
shape("wb-way", (path, { corners, closed }) => {
  corners.forEach(([x, y], i) => path[i ? "lineTo" : "moveTo"](x, y));
  if (closed) path.closePath();
});
shape("wb-segments", (path, { segments }) => {
  for (const [x1, y1, x2, y2] of segments) {
    path.moveTo(x1, y1);
    path.lineTo(x2, y2);
  }
});

/** Diagonals inside a rectangle: what does not fit in memory. */
function hatch(x, y, w, h, gap = 7) {
  const segments = [];
  for (let c = Math.ceil((x + y) / gap) * gap; c < x + w + y + h; c += gap) { // the lines a + b = c
    const x1 = Math.max(x, c - y - h), x2 = Math.min(x + w, c - y);
    segments.push([x1, c - x1, x2, c - x2]);
  }
  return segments;
}
const DECAL = { symbol: "rect", dashArrayX: [1, 0], dashArrayY: [2, 5], rotation: -Math.PI / 4, color: "rgba(0,0,0,0.75)" };

// A chart in its element ----------------------------------------------------------------------------------------------

/** ECharts in `own`; `option(size, colors, file)` says what it shows at a size, once something was drawn. */
function host(own, page, { height, option, legend = () => [], after = () => {} }) {
  const plot = make("div", { class: "wb-plot" });
  own.append(plot);
  let chart = null, drawn = null, width = 0, wanted = "", seen = true, stale = false;
  const size = () => ({ width, height: typeof height === "function" ? height(width, drawn.section) : height });
  function paint() {
    if (!drawn || !width) return;
    const now = size();
    if (wanted !== `${now.width} ${now.height}`) plot.style.height = `${now.height}px`;
    stale = !seen;
    if (stale) return; // off the screen: once it comes near
    if (!chart) chart = echarts.init(plot, null, { renderer: "canvas", ...now });
    else if (wanted !== `${now.width} ${now.height}`) chart.resize({ ...now, silent: true });
    wanted = `${now.width} ${now.height}`;
    const colors = theme(own);
    chart.setOption(option(now, colors, false), { notMerge: true });
    chart.getZr().flush(); // in this frame, not in the next
    after(now, colors);
  }
  const sized = new ResizeObserver(([{ contentRect }]) => {
    if (Math.floor(contentRect.width) === width) return;
    width = Math.floor(contentRect.width);
    paint();
  });
  sized.observe(plot);
  const near = new IntersectionObserver((entries) => {
    seen = entries.at(-1).isIntersecting;
    if (seen && stale) paint();
  }, { rootMargin: "300px" });
  near.observe(plot);
  const scheme = matchMedia("(prefers-color-scheme: dark)"), again = () => requestAnimationFrame(paint);
  const printed = () => {
    seen = true;
    paint();
  };
  scheme.addEventListener("change", again);
  addEventListener("beforeprint", printed);
  page.onend(() => {
    sized.disconnect();
    near.disconnect();
    scheme.removeEventListener("change", again);
    removeEventListener("beforeprint", printed);
    chart?.dispose();
  });

  function draw(section, picture) {
    drawn = { section, picture };
    width ||= Math.floor(plot.clientWidth);
    paint();
  }

  /** The chart as a file: the same picture with its title above and its legend below. */
  async function image(kind) {
    const { section, picture } = drawn, w = Math.max(width, 760), h = typeof height === "function" ? height(w, section) : height;
    const colors = theme(own), rows = legend(), font = `12px ${colors.font}`;
    let lines = rows.length ? 1 : 0, at = 0;
    for (const { label } of rows) {
      const wide = 34 + echarts.format.getTextRect(label, font).width;
      [lines, at] = at + wide > w - 20 ? [lines + 1, wide] : [lines, at + wide];
    }
    const top = 58, whole = { width: w, height: h + top + 20 * lines + (lines ? 8 : 0) }, given = option({ width: w, height: h }, colors, true);
    const words = (text, place, size_, more) => ({ text, left: 8, top: place, padding: 0, textStyle: { fontSize: size_, lineHeight: size_ + 4, width: w - 16, overflow: "truncate", ...more } });
    const heading = [
      words(`${own.dataset.title ?? ""}${picture.title ? `: ${picture.title}` : ""}`, 8, 15, { color: colors.ink }),
      words([own.dataset.setting, today(), `Roofline Workbench ${picture.version ?? ""}`].filter(Boolean).join("; "), 32, 12, { color: colors.faint, fontWeight: "normal" }),
    ];
    const moved = {
      ...given, backgroundColor: colors.ground, animation: false, title: [...heading, ...(given.title ?? []).map((title) => ({ ...title, top: title.top + top }))],
      grid: { ...given.grid, top: given.grid.top + top, height: given.grid.height },
      ...(given.visualMap ? { visualMap: { ...given.visualMap, top: given.visualMap.top + top } } : {}),
    };
    if (rows.length) {
      moved.legend = {
        left: 8, top: h + top, width: w - 16, itemWidth: 16, itemHeight: 10, itemGap: 14, textStyle: { color: colors.ink, fontSize: 12 },
        data: rows.map(({ label, marker, color, hollow }) => ({
          name: label, icon: `path://${markerPath(marker, 0, 0, 5)}`,
          itemStyle: { color: hollow ? "transparent" : readable(color || colors.ink, colors.ground), borderColor: readable(color || colors.ink, colors.ground), borderWidth: 1.4 },
        })),
      };
      moved.series = [...given.series, ...rows.map(({ label }) => ({ type: "custom", name: label, data: [], renderItem: () => null }))];
    }
    const other = kind === "svg" ? echarts.init(null, null, { renderer: "svg", ssr: true, ...whole }) : echarts.init(make("div"), null, { renderer: "canvas", devicePixelRatio: 2, ...whole });
    try {
      other.setOption(moved);
      other.getZr().flush();
      if (kind === "svg") return new Blob([other.renderToSVGString()], { type: "image/svg+xml" });
      return await new Promise((done) => other.renderToCanvas({ pixelRatio: 2, backgroundColor: colors.ground }).toBlob(done, "image/png"));
    } finally {
      other.dispose();
    }
  }
  return { plot, draw, image, paint, drawn: () => drawn, chart: () => chart };
}

function today() {
  const now = new Date();
  return `${now.getFullYear()}-${String(now.getMonth() + 1).padStart(2, "0")}-${String(now.getDate()).padStart(2, "0")}`;
}

// Legend, ticks ------------------------------------------------------------------------------------------------------

function svgNode(tag, attributes, children = []) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A legend of buttons below a chart, which keys reach, and which never covers it: each hides or shows its marks. */
function legendOf(parent, hidden, changed) {
  let written = "", all = [];
  const pressed = () => parent.querySelectorAll("button").forEach((node) => node.setAttribute("aria-pressed", String(!hidden.has(node.dataset.row))));
  const toggle = (event, only) => {
    const row = event.target.closest("button")?.dataset.row;
    if (row === undefined) return;
    const kind = row[0], others = all.filter(({ id }) => id[0] === kind && id !== row).map(({ id }) => id);
    if (only) {
      const alone = others.every((id) => hidden.has(id));
      others.forEach((id) => hidden[alone ? "delete" : "add"](id));
      hidden.delete(row);
    } else hidden.has(row) ? hidden.delete(row) : hidden.add(row);
    pressed();
    changed();
  };
  parent.addEventListener("click", (event) => toggle(event, event.shiftKey));
  return (rows, colors) => {
    const now = JSON.stringify([rows, colors]);
    if (now === written) return;
    [written, all] = [now, rows];
    parent.replaceChildren(...rows.map((row) => {
      const color = readable(row.color || colors.ink, colors.ground);
      const mark = svgNode("path", { d: markerPath(row.marker, 9, 8, 5), stroke: color, "stroke-width": 1.4, fill: row.hollow ? "none" : color, "fill-opacity": 0.85 });
      const drawing = svgNode("svg", { width: 18, height: 16, "aria-hidden": "true" }, [mark]);
      return make("button", { type: "button", "data-row": row.id, title: "Click: hide or show. Shift and click: show only this." }, [drawing, row.label]);
    }));
    pressed();
  };
}

/** A number of an axis: 0.001, 5, 20k, 3T. */
function tick(value, least = 1) {
  if (value < 1 && value >= least) return String(+value.toPrecision(3));
  const [scale, prefix] = PREFIXES.find(([smallest]) => value >= smallest * 0.99995) ?? [1, ""];
  return `${+(value / scale).toPrecision(3)}${prefix}`;
}

/** Where an axis of decades has its ticks, as powers of ten: decades, then 1, 2, 5, then even steps. */
function decadeTicks(low, high, most = 12) {
  const found = [], span = high - low;
  if (span >= 1.5) {
    const step = Math.ceil(span / most);
    for (let power = Math.ceil(low - 1e-9); power <= high + 1e-9; power += step) found.push(power);
    return found;
  }
  if (span >= 0.6) {
    for (let power = Math.floor(low); power <= high; power++) for (const digit of [1, 2, 5]) found.push(power + Math.log10(digit));
  } else {
    const [from, to] = [10 ** low, 10 ** high], rough = (to - from) / 5, unit = 10 ** Math.floor(Math.log10(rough));
    const step = unit * ([1, 2, 5, 10].find((factor) => factor * unit >= rough) ?? 10);
    for (let value = Math.ceil(from / step) * step; value <= to; value += step) found.push(Math.log10(value));
  }
  return found.filter((power) => power >= low - 1e-9 && power <= high + 1e-9);
}
