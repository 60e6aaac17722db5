// Points and lines over two axes: scatter (Frontier), lines, and two series over time; ECharts' own series.

/** Points or lines.
 *
 * section: x and y {label, unit, log, low, high}; series [{name, color, marker, hollow, line, dash, points [[x, y]],
 * words [lines of a tip, one a point], unfit [0 or 1, one a point]}], points with null are gaps; lines [{axis "x" or "y",
 * value, label}], such as a service level. `onpick(series, index)` is asked for with a click or Enter on a point.
 */
charts.scatter = (el, page, { onpick = null, line = false, name = "Chart" } = {}) => {
  const hidden = new Set(), live = make("div", { class: "wb-live", "aria-live": "polite" });
  const own = make("div", { class: "wb-xy", tabindex: 0, role: "application", "aria-roledescription": "chart" });
  const legendBox = make("div", { class: "wb-legend", role: "group", "aria-label": "Legend: what the chart shows" });
  el.append(own, legendBox, live);
  let at = null;
  const colorOf = (series, i) => series.color ?? LINES[i % LINES.length];
  const rows = () => it.drawn().section.series.map((series, i) => ({ id: `s${series.name}`, label: series.name, color: colorOf(series, i), marker: series.marker ?? "circle", hollow: Boolean(series.hollow) }));
  const tip = (section, s, i) => {
    const series = section.series[s], [x, y] = series.points[i];
    const own_ = series.words?.[i];
    return own_ ? [own_].flat() : [series.name, `${section.x.label}: ${si(x, section.x.unit)}`, `${section.y.label}: ${si(y, section.y.unit)}`, ...(series.unfit?.[i] ? ["does not fit in the GPU's memory"] : [])];
  };
  const it = host(own, page, {
    height: (width) => Math.max(280, Math.min(420, width * 0.5)),
    legend: () => rows().filter(({ id }) => !hidden.has(id)),
    after: (now, colors) => legend(rows().length > 1 ? rows() : [], colors),
    option({ width, height }, colors) {
      const { section } = it.drawn(), shown = section.series.map((series, s) => [series, s]).filter(([{ name: label }]) => !hidden.has(`s${label}`));
      const axis = ({ label, unit, log, low, high }, gap) => ({
        type: log ? "log" : "value", name: `${label}${unit ? ` (${unit})` : ""}`, nameLocation: "middle", nameGap: gap, min: low ?? (log ? undefined : 0), max: high ?? undefined,
        axisLabel: { color: colors.ink, fontSize: 12, hideOverlap: true, formatter: (value) => (value === 0 ? "0" : tick(value, 1e-4)) }, nameTextStyle: { color: colors.ink, fontSize: 12 },
        splitLine: { lineStyle: { color: colors.line, width: 0.6 } }, axisLine: { show: true, lineStyle: { color: colors.faint } },
      });
      const marks = (section.lines ?? []).map(({ axis: which, value, label }) => ({ [which === "x" ? "xAxis" : "yAxis"]: value, label: { formatter: label, position: which === "x" ? "insideEndTop" : "insideEndTop", color: colors.ink, fontSize: 11 } }));
      const series = shown.map(([one, s]) => {
        const color = readable(colorOf(one, s), colors.ground), many = one.points.length > 200, drawsLine = one.line ?? line;
        return {
          type: drawsLine ? "line" : "scatter", name: one.name, id: String(s), animation: false, connectNulls: false, emphasis: { disabled: true }, symbol: one.marker ? `path://${markerPath(one.marker, 0, 0, 5)}` : "circle",
          symbolSize: drawsLine ? 6 : 9, showSymbol: !drawsLine || !many, lineStyle: { color, width: 2, type: one.dash ? [6, 4] : "solid" },
          itemStyle: { color: one.hollow ? "transparent" : color, borderColor: color, borderWidth: 1.5 }, sampling: drawsLine && many ? "lttb" : undefined,
          data: one.points.map((value, i) => (one.unfit?.[i] ? { value, itemStyle: { color: colors.ground, borderColor: color } } : value)),
        };
      });
      if (marks.length) series.push({ type: "line", data: [], animation: false, markLine: { silent: true, symbol: "none", animation: false, data: marks, lineStyle: { color: colors.ink, type: "dashed", width: 1.2 } } });
      return {
        animation: false, textStyle: { fontFamily: colors.font }, grid: { left: 62, top: 14, width: width - 62 - 18, height: height - 14 - 48, outerBoundsMode: "none" },
        xAxis: axis(section.x, 28), yAxis: axis(section.y, 46), series,
        tooltip: { ...tooltip(colors, ({ seriesId, dataIndex }) => tip(section, Number(seriesId), dataIndex)), triggerOn: "mousemove" },
      };
    },
  });
  const legend = legendOf(legendBox, hidden, () => it.paint());

  // Points by the pointer and by keys
  const order = () => it.drawn().section.series.flatMap((series, s) => (hidden.has(`s${series.name}`) ? [] : series.points.map((point, i) => ({ s, i, x: point[0] })))).filter(({ x }) => x !== null).sort((a, b) => a.x - b.x);
  function walk(step) {
    const all = order(), n = all.findIndex(({ s, i }) => s === at?.s && i === at?.i);
    if (!all.length) return;
    at = all[n < 0 ? (step > 0 ? 0 : all.length - 1) : (n + step + all.length) % all.length];
    it.chart().dispatchAction({ type: "showTip", seriesId: String(at.s), dataIndex: at.i });
    live.textContent = tip(it.drawn().section, at.s, at.i).join(", ");
  }
  const pick = ({ s, i }) => onpick?.(it.drawn().section.series[s], i);
  own.addEventListener("keydown", (event) => {
    const act = {
      ArrowRight: () => walk(1), ArrowLeft: () => walk(-1), ArrowUp: () => walk(1), ArrowDown: () => walk(-1), Enter: () => at && pick(at),
      Escape: () => {
        at = null;
        it.chart()?.dispatchAction({ type: "hideTip" });
        live.textContent = "";
      },
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  let listens = false;
  return {
    draw(section, picture) {
      at = null;
      const count_ = section.series.reduce((sum, { points }) => sum + points.length, 0);
      own.setAttribute("aria-label", `${name}: ${section.y.label} over ${section.x.label}, ${count(count_)} points of ${section.series.map((series) => series.name).join(", ")}. Arrow keys walk through the points${onpick ? ", Enter chooses one" : ""}.`);
      it.draw(section, picture);
      if (!listens && it.chart()) {
        listens = true;
        it.chart().on("click", ({ seriesId, dataIndex }) => pick({ s: Number(seriesId), i: dataIndex }));
      }
    },
    image: it.image,
  };
};
charts.lines = (el, page, more = {}) => charts.scatter(el, page, { line: true, ...more });
charts.overTime = charts.lines;

//: Colours of series without one of their own (Petroff 2021).
const LINES = ["#3f90da", "#e76300", "#832db6", "#717581", "#bd1f01", "#a96b59", "#ffa90e", "#92dadd"];
