// The roofline chart in the reader's hands: hover, the points of one place, zoom, walk by keys, legend.

charts.roofline = (el, page) => {
  const hidden = new Set();
  let zoom = null, frame = null, hover = null, dragged = null;
  const own = make("div", { class: "wb-roofline", tabindex: 0, role: "application", "aria-roledescription": "chart", "aria-label": "Roofline chart. Left and right walk through the points of a series, up and down change the series, Enter pins a point, plus and minus zoom, 0 shows all, Escape leaves." });
  const ring = make("span", { class: "wb-ring", hidden: "" }), box = make("span", { class: "wb-box", hidden: "" });
  const tip = make("div", { class: "wb-tip", hidden: "" }), hint = make("div", { class: "wb-wheel", hidden: "" }, ["Ctrl and wheel zoom, or click the chart first"]);
  const live = make("div", { class: "wb-live", "aria-live": "polite" }), legendBox = make("div", { class: "wb-legend", role: "group", "aria-label": "Legend: what the chart shows" });
  const near = make("div", { class: "wb-near", hidden: "" });
  const tools = make("div", { class: "wb-zoom", role: "group", "aria-label": "Zoom" }, [
    button("+", () => scale(0.6), "Zoom in"), button("−", () => scale(1 / 0.6), "Zoom out"), button("Reset", () => show(null), "Show all of the chart"),
  ]);
  el.classList.add("wb-chart");
  el.append(own, make("div", { class: "wb-under" }, [legendBox, tools]), near, live);

  const visible = (group) => !group.rows.some((row) => hidden.has(row));
  const section = () => made_.drawn().section, picture = () => made_.drawn().picture;
  const whole = () => [...section().limits.x, ...section().limits.y].map(Math.log10);
  const made_ = host(own, page, {
    height: (width) => Math.max(320, Math.min(500, width * 0.52)),
    legend: () => section().legend.filter(({ id }) => !hidden.has(id)),
    option: (size, colors, file) => {
      const limits = zoom ?? whole();
      return rooflineOption(size, limits, colors, (coordinates) => {
        if (!file) frame = { ...coordinates, limits };
        return rooflineElements(section(), picture(), coordinates, limits, colors, visible, !file);
      });
    },
    after: (size, colors) => {
      legend(section().legend, colors);
      tools.lastChild.disabled = !zoom;
      if (hover) point(hover.group < section().groups.length && visible(section().groups[hover.group]) ? hover : null);
    },
  });
  own.append(ring, box, tip, hint);
  const legend = legendOf(legendBox, hidden, () => {
    near.hidden = true;
    made_.paint();
  });

  // Zoom: [x low, x high, y low, y high] as powers of ten, null for all of it
  function show(limits) {
    const all = whole();
    if (limits && limits[1] - limits[0] >= all[1] - all[0] && limits[3] - limits[2] >= all[3] - all[2]) limits = null;
    if (limits && (limits[1] - limits[0] < 0.02 || limits[3] - limits[2] < 0.02)) return;
    zoom = limits;
    made_.paint();
  }
  function scale(factor, at = null) {
    const [x0, x1, y0, y1] = zoom ?? whole(), [fx, fy] = at ?? [0.5, 0.5], cx = x0 + fx * (x1 - x0), cy = y0 + fy * (y1 - y0);
    show([cx + (x0 - cx) * factor, cx + (x1 - cx) * factor, cy + (y0 - cy) * factor, cy + (y1 - cy) * factor]);
  }
  const within = (event) => {
    const { left, top } = made_.plot.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };
  const share = ([x, y]) => [(x - frame.x) / frame.width, 1 - (y - frame.y) / frame.height];
  let told = 0;
  own.addEventListener("wheel", (event) => {
    if (!frame) return;
    if (!(event.ctrlKey || event.metaKey || own.matches(":focus, :focus-within"))) { // who scrolls past does not zoom
      hint.hidden = false;
      clearTimeout(told);
      told = setTimeout(() => { hint.hidden = true; }, 1200);
      return;
    }
    event.preventDefault();
    scale(Math.exp(Math.max(-0.5, Math.min(0.5, event.deltaY / 300))), share(within(event)));
  }, { passive: false });
  own.addEventListener("pointerdown", (event) => {
    if (event.button || event.pointerType === "touch" || !frame) return;
    const [x, y] = within(event);
    dragged = { x, y, limits: zoom ?? whole(), moves: event.shiftKey, far: false };
    own.setPointerCapture(event.pointerId);
  });
  function drag(x, y) {
    const { x: x0, y: y0, limits, moves } = dragged;
    dragged.far ||= Math.hypot(x - x0, y - y0) > 5;
    if (!dragged.far) return;
    point(null);
    if (moves) {
      const dx = ((x0 - x) / frame.width) * (limits[1] - limits[0]), dy = ((y - y0) / frame.height) * (limits[3] - limits[2]);
      return show([limits[0] + dx, limits[1] + dx, limits[2] + dy, limits[3] + dy]);
    }
    box.hidden = false;
    Object.assign(box.style, { left: `${Math.min(x, x0)}px`, top: `${Math.min(y, y0)}px`, width: `${Math.abs(x - x0)}px`, height: `${Math.abs(y - y0)}px` });
  }
  own.addEventListener("pointerup", (event) => {
    const from = dragged, to = within(event);
    dragged = null;
    box.hidden = true;
    if (!from) return;
    if (!from.far) return pinNear(nearest(...to));
    if (from.moves) return;
    const [[a, b], [c, d]] = [share([from.x, from.y]), share(to)], [x0, x1, y0, y1] = from.limits;
    const at = (low, high, part) => low + Math.max(0, Math.min(1, part)) * (high - low);
    show([at(x0, x1, Math.min(a, c)), at(x0, x1, Math.max(a, c)), at(y0, y1, Math.min(b, d)), at(y0, y1, Math.max(b, d))]);
  });
  own.addEventListener("pointercancel", () => { [dragged, box.hidden] = [null, true]; });
  own.addEventListener("dblclick", () => { if (!hover) show(null); });

  // Points
  const inside = (x, y) => x >= frame.x - 4 && x <= frame.x + frame.width + 4 && y >= frame.y - 4 && y <= frame.y + frame.height + 4;
  /** The point that is nearest to a place; of some that lie on each other, that of the setting. */
  function nearest(x, y) {
    let best = null, least = NEAR ** 2;
    const { groups, focus } = section();
    groups.forEach((group, g) => {
      if (!visible(group)) return;
      for (let i = 0; i < group.px.length; i++) {
        let distance = (group.px[i] - x) ** 2 + (group.py[i] - y) ** 2;
        if (distance >= (NEAR + 2) ** 2 || !inside(group.px[i], group.py[i])) continue;
        if (i === focus) distance = Math.max(0, Math.sqrt(distance) - 2) ** 2; // its ring says that it is meant
        if (distance < least) [best, least] = [{ group: g, i }, distance];
      }
    });
    return best;
  }
  /** All points in the place of one, itself first, then by distance. */
  function together({ group: g0, i: i0 }) {
    const { groups } = section(), [x, y] = [groups[g0].px[i0], groups[g0].py[i0]], found = [];
    groups.forEach((group, g) => {
      if (!visible(group)) return;
      for (let i = 0; i < group.px.length; i++) {
        const distance = Math.hypot(group.px[i] - x, group.py[i] - y);
        if (distance <= SAME) found.push({ group: g, i, distance: g === g0 && i === i0 ? -1 : distance });
      }
    });
    return found.sort((a, b) => a.distance - b.distance);
  }
  const words = ({ group, i }) => {
    const one = section().groups[group];
    return `${pointWords(pointAt(picture(), one, i))}: ${si(one.x[i], "FLOP/byte")}, ${si(one.y[i], "FLOP/s")}, ${si(one.time[i], "s")}`;
  };
  /** The points of one place by series: which, how many, from where to where. */
  function bySeries(found) {
    const all = new Map();
    for (const { group, i } of found) all.set(group, [...(all.get(group) ?? []), pointAt(picture(), section().groups[group], i)]);
    const span = (values) => (Math.min(...values) === Math.max(...values) ? count(values[0]) : `${count(Math.min(...values))} to ${count(Math.max(...values))}`);
    return [...all].map(([, at]) => {
      if (at.length === 1 || !at[0].batch_size) return at.map(pointWords).join("; ");
      const { batch_size: _, seq_len: __, ...rest } = at[0];
      return `${Object.values(rest).join(" · ")} · batch ${span(at.map((one) => one.batch_size))} · length ${span(at.map((one) => one.seq_len))}: ${at.length} points`;
    });
  }
  function point(at) {
    hover = at;
    ring.hidden = tip.hidden = !at;
    if (!at) return [];
    const group = section().groups[at.group], i = at.i = Math.min(at.i, group.px.length - 1), [x, y] = [group.px[i], group.py[i]];
    ring.hidden = tip.hidden = !inside(x, y);
    Object.assign(ring.style, { left: `${x}px`, top: `${y}px` });
    const lines = describe(section(), picture(), group, i), others = together(at).slice(1), series = bySeries(others);
    put(tip, [
      ...lines.map((line, n) => [n ? "div" : "strong", {}, line]),
      ...(others.length ? [["div", { class: "wb-also" }, `${count(others.length)} more here:`], ["ul", {}, series.slice(0, LISTED).map((line) => ["li", {}, line])]] : []),
      ...(series.length > LISTED ? [["div", {}, `and of ${count(series.length - LISTED)} more series: a click lists all`]] : []),
    ]);
    const [w, h] = [made_.plot.clientWidth, made_.plot.clientHeight];
    tip.style.left = `${Math.max(0, x + 14 + tip.offsetWidth > w ? Math.max(0, Math.min(x - tip.offsetWidth - 14, w - tip.offsetWidth)) : x + 14)}px`;
    tip.style.top = `${y + 16 + tip.offsetHeight > h + 40 ? Math.max(-8, y - tip.offsetHeight - 12) : y + 16}px`;
    return others;
  }
  const pin = ({ group, i }) => section().measured || page.send({ kind: "pin", at: pointAt(picture(), section().groups[group], i) });
  function pinNear(at) {
    if (!at) return;
    list(together(at));
    if (!section().measured) pin(at);
  }
  /** The points of one place below the chart, each with a button that pins it. */
  function list(found, least = 2) {
    near.hidden = found.length < least;
    if (near.hidden) return;
    const shown = found.slice(0, 200), { x, y } = section().groups[found[0].group], i = found[0].i;
    put(near, [
      ["p", {}, `${count(found.length)} ${found.length === 1 ? "point" : "points"} near ${si(x[i], "FLOP/byte")}, ${si(y[i], "FLOP/s")}${found.length > 200 ? ", the first 200" : ""}:`],
      ["ol", { tabindex: 0, "aria-label": "Points of one place" }, shown.map((each, n) => ["li", {}, [["span", {}, words(each)], ...(section().measured ? [] : [["button", { type: "button", "data-n": n, "aria-label": `Pin ${words(each)}` }, "Pin"]])]])],
    ]);
    near.onclick = (event) => {
      const n = event.target.dataset?.n;
      if (n !== undefined) pin(shown[n]);
    };
  }
  own.addEventListener("click", (event) => { // a tap has no hover: it says what is there, and offers to pin it
    const at = event.pointerType === "touch" && frame ? nearest(...within(event)) : null;
    if (event.pointerType !== "touch") return;
    point(at);
    list(at ? together(at) : [], 1);
  });
  own.addEventListener("pointermove", (event) => {
    if (!frame) return;
    const [x, y] = within(event);
    dragged ? drag(x, y) : point(nearest(x, y));
  });
  own.addEventListener("pointerleave", () => { if (!dragged) point(null); });
  own.addEventListener("blur", () => point(null));
  own.addEventListener("keydown", (event) => {
    const { groups } = section(), seen = groups.map((_, g) => g).filter((g) => visible(groups[g]));
    if (!seen.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const now = hover ?? { group: seen[0], i: event.key === "ArrowRight" ? -1 : 0 }, points = groups[now.group].px.length, n = seen.indexOf(now.group);
    const walk = (group, i) => {
      const others = point({ group, i });
      live.textContent = `${describe(section(), picture(), groups[group], hover.i).join(", ")}${others.length ? `; ${count(others.length)} more points here` : ""}`;
    };
    const act = {
      ArrowRight: () => walk(now.group, (now.i + 1) % points), ArrowLeft: () => walk(now.group, (now.i + points - 1) % points),
      ArrowDown: () => walk(seen[(n + 1) % seen.length], now.i), ArrowUp: () => walk(seen[(n + seen.length - 1) % seen.length], now.i),
      Home: () => walk(now.group, 0), End: () => walk(now.group, points - 1),
      Enter: () => pinNear(hover), " ": () => pinNear(hover), "+": () => scale(0.6), "=": () => scale(0.6), "-": () => scale(1 / 0.6), 0: () => show(null),
      Escape: () => {
        if (!hover) show(null);
        point(null);
        near.hidden = true;
        live.textContent = "";
      },
    }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
  });

  return {
    draw(given, now) {
      unpack(given, now.sizes.batch_size.length * now.sizes.seq_len.length);
      made_.draw(given, now);
    },
    image: made_.image,
  };
};
