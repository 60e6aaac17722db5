// The tab Server: what fits, how fast it is, and what it costs, for the view's GPUs and for all (see servers.py).

const MEMORY_COLORS = { weights: "#3f90da", cache: "#ffa90e", activations: "#832db6", workspace: "#94a4a2" };

/** Sizes of memory as people compare them: always in GB. */
const gigabytes = (value) => (value === null || value === undefined ? "none" : `${(value / 1e9).toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 })} GB`);
const alone = (value) => gigabytes(value).replace(" GB", "");
const rate = (value) => (value === null || value === undefined ? "none" : digits(value >= 100 ? Math.round(value) : value));

const DEFINED = {
  gpu: "The GPU of the catalog, or your own",
  tp: "GPUs that share every layer (tensor parallelism)",
  gpus: "GPUs of one replica: tp x dp x pp",
  fits: "Whether weights, activations, workspace and the KV cache of the whole batch fit in what the engine lets a server fill of each GPU",
  memory: "What one GPU holds: weights, KV cache of the batch at full length, activations of the largest step, CUDA and its libraries; and what the engine lets a server fill",
  largest_batch: "Most requests of this length that one replica holds at a time",
  longest_context: "Most tokens, prompt and output together, that each request may have at this batch size",
  ttft: "Time to first token of the whole batch: all its prompts are computed first, in steps of no more tokens than the engine takes at once, each with the host's time. The prefill of the tab Roofline is one step of the kernels alone",
  tpot: "Time per output token after the first, on average over the output, host included",
  per_user: "1 / TPOT: tokens per second that each user sees",
  per_gpu: "Output tokens per second of the replica, prefill included, over its GPUs",
  per_replica: "Output tokens per second of one replica with all its GPUs, prefill included",
  cost: "Of a million output tokens, at the price of a GPU-hour, of a replica that is never idle",
  meets: "Whether TTFT and TPOT keep the goal",
};

/** A column with its definition; numbers are shown by `show`. */
const defined = (key, title, show, more = {}) => ({ key, title, definition: DEFINED[key], number: true, show, ...more });
const rowClass = (row) => (row.meets ? "wb-good" : !row.fits ? "wb-unfit" : row.late ? "wb-late" : "");
const seconds = (value) => si(value, "s");

/** Columns of speed and cost, which the tables of this tab share. */
function speedColumns({ price, goal }) {
  const asked = goal.ttft !== null || goal.tpot !== null;
  return [
    defined("ttft", "TTFT", seconds), defined("tpot", "TPOT", seconds), defined("per_user", "tokens/s per user", rate),
    defined("per_gpu", "tokens/s per GPU", rate), defined("per_replica", "tokens/s per replica", rate),
    ...(price === null ? [] : [defined("cost", "cost of 1M tokens", (value) => (value === null ? "none" : digits(value)))]),
    ...(asked ? [defined("meets", "goal", (value, row) => (value ? "met" : row.fits && !row.waiting ? row.late : "no"), { number: false })] : []),
  ];
}

/** Progress in words and as a bar, announced politely. */
function progressLine() {
  const bar = make("progress", { max: 1, value: 0, "aria-label": "Computed" }), words = make("span", { "aria-live": "polite" });
  const root = make("div", { class: "wb-computing", hidden: "" }, [bar, words]);
  function draw(computing, what) {
    root.hidden = !computing;
    if (!computing) return;
    bar.max = computing.of;
    bar.value = computing.done;
    words.textContent = `computing ${count(computing.of)} ${what}`;
  }
  return { root, draw };
}

TABS.server = {
  title: "Server",
  make(page) {
    const words = make("div", { class: "wb-answer", "aria-live": "polite" }), notes = make("ul", { class: "wb-notes" });
    const answer = page.section("answer", "Does it fit, and how fast is it?", [], words, notes);
    const bars = make("div"), chart = charts.stacked(bars, page), why = make("ul", { class: "wb-notes" });
    const memory = page.section("memory", "Memory of one GPU", page.files(chart, "memory"), bars, why);
    const rows = make("div");
    const speed = page.section("speed", "Speed and cost", [], rows);
    const every = makeEvery(page);
    const root = make("div", {}, [answer, memory, speed, every.root]);

    function draw(picture) {
      const { server } = picture;
      if (!server) return;
      put(words, server.sentences.map((line) => ["p", {}, line]));
      answer.querySelector(".wb-sub").textContent = server.at;
      put(notes, server.notes.map((line) => ["li", {}, line]));
      const several = server.rows.length > 1 || picture.state.model?.length > 1;
      const held = server.rows.filter(({ memory: needed }) => needed !== undefined);
      memory.hidden = !held.length;
      Object.assign(bars.firstChild.dataset, { title: "Memory of one GPU", setting: server.at });
      if (held.length) chart.draw({ unit: "byte", rows: held.map((row) => barOf(server, row)) }, picture);
      put(why, server.rows.filter(({ fits }) => !fits).map((row) => ["li", {}, `${row.model} on ${row.gpu}: ${row.words}`]));
      memory.querySelector(".wb-sub").textContent = "the line is what the engine lets a server fill; hatched does not fit";
      page.table(rows, {
        columns: [
          defined("gpu", "GPU", undefined, { number: false }), ...(several ? [{ key: "model", title: "model" }] : []), defined("gpus", "GPUs", count),
          defined("fits", "fits", (fits, row) => (fits ? "yes" : row.short ? `${gigabytes(row.missing)} missing` : row.reason || "no"), { number: false }),
          defined("largest_batch", "largest batch", count), defined("longest_context", "longest context", count), ...speedColumns(server),
        ],
        rows: server.rows, empty: "", rowClass,
      });
      speed.querySelector(".wb-sub").textContent = `of a replica of ${count(server.rows[0].gpus ?? server.rows[0].tp)} GPU${server.rows[0].gpus > 1 ? "s" : ""}; ${server.at}`;
      every.draw(server);
    }
    return { root, draw };
  },
};

function barOf(server, row) {
  const total = row.memory, over = row.short;
  return {
    label: `${row.model} on ${row.tp > 1 ? `each of ${row.gpus} ` : ""}${row.gpu}`, total, unfit: over, limit: row.usable,
    words: over ? `${alone(total)} GB needed, ${alone(row.usable)} available, ${alone(row.missing)} missing` : `${alone(total)} of ${alone(row.usable)} GB, ${alone(row.free)} free`,
    parts: Object.entries(server.parts).map(([key, name]) => ({ name, value: row[key], color: MEMORY_COLORS[key] })),
  };
}

/** The table of all GPUs and tp, filtered and sorted; a row goes to that server. */
function makeEvery(page) {
  const search = make("input", { type: "search", "aria-label": "Filter the table by text", placeholder: "filter, e.g. h100, NVIDIA, tp 4", oninput: () => show() });
  const fitting = make("input", { type: "checkbox", onchange: () => show() }), meeting = make("input", { type: "checkbox", onchange: () => show() });
  const meets = make("label", {}, [meeting, "meets the goal"]);
  const counted = make("span", { "aria-live": "polite" }), progress = progressLine();
  const body = make("div", { class: "wb-long", tabindex: 0, role: "region", "aria-label": "All GPUs" });
  const root = page.section("every", "All GPUs", [], make("div", { class: "wb-filter" }, [search, make("label", {}, [fitting, "fits"]), meets, counted]), progress.root, body);
  let server = null, all = [];

  function draw(now) {
    server = now;
    progress.draw(server.computing, "servers");
    root.querySelector(".wb-sub").textContent = `${server.model}, ${server.at}; a click on a row shows that server`;
    body.classList.toggle("wb-stale", !server.table);
    meets.hidden = server.goal.ttft === null && server.goal.tpot === null;
    if (!server.table) return;
    const { columns, rows } = server.table;
    all = rows.map((row) => Object.fromEntries(columns.map((name, i) => [name, row[i]])));
    const rank = (row) => (row.fits ? (row.meets === false && !row.waiting ? 1 : 0) : row.short ? 2 : 3);
    all.sort((a, b) => rank(a) - rank(b) || (b.per_gpu ?? 0) - (a.per_gpu ?? 0) || (a.missing ?? 0) - (b.missing ?? 0));
    show();
  }
  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = all.filter((row) => {
      const text = `${row.gpu} ${row.name} tp ${row.tp}. ${row.reason}`.toLowerCase();
      return (!fitting.checked || row.fits) && (!meeting.checked || meets.hidden || row.meets) && matches(text, words);
    });
    counted.textContent = `${count(shown.length)} of ${count(all.length)}`;
    page.table(body, {
      columns: [
        defined("gpu", "GPU", undefined, { number: false }), defined("tp", "tp", count),
        defined("fits", "fits", (fits, row) => (fits ? "yes" : row.short ? `${gigabytes(row.missing)} missing` : row.reason || "too long"), { number: false }),
        defined("memory", "memory", (value, row) => (value === null ? "none" : `${alone(value)} of ${gigabytes(row.usable)}`)),
        defined("largest_batch", "largest batch", count), defined("longest_context", "longest context", count),
        ...speedColumns(server).map((column) => ({ ...column, show: (value, row) => (row.waiting ? "…" : column.show(value, row)) })),
      ],
      rows: shown, empty: all.length ? "No server is like that." : "", rowClass,
      onrow: (row) => page.send({ kind: "update", fields: { gpu: [row.gpu], tp: row.tp } }),
    });
  }
  return { root, draw };
}

/** Whether a text has all the words; "tp 4" is one of them. */
const matches = (text, words) => words.join(" ").replace(/tp (\d+)/g, "tp_$1.").split(" ").every((word) => text.includes(word.replace("tp_", "tp ")));
