// The roofline chart. ECharts gives the axes and the canvas; roofs with words along their slopes, points in one path a
// group, the list of points that lie on each other, and the walk by keys are drawn here, as no library has them.
//
// section: limits {x, y}; ceilings [{gpu, bandwidth, peaks, ridges, dash, colors}]; groups [{label, at, color, hollow,
// marker, rows}] and their numbers as bytes; unfit as bytes; legend [{id, label, color, marker, hollow}]; ranges; arrows;
// focus, the point of the setting; what, "operators" or "steps". Of a measured section each group has its own points
// and numbers (measured_chart.py): filled markers are measured, open ones predicted, and none can be pinned.

const NEAR = 18, SAME = 5, LISTED = 12; // px to the pointer, px between points of one place, series in a tip

function pointAt(picture, group, i) {
  if (group.points) return { ...group.at, ...group.points[i] };
  const lengths = picture.sizes.seq_len;
  return { ...group.at, batch_size: picture.sizes.batch_size[Math.floor(i / lengths.length)], seq_len: lengths[i % lengths.length] };
}

/** Give every group its columns of numbers; once for each section. Measured groups have their own. */
function unpack(section, points) {
  const { groups, numbers, unfit } = section;
  if (section.unpacked) return;
  section.unpacked = true;
  const floats = (bytes) => new Float64Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const all = section.measured ? null : floats(numbers), none = unfit ? new Uint8Array(unfit.buffer, unfit.byteOffset, unfit.byteLength) : null;
  groups.forEach((group, g) => {
    const n = section.measured ? group.points.length : points, own = section.measured ? floats(group.numbers) : all.subarray(5 * g * n, 5 * (g + 1) * n);
    ["x", "y", "time", "roof", "bound", "predicted", "counted"].forEach((name, i) => { group[name] = own.subarray(i * n, (i + 1) * n); });
    group.lx = Float64Array.from(group.x, Math.log10);
    group.ly = Float64Array.from(group.y, Math.log10);
    group.px = new Float32Array(n);
    group.py = new Float32Array(n);
    group.unfit = none?.subarray(g * n, (g + 1) * n);
  });
}

function describe(section, picture, group, i) {
  const at = pointAt(picture, group, i), measured = section.measured;
  return [
    pointWords(at),
    ...(section.named && group.label !== at.operator ? [group.label] : []),
    `${si(group.x[i], "FLOP/byte")}, ${si(group.y[i], "FLOP/s")}${measured ? " measured" : ""}`,
    `${si(group.time[i], "s")} ${section.what === "steps" ? "a step" : "a call"}, ${boundName(group.bound[i])}-bound`,
    `${percent(group.y[i] / group.roof[i])} of the roof (${si(group.roof[i], "FLOP/s")})`,
    ...(measured ? [`predicted: ${si(group.counted[i], "FLOP/byte")}, ${si(group.predicted[i], "FLOP/s")}`] : []),
    ...(group.unfit?.[i] ? ["does not fit in the GPU's memory"] : []),
  ];
}

const pointWords = (at) => (at.batch_size && at.gpu && at.model ? setting(at) : Object.values(at).filter((value) => value !== null && value !== undefined).join(" · "));

/** Names of roofs where they are: peaks above the flat part, bandwidths along the slope, none over another. */
function roofLabels(section, shown, place, box, limits, colors) {
  const labels = [], taken = [], font = `11px ${colors.font}`, wide = (words) => echarts.format.getTextRect(words, font).width;
  const style = (words, more) => ({ text: words, font, fill: colors.ink, stroke: colors.ground, lineWidth: 3, ...more });
  const free = (x, y, w) => taken.every(([a, b, c]) => Math.abs(b - y) > 12.5 || x > a + c || a > x + w);
  const several = section.ceilings.length > 1, right = box.x + box.width;
  const tilt = Math.atan2(box.height / (limits[3] - limits[2]), box.width / (limits[1] - limits[0]));
  const [cos, sin] = [Math.cos(tilt), Math.sin(tilt)], slopes = [];
  const flats = shown.flatMap(({ peaks, ridges }) => peaks.map((peak, i) => place([ridges[i], peak])[1]));
  for (const ceiling of [...shown].sort((a, b) => Math.max(...b.peaks) - Math.max(...a.peaks))) {
    ceiling.peaks.forEach((peak, i) => {
      const [corner, y] = place([ceiling.ridges[i], peak]);
      if (y < box.y + 4 || y > box.y + box.height || corner > right - 40) return;
      const room = right - Math.max(corner, box.x) - 10;
      const from = Math.max(corner, box.x) + 8, off = (up) => flats.some((other) => other !== y && Math.abs(other - y - up) < 8);
      const found = [`${ceiling.gpu}: ${si(peak, "FLOP/s")}, ridge at ${digits(ceiling.ridges[i])}`, `${ceiling.gpu}: ${si(peak, "FLOP/s")}`, ceiling.gpu].flatMap((words) => {
        const w = wide(words), places = w < room ? [right - 6 - w, from].flatMap((left) => [[-12, left], [12, left]]) : []; // above or below, at the right or at the ridge
        return places.filter(([up, left]) => y + up > box.y + 6 && free(left, y + up, w)).map(([up, left]) => ({ words, w, up, left }));
      });
      const best = found.find(({ up }) => !off(up)) ?? found[0]; // rather not on another roof
      if (!best) return;
      taken.push([best.left, y + best.up, best.w]);
      labels.push({ type: "text", x: best.left, y: y + best.up, style: style(best.words, { verticalAlign: "middle" }) });
    });
    const ridge = Math.max(...ceiling.ridges), [x1, y1] = place([ridge, ridge * ceiling.bandwidth]);
    const words = `${several && box.width > 420 ? `${ceiling.gpu}: ` : ""}${si(ceiling.bandwidth, "byte")}/s`, w = wide(words);
    const long = Math.min((x1 - box.x) / cos, (box.y + box.height - y1) / sin); // of the slope in the picture, from its upper end
    for (const [share, up] of [[0.75, -12], [0.75, 12], [0.45, -12], [0.45, 12], [0.2, -12]]) {
      const [x, y] = [x1 - share * long * cos - up * -sin, y1 + share * long * sin + up * cos];
      const [u, v] = [x * cos - y * sin, x * sin + y * cos]; // along the slope, and across
      if (long < w + 30 || x - (w / 2) * cos < box.x || y + (w / 2) * sin > box.y + box.height || y < box.y + 10) continue;
      if (slopes.some(([a, b, c]) => Math.abs(b - v) < 12.5 && Math.abs(a - u) < (c + w) / 2)) continue;
      slopes.push([u, v, w]);
      labels.push({ type: "text", x, y, rotation: tilt, style: style(words, { align: "center", verticalAlign: "middle" }) });
      break;
    }
  }
  return labels;
}

/** Everything inside the axes, as elements of ECharts' custom series; where points are is kept in their groups. */
function rooflineElements(section, picture, box, limits, colors, visible, keep) {
  const sx = box.width / (limits[1] - limits[0]), sy = box.height / (limits[3] - limits[2]), bottom = box.y + box.height;
  const place = ([x, y]) => [box.x + (Math.log10(x) - limits[0]) * sx, bottom - (Math.log10(y) - limits[2]) * sy];
  const behind = [], roofs = [], marks = [], front = [], small = `11px ${colors.font}`;
  const line = (corners, color, width, dash, more = {}) => ({ type: "wb-way", shape: { corners, closed: false }, style: { fill: null, stroke: color, lineWidth: width, lineDash: dash, ...more } });
  for (const range of section.ranges) {
    if (!range.outline) {
      const [x] = place([range.x_low, 1]);
      behind.push(line([[x, box.y], [x, bottom]], colors.faint, 1, [2, 3]));
      front.push({ type: "text", x: x + 3, y: box.y + 8, style: { text: `misread: ${digits(range.x_low)}`, font: small, fill: colors.faint, stroke: colors.ground, lineWidth: 3, verticalAlign: "middle" } });
      continue;
    }
    const corners = range.outline.map(place), color = readable(range.color, colors.ground);
    behind.push({ type: "wb-way", shape: { corners, closed: true }, style: { fill: color, opacity: 0.22, stroke: null } });
    front.push({ type: "wb-way", shape: { corners, closed: true }, style: { fill: null, stroke: range.box ? colors.ink : color, lineWidth: 0.9 } });
  }
  const shown = section.ceilings.filter(({ gpu }) => !section.groups.length || section.groups.some((group) => group.at.gpu === gpu && visible(group)));
  for (const ceiling of shown) {
    const [slope, flat, ridge] = (ceiling.colors ?? [colors.faint, colors.faint, colors.faint]).map((color) => readable(color, colors.ground));
    const dash = ceiling.colors ? [7, 4] : ceiling.dash ? ceiling.dash.split(" ").map(Number) : null;
    ceiling.peaks.forEach((peak, i) => {
      const corner = place([ceiling.ridges[i], peak]), far = 10 ** (limits[1] + 1), low = 10 ** Math.min(limits[0] - 1, Math.log10(ceiling.ridges[i]) - 1);
      roofs.push(line([place([low, low * ceiling.bandwidth]), corner], slope, 1.8, dash), line([corner, place([far, peak])], flat, 1.8, dash));
      roofs.push(line([corner, [corner[0], bottom]], ridge, 1, [2, 4]));
    });
  }
  const r = section.groups.length > 16 ? 3.3 : 3.9, crossed = [], rings = { px: [], py: [] }, links = [];
  for (const group of [...section.groups].sort((a, b) => a.hollow - b.hollow)) { // open markers over filled ones: both are seen
    if (!visible(group)) continue;
    const n = group.lx.length, px = keep ? group.px : new Float32Array(n), py = keep ? group.py : new Float32Array(n);
    for (let i = 0; i < n; i++) {
      px[i] = box.x + (group.lx[i] - limits[0]) * sx;
      py[i] = bottom - (group.ly[i] - limits[2]) * sy;
      if (group.unfit?.[i]) crossed.push([px[i] - 5, py[i] + 5, px[i] + 5, py[i] - 5]);
    }
    const color = readable(group.color, colors.ground);
    marks.push({ type: "wb-marks", shape: { kind: group.marker, px, py, r }, style: { fill: group.hollow ? null : color, stroke: color, lineWidth: 1.4, fillOpacity: 0.8 } });
    if (section.measured) { // a line to where each point is predicted, and an open marker there
      const there = Array.from(group.counted, (x, i) => place([x, group.predicted[i]]));
      there.forEach(([x, y], i) => links.push([px[i], py[i], x, y]));
      marks.push({ type: "wb-marks", shape: { kind: group.marker, px: there.map(([x]) => x), py: there.map(([, y]) => y), r }, style: { fill: null, stroke: color, lineWidth: 1.2 } });
      continue;
    }
    rings.px.push(px[section.focus]);
    rings.py.push(py[section.focus]);
  }
  if (links.length) marks.unshift({ type: "wb-segments", shape: { segments: links }, style: { fill: null, stroke: colors.faint, lineWidth: 0.8 } });
  if (crossed.length) marks.push({ type: "wb-segments", shape: { segments: crossed }, style: { fill: null, stroke: colors.ink, lineWidth: 1 } });
  marks.push({ type: "wb-marks", shape: { kind: "circle", ...rings, r: r + 3.2 }, style: { fill: null, stroke: colors.ink, lineWidth: 1.2 } });
  for (const { text, start, end, at } of section.arrows) {
    const [from, to, middle] = [start, end, at].map(place), long = Math.hypot(to[0] - from[0], to[1] - from[1]);
    const [dx, dy] = [(to[0] - from[0]) / long, (to[1] - from[1]) / long];
    const head = [to, [to[0] - 9 * dx - 4 * dy, to[1] - 9 * dy + 4 * dx], [to[0] - 9 * dx + 4 * dy, to[1] - 9 * dy - 4 * dx]];
    front.push(line([middle, from], colors.faint, 1, null), line([from, to], colors.ink, 1.8, [2, 3]), { type: "wb-way", shape: { corners: head, closed: true }, style: { fill: colors.ink } });
    front.push({ type: "text", x: middle[0], y: middle[1], style: { text, font: small, fill: colors.ink, align: "center", verticalAlign: "middle", lineHeight: 14, backgroundColor: colors.ground, borderColor: colors.faint, borderWidth: 1, borderRadius: 4, padding: [3, 5] } });
  }
  (section.measured ? [] : picture.compare ?? []).forEach((row, i) => {
    const [x, y] = place([row.intensity, row.performance]);
    front.push({ type: "text", x, y: y - 12, style: { text: String(i + 1), font: `bold 13px ${colors.font}`, fill: colors.ink, stroke: colors.ground, lineWidth: 3, align: "center", verticalAlign: "middle" } });
  });
  return [...behind, ...roofs, ...marks, ...roofLabels(section, shown, place, box, limits, colors), ...front];
}

/** The axes of decades, on powers of ten; `draw(box)` gives the elements inside them. */
function rooflineOption({ width, height }, limits, colors, draw) {
  const narrow = width < 520;
  const axis = (low, high, name, words, most) => {
    const customValues = decadeTicks(low, high, most);
    return {
      type: "value", min: low, max: high, name, nameLocation: "middle", nameTextStyle: { color: colors.ink, fontSize: 12 },
      axisLabel: { customValues, formatter: words, color: colors.ink, fontSize: 12, hideOverlap: true, margin: 10 }, axisTick: { customValues, show: false },
      splitLine: { customValues, lineStyle: { color: colors.line, width: 0.6 } }, axisLine: { show: true, onZero: false, lineStyle: { color: colors.faint } },
    };
  };
  const [left, top] = narrow ? [46, 26] : [64, 10];
  return {
    animation: false, textStyle: { fontFamily: colors.font }, grid: { left, top, width: width - left - 14, height: height - top - 46, containLabel: false, outerBoundsMode: "none" },
    xAxis: { ...axis(limits[0], limits[1], "Operational intensity (FLOP/byte)", (power) => tick(10 ** power, 1e-4), narrow ? 6 : 12), nameGap: 30 },
    yAxis: { ...axis(limits[2], limits[3], "Performance (FLOP/s)", (power) => tick(10 ** power), 12), ...(narrow ? { nameLocation: "end", nameGap: 8, nameTextStyle: { color: colors.ink, fontSize: 12, align: "left", padding: [0, 0, 0, -38] } } : { nameGap: 40 }) },
    series: [{
      type: "custom", clip: true, silent: true, animation: false, data: [[(limits[0] + limits[1]) / 2, (limits[2] + limits[3]) / 2]],
      renderItem: ({ coordSys }) => ({ type: "group", children: draw(coordSys) }),
    }],
  };
}
