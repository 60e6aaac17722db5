// The tab Frontier: tokens per second of each user against those of each GPU, and where the goal lies (see frontier.py).

const FRONT = "nothing beats these";
const TP_MARKERS = { 1: "circle", 2: "square", 4: "triangle", 8: "diamond" };

TABS.frontier = {
  title: "Frontier",
  make(page) {
    const go = ({ gpu, model, tp, batch_size }) => page.send({ kind: "update", fields: { gpu: [gpu], model: [model], tp, setting: { batch_size }, tab: "server" } });
    const plot = make("div"), chart = charts.scatter(plot, page, { line: true, name: "Frontier", onpick: (series, i) => go(series.rows[i]) });
    const progress = progressLine(), left = make("p"), rows = make("div", { class: "wb-long", tabindex: 0, role: "region", "aria-label": "Points of the frontier" });
    const drawing = page.section("frontier", "Speed for each user against throughput of each GPU", page.files(chart, "frontier"), progress.root, plot, left);
    const listed = page.section("points", "The same in numbers", [], rows);
    const root = make("div", {}, [drawing, listed]);

    function draw(picture) {
      const { frontier } = picture;
      if (!frontier) return;
      progress.draw(frontier.computing, "servers");
      drawing.querySelector(".wb-sub").textContent = `${frontier.at}; a line for each GPU and tp, from the smallest batch on the right to the largest; a click shows that server`;
      Object.assign(plot.firstChild.dataset, { title: "Tokens/s per user and per GPU", setting: frontier.at });
      plot.hidden = !frontier.rows.length;
      if (frontier.rows.length) chart.draw(scattered(frontier, page.dark()), picture);
      const out = frontier.left_out.map(({ gpu, model, tp, why }) => `${model} on ${tp} x ${gpu}: ${why}`);
      const late = frontier.goal.ttft === null ? "" : "Hollow: TTFT is over the goal where the whole batch comes at once; the tab Plan simulates requests that come one by one. ";
      left.textContent = late + (out.length ? `Not shown: ${out.join("; ")}.` : "");
      const asked = frontier.goal.ttft !== null || frontier.goal.tpot !== null;
      page.table(rows, {
        columns: [
          defined("gpu", "GPU", undefined, { number: false }), ...(new Set(frontier.rows.map(({ model }) => model)).size > 1 ? [{ key: "model", title: "model" }] : []),
          defined("tp", "tp", count), { key: "batch_size", title: "batch", number: true, show: count, definition: "Requests at a time in one replica" },
          { ...defined("per_user", "tokens/s per user", rate), key: "x" }, { ...defined("per_gpu", "tokens/s per GPU", rate), key: "y" },
          defined("ttft", "TTFT", seconds), defined("tpot", "TPOT", seconds),
          ...(frontier.price === null ? [] : [defined("cost", "cost of 1M tokens", (value) => (value === null ? "none" : digits(value)))]),
          { key: "front", title: "frontier", definition: "Yes where no other point has more tokens per second for each user and for each GPU", show: (value) => (value ? "yes" : "") },
          ...(asked ? [defined("meets", "goal", (value, row) => (value ? "met" : `${row.late.map((name) => name.toUpperCase()).join(", ")} over`), { number: false })] : []),
        ],
        rows: frontier.rows, empty: frontier.computing ? "" : "Nothing fits: see above for why.", onrow: go,
        rowClass: (row) => (row.front && row.meets !== false ? "wb-good" : row.meets === false ? "wb-late" : ""),
      });
    }
    return { root, draw };
  },
};

const isLate = ({ late }) => Number(late.includes("ttft"));

/** What `charts.scatter` draws: a line for each GPU, model and tp, colours by GPU and model, markers by tp; the front. */
function scattered({ rows, goal }, dark) {
  const lines = new Map(), colors = new Map(), models = new Set(rows.map(({ model }) => model)).size;
  for (const row of rows) {
    const place = models > 1 ? `${row.gpu}, ${row.model}` : row.gpu, name = `${place}, tp ${row.tp}`;
    if (!colors.has(place)) colors.set(place, LINES[colors.size % LINES.length]);
    if (!lines.has(name)) lines.set(name, { name, color: colors.get(place), marker: TP_MARKERS[row.tp] ?? "star", points: [], rows: [], words: [], unfit: [] });
    const line = lines.get(name);
    line.points.push([row.x, row.y]);
    line.rows.push(row);
    line.unfit.push(isLate(row));
    line.words.push([`${name}, batch ${count(row.batch_size)}`, `${rate(row.x)} tokens/s per user, ${rate(row.y)} per GPU`, `TTFT ${seconds(row.ttft)}, TPOT ${seconds(row.tpot)}`, ...row.late.map((over) => `${over.toUpperCase()} over the goal`)]);
  }
  const front = rows.filter((row) => row.front).sort((a, b) => a.x - b.x), place = (row) => lines.get(`${models > 1 ? `${row.gpu}, ${row.model}` : row.gpu}, tp ${row.tp}`);
  const best = { name: FRONT, color: dark ? "#ffffff" : "#000000", marker: "star", dash: true, rows: front, unfit: front.map(isLate), points: front.map(({ x, y }) => [x, y]), words: front.map((row) => place(row).words[place(row).rows.indexOf(row)]) };
  return {
    x: { label: "tokens/s per user", unit: "" }, y: { label: "tokens/s per GPU", unit: "" }, series: [...lines.values(), ...(front.length > 1 ? [best] : [])],
    lines: goal.tpot === null ? [] : [{ axis: "x", value: 1 / goal.tpot, label: `TPOT ${seconds(goal.tpot)}` }],
  };
}
