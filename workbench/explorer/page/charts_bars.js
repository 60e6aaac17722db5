// Stacked bars and the heat map, ECharts' own series; what does not fit in memory is hatched.

const SHADES = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"]; // viridis: lightness alone tells it, too

function shade(share) {
  const at = Math.max(0, Math.min(1, share)) * (SHADES.length - 1), i = Math.min(Math.floor(at), SHADES.length - 2);
  return mix(SHADES[i], SHADES[i + 1], at - i);
}

const size = (value) => (value >= 16384 && value % 1024 === 0 ? `${value / 1024}K` : String(value)); // 16K is 16,384 tokens

const tooltip = (colors, formatter) => ({
  trigger: "item", confine: true, transitionDuration: 0, backgroundColor: colors.ground, borderColor: colors.faint, borderWidth: 1, padding: [6, 10],
  textStyle: { color: colors.ink, fontSize: 12 }, extraCssText: "max-width: 340px; white-space: normal",
  formatter: (item) => make("div", {}, formatter(item).map((line, n) => make(n ? "div" : "strong", {}, [line]))),
});

/** Bars of parts, one a row, from the left.
 *
 * section: unit; rows [{label, total, share, unfit, limit, parts [{name, value, color}]}]: values in the unit, bars as
 * long as their sums, or each as long as the chart where `share` is true; `limit` is a line across the bar (memory that
 * there is), `words` what the legend calls it. `unfit` hatches the row.
 */
charts.stacked = (el, page) => {
  const hidden = new Set(), own = make("div", { class: "wb-bars", role: "img" });
  const legendBox = make("div", { class: "wb-legend", role: "group", "aria-label": "Legend: what the bars show" });
  el.append(own, legendBox);
  const ROW = 46, THICK = 20;
  const rowsOf = ({ rows }) => {
    const found = new Map();
    for (const { parts: all } of rows) for (const { name, color } of all) found.set(name, color);
    return [...found].map(([label, color]) => ({ id: `b${label}`, label, color, marker: "square", hollow: false }));
  };
  const part = (row, name) => row.parts.find((each) => each.name === name);
  const long = (row, value) => (row.share ? value / row.total : value);
  const it = host(own, page, {
    height: (width, section) => ROW * section.rows.length + 6 + (section.rows.some(({ limit }) => limit) ? 18 : 0),
    legend: () => rowsOf(it.drawn().section),
    after: (now, colors) => legend(rowsOf(it.drawn().section), colors),
    option({ width }, colors) {
      const { section } = it.drawn(), { rows, unit } = section, all = rowsOf(section).filter(({ id }) => !hidden.has(id));
      const most = Math.max(...rows.map((row) => (row.share ? 1 : Math.max(1.005 * (row.limit ?? 0), row.parts.reduce((sum, { value }) => sum + value, 0)))), 1e-30);
      const inner = width - 4, font = `11px ${colors.font}`, wide = (words) => echarts.format.getTextRect(words, font).width;
      const inside = (row, one) => {
        const room = (inner * long(row, one.value)) / most - 6, value = row.share ? percent(one.value / row.total) : si(one.value, unit);
        return [`${one.name} ${value}`, value].find((words) => wide(words) < room) ?? "";
      };
      const series = all.map(({ label: name, color }) => {
        const shown = readable(color, colors.ground);
        return {
          type: "bar", name, stack: "one", barWidth: THICK, animation: false, emphasis: { disabled: true },
          itemStyle: { color: shown, borderColor: colors.ground, borderWidth: 1 },
          data: rows.map((row) => {
            const one = part(row, name);
            if (!one) return { value: 0 };
            const text = inside(row, one);
            return {
              value: long(row, one.value), ...(row.unfit ? { itemStyle: { decal: { ...DECAL } } } : {}),
              label: { show: Boolean(text), formatter: text, color: inkOn(shown), fontSize: 11, ...(row.unfit ? { backgroundColor: shown, padding: [1, 3] } : {}) },
            };
          }),
        };
      });
      if (rows.some(({ limit }) => limit)) series.push({
        type: "custom", silent: true, animation: false, z: 5, data: rows.map(({ limit }, i) => [limit ?? 0, i]),
        renderItem: (params, api) => {
          const { limit } = rows[params.dataIndex], [x, y] = api.coord([limit ?? 0, params.dataIndex]);
          if (!limit) return null;
          return { type: "wb-segments", shape: { segments: [[x, y - THICK / 2, x, y + THICK / 2 + 6]] }, style: { fill: null, stroke: colors.ink, lineWidth: 2.5 } };
        },
      });
      const head = (row) => `${row.label}   ${row.words ?? si(row.total, unit)}`;
      return {
        animation: false, textStyle: { fontFamily: colors.font },
        grid: { left: 2, top: 8, width: inner, height: ROW * rows.length, outerBoundsMode: "none" },
        xAxis: { type: "value", min: 0, max: most, show: rows.some(({ limit }) => limit), axisLabel: { formatter: (value) => si(value, unit), color: colors.faint, fontSize: 11, hideOverlap: true, alignMinLabel: "left", showMaxLabel: false }, splitLine: { show: false } },
        yAxis: {
          type: "category", inverse: true, data: rows.map(head), axisLine: { show: false }, axisTick: { show: false },
          axisLabel: { inside: true, margin: 0, interval: 0, color: colors.ink, fontSize: 12, fontWeight: 600, verticalAlign: "bottom", padding: [0, 0, THICK / 2 + 3, 0], width: inner, overflow: "truncate" }, z: 10,
        },
        tooltip: tooltip(colors, ({ seriesName, dataIndex }) => {
          const row = rows[dataIndex], { value } = part(row, seriesName) ?? { value: 0 };
          return [seriesName, `${si(value, unit)} of ${si(row.total, unit)}, ${percent(value / row.total)}`, row.label, ...(row.limit ? [`there are ${si(row.limit, unit)}`] : []), ...(row.unfit ? ["does not fit in the GPU's memory"] : [])];
        }),
        series,
      };
    },
  });
  const legend = legendOf(legendBox, hidden, () => it.paint());
  return {
    draw(section, picture) {
      own.setAttribute("aria-label", `Stacked bars. ${section.rows.map((row) => `${row.label}: ${row.words ?? si(row.total, section.unit)}${row.unfit ? ", does not fit in memory" : ""}, of which ${row.parts.map(({ name, value }) => `${name} ${percent(value / row.total)}`).join(", ")}`).join(". ")}`);
      it.draw(section, picture);
    },
    image: it.image,
  };
};
charts.bars = charts.stacked;

/** The heat map over batch size and length.
 *
 * section: values, bound, unfit (rows by batch size, of cells by length), batch_size, seq_len, unit, label, at (the
 * setting). `page.send` gets the setting that a click or an arrow key chooses.
 */
charts.heat = (el, page) => {
  const own = make("div", { class: "wb-heat", tabindex: 0, role: "application", "aria-roledescription": "heat map" });
  const live = make("div", { class: "wb-live", "aria-live": "polite" });
  el.append(own, live);
  const words = (section, b, s) => `batch ${count(section.batch_size[b])}, length ${count(section.seq_len[s])}: ${section.label} ${section.values[b][s] === null ? "none" : si(section.values[b][s], section.unit)}, ${boundName(section.bound[b][s])}-bound${section.unfit?.[b][s] ? ", does not fit in memory" : ""}`;
  const tall = ({ batch_size: rows }) => Math.max(252, Math.min(600, 18 * rows.length)); // the same for most, as a resize takes long
  let box = null;
  const it = host(own, page, {
    height: (width, section) => tall(section) + 122,
    option({ width }, colors, file) {
      const { section } = it.drawn(), { values, bound, unfit, batch_size: batches, seq_len: lengths, unit, at } = section;
      const all = values.flat().filter((value) => value !== null), low = Math.min(...all), high = Math.max(...all), log = low > 0 && high / low > 20;
      const position = (value) => (high === low ? 0.5 : log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
      const number = (value) => (value === null ? "" : unit === "s" ? si(value, unit) : tick(value, unit === "%" || unit === "FLOP/byte" ? 1e-4 : 1));
      const left = 54, inner = width - left - 8, height = tall(section), font = `11px ${colors.font}`;
      const room = inner / lengths.length - 6, roomy = all.length < 500 && height / batches.length > 14 && values.flat().every((value) => echarts.format.getTextRect(number(value), font).width < room);
      const data = values.flatMap((line, b) => line.map((value, s) => {
        const color = value === null ? "#808080" : shade(position(value));
        return { value: [s, b, value === null ? null : position(value)], itemStyle: { color } };
      }));
      const kinds = [...new Set(bound.flat())].sort(), none = unfit?.flat().some(Boolean);
      const axis = { axisTick: { show: false }, axisLine: { show: false }, splitArea: { show: false }, nameLocation: "middle", nameTextStyle: { color: colors.ink, fontSize: 12 } };
      const bottom = 8 + height, note = [
        kinds.length > 1 ? `white line: ${kinds.map(boundName).join(" | ")}-bound` : `all ${boundName(kinds[0])}-bound`,
        ...(none ? ["hatched: does not fit in memory"] : []),
      ].join(width < 520 ? "\n" : "; ");
      return {
        animation: false, textStyle: { fontFamily: colors.font }, grid: { left, top: 8, width: inner, height, outerBoundsMode: "none" },
        xAxis: { ...axis, type: "category", data: lengths.map(size), name: "Sequence length (tokens)", nameGap: 26, axisLabel: { color: colors.ink, fontSize: 12, hideOverlap: true, interval: lengths.length > 40 ? "auto" : 0 } },
        yAxis: { ...axis, type: "category", data: batches.map(size), name: "Batch size", nameGap: 38, axisLabel: { color: colors.ink, fontSize: 12, hideOverlap: true, interval: batches.length > 20 ? "auto" : 0 } },
        visualMap: {
          type: "continuous", dimension: 2, min: 0, max: 1, orient: "horizontal", left: left - 8, top: bottom + 50, itemWidth: 10, itemHeight: 110, calculable: false, hoverLink: false, seriesIndex: 0,
          text: all.length ? [si(high, unit), si(low, unit)] : ["", ""], textStyle: { color: colors.ink, fontSize: 11 }, inRange: { color: SHADES }, outOfRange: { color: "#808080" },
        },
        title: [{ text: note, left, top: bottom + 76, padding: 0, textStyle: { color: colors.ink, fontSize: 12, fontWeight: "normal", lineHeight: 16 } }],
        tooltip: tooltip(colors, ({ value }) => {
          const [first, ...rest] = words(section, value[1], value[0]).split(": ");
          return [first, ...rest.join(": ").split(", ")];
        }),
        series: [
          { type: "heatmap", data, itemStyle: { borderColor: colors.ground, borderWidth: all.length < 2000 ? 1 : 0 }, emphasis: { disabled: true } },
          {
            type: "custom", silent: true, clip: false, animation: false, z: 4, data: [[0, 0]],
            renderItem: ({ coordSys: c }) => {
              if (!file) box = c;
              const [w, h] = [c.width / lengths.length, c.height / batches.length], edges = [], lines = [], numbers = [];
              const corner = (s, b) => [c.x + w * s, c.y + c.height - h * (b + 1)];
              bound.forEach((line, b) => line.forEach((here, s) => {
                const [x, y] = corner(s, b);
                if (s + 1 < line.length && line[s + 1] !== here) edges.push([x + w, y, x + w, y + h]);
                if (b + 1 < batches.length && bound[b + 1][s] !== here) edges.push([x, y, x + w, y]);
                if (unfit?.[b][s]) lines.push(...hatch(x, y, w, h));
                const value = values[b][s], color = value === null ? "#808080" : shade(position(value));
                if (roomy) numbers.push({ type: "text", x: x + w / 2, y: y + h / 2, style: { text: number(value), font, fill: inkOn(color), align: "center", verticalAlign: "middle", ...(unfit?.[b][s] ? { backgroundColor: color, padding: [1, 3] } : {}) } });
              }));
              const [b, s] = [batches.indexOf(at.batch_size), lengths.indexOf(at.seq_len)], [x, y] = corner(s, b);
              const drawn = (segments, stroke, lineWidth) => ({ type: "wb-segments", shape: { segments }, style: { fill: null, stroke, lineWidth } });
              return { type: "group", children: [
                drawn(lines, "rgba(255,255,255,0.55)", 2.6), drawn(lines, "#000000", 1), drawn(edges, "#000000", 5), drawn(edges, "#ffffff", 2.4),
                { type: "rect", shape: { x: x + 1.5, y: y + 1.5, width: w - 3, height: h - 3 }, style: { fill: null, stroke: "#000000", lineWidth: 4.5 } },
                { type: "rect", shape: { x: x + 1.5, y: y + 1.5, width: w - 3, height: h - 3 }, style: { fill: null, stroke: "#ff5fa2", lineWidth: 2.4 } }, ...numbers,
              ] };
            },
          },
        ],
      };
    },
  });
  function go(b, s) {
    const { section } = it.drawn();
    if (b in section.batch_size && s in section.seq_len) page.send({ kind: "update", fields: { setting: { batch_size: section.batch_size[b], seq_len: section.seq_len[s] } } });
  }
  own.addEventListener("click", (event) => {
    if (!box) return;
    const { left, top } = it.plot.getBoundingClientRect(), { section } = it.drawn();
    const s = Math.floor(((event.clientX - left - box.x) / box.width) * section.seq_len.length);
    go(section.batch_size.length - 1 - Math.floor(((event.clientY - top - box.y) / box.height) * section.batch_size.length), s);
  });
  own.addEventListener("keydown", (event) => {
    const move = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, 0], ArrowDown: [-1, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    const { section } = it.drawn();
    go(section.batch_size.indexOf(section.at.batch_size) + move[0], section.seq_len.indexOf(section.at.seq_len) + move[1]);
  });
  return {
    draw(section, picture) {
      const here = words(section, section.batch_size.indexOf(section.at.batch_size), section.seq_len.indexOf(section.at.seq_len));
      own.setAttribute("aria-label", `Heat map over batch size and length; arrow keys move the setting. At ${here}`);
      if (own.matches(":focus")) live.textContent = here;
      it.draw(section, picture);
    },
    image: it.image,
  };
};
