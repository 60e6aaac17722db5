// The tab Roofline: the chart, what its operators take at the one setting, bars, heat map, pinned points.

const OPERATOR_WORDS = {
  calls: "How often it runs in one forward pass of the model",
  flops: "Floating-point operations of one call; a multiply-add is two",
  bytes: "What one call reads from memory and writes to it: weights, activations, KV cache",
  intensity: "Operational intensity, FLOPs over bytes: left of a GPU's ridge its memory limits it, right of it its compute",
  time: "Of one call, by the time model that is chosen",
  share: "All its calls, of the time of the step",
  roof: "What it reaches of the FLOP/s that the roofline allows at its intensity: all of it with ideal times",
  bound: "What the time goes to: memory (bandwidth), compute (FLOP/s), or the link between GPUs",
  other: "The same call on that of the other chosen GPUs where it takes the shortest, and how many times as fast",
};

function makeRoofline(page) {
  const part = () => make("div"), places = { roofline: part(), bars: part(), heat: part() };
  const said = make("ul", { class: "wb-said" }), operators = part(), summary = part(), compare = make("div", { class: "wb-compare" });
  const roofline = charts.roofline(places.roofline, page), bars = charts.bars(places.bars, page), heat = charts.heat(places.heat, page);
  const choices = { variable: "Variable", operator: "Operator", phase: "Phase", gpu: "GPU", model: "Model" };
  const selects = Object.entries(choices).map(([name, label]) => make("select", {
    "aria-label": `${label} of the heat map`, "data-name": name, onchange: ({ target }) => page.send({ kind: "update", fields: { heat: { [name]: target.value } } }),
  }));
  const unpinAll = page.button("Unpin all", () => page.send({ kind: "unpin", number: null }));
  const root = make("div", { class: "wb-grid-of-two" }, [
    page.section("roofline", "Roofline", page.files(roofline, "roofline"), places.roofline),
    page.section("operators", "Operators", [], said, operators),
    page.section("bars", "Time by operator", page.files(bars, "time-by-operator"), places.bars),
    page.section("heat", "Batch size and length", page.files(heat, "heat-map"), make("div", { class: "wb-choices" }, selects), places.heat),
    page.section("summary", "Whole step", [], summary),
    page.section("compare", "Pinned points", [unpinAll], compare),
  ]);
  const sub = (name, words) => { root.querySelector(`.wb-${name}-section .wb-sub`).textContent = words; };
  const number = (key, title, unit) => ({ key, title, number: true, definition: OPERATOR_WORDS[key], show: (value) => si(value, unit) });
  const share = (key, title) => ({ key, title, number: true, definition: OPERATOR_WORDS[key], show: percent });
  const several = (now, dim) => new Set(now.operators.rows.map((row) => row[dim])).size > 1;

  function draw(now) {
    if (!now.roofline) return;
    const { setting: at, whole, candidates } = now.bars;
    const here = `batch ${count(at.batch_size)}, length ${count(at.seq_len)}${candidates ? `, ${candidates} candidates` : ""}`;
    Object.entries({ roofline: "Roofline", bars: "Time by operator", heat: "Batch size and length" }).forEach(([name, title]) => {
      const own = places[name].firstChild;
      own.dataset.title = title;
      own.dataset.setting = name === "heat" ? Object.values(now.heat.chosen).slice(1).join(", ") : name === "roofline" ? `ringed: ${here}` : here;
    });
    roofline.draw(now.roofline, now);
    bars.draw({ unit: "s", rows: now.bars.rows.map((row) => ({
      label: [row.gpu, row.model, row.phase].join(" · "), total: row.total, share: true, unfit: row.unfit, parts: row.parts.map(({ operator: name, time: value, color }) => ({ name, value, color })),
    })) }, now);
    heat.draw({ ...now.heat, at }, now);
    for (const select of selects) {
      const name = select.dataset.name, options = now.heat.choices[name];
      const words = { time: now.heat.whole ? "time per step" : "time per call", roof: "share of the roof" };
      put(select, options.map((option) => ["option", { value: option }, words[option] ?? option]));
      select.value = now.heat.chosen[name];
      select.hidden = options.length < 2;
    }
    sub("roofline", `a point for each ${now.roofline.what === "steps" ? "whole step" : "operator"}, batch size and length; ringed: ${here}${now.heat.unfit.flat().some(Boolean) || now.bars.rows.some((row) => row.unfit) ? "; struck through: does not fit in memory" : ""}`);
    sub("operators", here);
    sub("bars", `share of ${whole ? "the step" : "these operators"} at ${here}`);
    sub("heat", `${now.heat.label}, ${now.heat.unit}`);
    sub("summary", here);
    drawOperators(now);
    page.table(summary, {
      columns: [
        { key: "gpu", title: "GPU" }, { key: "model", title: "model" }, { key: "phase", title: "phase" },
        number("time", "time per step", "s"), number("flops", "FLOPs", "FLOP"), number("bytes", "bytes", "byte"), number("intensity", "intensity", "FLOP/byte"), number("performance", "performance", "FLOP/s"),
      ].map((column) => ({ ...column, definition: undefined })),
      rows: now.summary, empty: "A step's time is the sum over the fused operators: choose the operators \"fused\".",
    });
    drawCompare(now);
  }

  /** What limits each step, in a sentence, and every operator in a row. */
  function drawOperators(now) {
    const { rows, steps, whole } = now.operators, what = whole ? "a step" : "these operators";
    put(said, steps.slice(0, 6).map((step) => {
      const limits = Object.entries(step.bounds).map(([bound, { operators: names, share: part_ }]) => `${bound}-bound: ${names.join(", ")} (${percent(part_)} of the time)`);
      const other = step.other === null ? "" : ` ${step.other_gpu} takes ${si(step.other, "s")}, ${digits(step.total / step.other)} × as fast.`;
      return ["li", {}, [
        ["strong", {}, `${step.phase} on ${step.gpu}${several(now, "model") ? `, ${step.model}` : ""}: ${si(step.total, "s")} ${what}. `],
        ["span", {}, `${limits.join("; ")}.${other}`],
      ]];
    }));
    page.table(operators, {
      columns: [
        { key: "operator", title: "operator" }, { key: "phase", title: "phase" }, { key: "gpu", title: "GPU" },
        ...(several(now, "model") ? [{ key: "model", title: "model" }] : []), { key: "calls", title: "calls", number: true, definition: OPERATOR_WORDS.calls, show: count },
        number("flops", "FLOPs", "FLOP"), number("bytes", "bytes", "byte"), number("intensity", "intensity", "FLOP/byte"), number("time", "time a call", "s"),
        share("share", whole ? "of the step" : "of these"), share("roof", "of the roof"), { key: "bound", title: "bound", definition: OPERATOR_WORDS.bound, show: boundName },
        ...(several(now, "gpu") ? [{ key: "other", title: "on another GPU", number: true, definition: OPERATOR_WORDS.other, show: (value, row) => (value === null ? "none" : `${row.other_gpu} ${si(value, "s")}, ${digits(row.time / value)} ×`) }] : []),
      ],
      rows, empty: "The chosen models have none of these operators.", rowClass: (row) => (row.unfit ? "wb-unfit" : ""),
    });
  }

  function drawCompare(now) {
    const first = now.compare[0];
    unpinAll.hidden = !first;
    page.table(compare, {
      columns: [
        { key: "number", title: "pin" }, { key: "at", title: "setting", show: setting }, { key: "settings", title: "settings besides", show: (value) => value || "defaults" },
        number("intensity", "intensity", "FLOP/byte"), number("performance", "performance", "FLOP/s"), { ...share("roof", "of the roof"), show: (value, row) => percent(row.performance / value) },
        number("time", "time", "s"), { key: "against", title: "against 1", number: true, show: (value) => `${digits(value)} ×` },
        { key: "bound", title: "bound", definition: OPERATOR_WORDS.bound, show: boundName },
        { key: "unpin", title: "unpin", show: (value, row) => [["button", { type: "button", "data-unpin": row.number - 1, "aria-label": `Unpin ${row.number}` }, "×"]] },
      ],
      rows: now.compare.map((row, i) => ({ ...row, number: i + 1, against: row.time / first.time })),
      empty: "Click a point of the roofline to pin it here; it stays, with its settings, while the view changes.",
    });
  }
  compare.addEventListener("click", ({ target }) => {
    if (target.dataset?.unpin !== undefined) page.send({ kind: "unpin", number: Number(target.dataset.unpin) });
  });
  return { root, draw };
}

TABS.roofline = { title: "Roofline", make: makeRoofline };
