// The tab Measured: a timing file or a load test of the reader's own, beside what is predicted.

const MEASURED_KINDS = ".json,.gz,.csv,.jsonl,.yaml,.yml,.parquet,.txt"; // what the readers take; the content decides
const SERVER_SETTINGS = { max_num_seqs: "sequences a step", max_num_batched_tokens: "tokens a step", step_overhead: "host, a step", sequence_overhead: "host, a sequence" };

TABS.measured = {
  title: "Measured",
  make(page) {
    const file = fileOf(page, "measured", "A file of timings, or a load test", MEASURED_KINDS,
      "Kernel timings: a trace of PyTorch's profiler, CSV of Nsight Compute or Systems, or this project's. Load tests: vLLM, SGLang, GuideLLM, AIPerf and others. It stays on this machine.");
    const about = make("p", { class: "wb-about", role: "status" });
    const stepError = freshId(), stepHint = freshId();
    const step = make("input", { id: freshId(), type: "text", size: 14, placeholder: "8, 1, 1024", autocomplete: "off", "aria-describedby": `${stepHint} ${stepError}`, onchange: () => page.send({ kind: "step", text: step.value }) });
    const steps = make("p", { class: "wb-step" }, [
      make("label", { for: step.id }, ["A step works on "]), step,
      make("span", { id: stepHint, class: "wb-said" }, [" sequences, new tokens, context: for kernels that say no sizes (CUDA graphs, Nsight)"]),
      make("span", { id: stepError, class: "wb-error", role: "alert" }),
    ]);
    const offer = page.button("", () => page.send({ kind: "update", fields: page.picture().measured.offer }));
    const forget = page.button("Forget this file", () => page.send({ kind: "forget", use: "measured" }));
    const intro = page.section("measured", "Your measurement", [], file.root, about, make("p", { class: "wb-tools" }, [offer, forget]), steps);

    const roofline = make("div"), operators = make("div"), left = make("div"), notes = make("ul", { class: "wb-notes" });
    const sides = make("div"), limit = make("p", { class: "wb-limit" }), changes = make("div"), settings = make("div");
    const times = make("div", { class: "wb-times" }), chart = charts.roofline(roofline, page);
    const over = new Map(["running", "waiting", "token_rate"].map((name) => {
      const el = times.appendChild(make("div"));
      return [name, charts.overTime(el, page, { name: `Over time, ${name}` })];
    }));
    roofline.firstChild.dataset.title = "Measured and predicted";
    const of = ({ model, gpu }) => `${model.join(", ")} on ${gpu.join(", ")}`; // what was compared, whatever the view is of
    const parts = {
      roofline: page.section("explained", "Measured and predicted", page.files(chart, "measured"), roofline),
      operators: page.section("operators", "Operators", [], operators),
      left: page.section("unassigned", "Not assigned", [], left),
      sides: page.section("sides", "Measured and simulated", [], limit, sides),
      times: page.section("times", "Over time", [], times),
      changes: page.section("changes", "What would help, simulated", [], changes),
      settings: page.section("settings", "Settings of the simulated server", [], settings),
      notes: page.section("said", "Notes", [], notes),
    };
    const root = make("div", {}, [intro, ...Object.values(parts)]);
    const sub = (name, words) => { parts[name].querySelector(".wb-sub").textContent = words; };

    function draw(picture) {
      const now = picture.measured ?? {}, explained = now.explained, compared = now.compared;
      file.draw(now);
      about.textContent = now.about ?? "";
      forget.hidden = !now.name;
      const offered = Object.values(now.offer ?? {}).flat();
      offer.hidden = !offered.length;
      offer.textContent = `Compare with ${offered.join(", ")}, which the file says`;
      steps.hidden = now.kind !== "timings";
      if (document.activeElement !== step) step.value = now.step ?? "";
      steps.lastChild.textContent = now.wrongStep ?? "";
      step.setAttribute("aria-invalid", String(Boolean(now.wrongStep)));
      for (const name of ["roofline", "operators", "left"]) parts[name].hidden = !explained;
      for (const name of ["sides", "times", "changes", "settings"]) parts[name].hidden = !compared;
      root.classList.toggle("wb-busy", Boolean(now.busy));
      if (explained) drawExplained(explained, picture);
      if (compared) drawCompared(compared, picture);
      const said = [...(now.warnings ?? []), ...((explained ?? compared)?.notes ?? [])];
      parts.notes.hidden = !said.length;
      put(notes, said.map((line) => ["li", {}, line]));
    }

    function drawExplained(now, picture) {
      parts.left.hidden = !now.unassigned.length;
      sub("roofline", `${percent(now.share)} of ${duration(now.total)} assigned to ${of(now)}; filled: measured, open: predicted`);
      if (now.roofline.groups.length) chart.draw(now.roofline, { ...picture, title: of(now) });
      else parts.roofline.hidden = true;
      page.table(operators, { columns: now.columns.map(explainedColumn), rows: now.rows, empty: "No operator." });
      sub("left", now.unassigned_count > now.unassigned.length ? `the longest ${now.unassigned.length} of ${count(now.unassigned_count)} kernels` : `${percent(1 - now.share)} of the time`);
      page.table(left, {
        columns: [
          { key: "kernel", title: "kernel" }, { key: "kernels", title: "calls", number: true, show: count },
          { key: "time [ms]", title: "time", number: true, show: (value) => si(value / 1e3, "s") },
          { key: "share [%]", title: "share", number: true, definition: "Of all that was measured", show: (value) => percent(value / 100) },
          { key: "why", title: "why" },
        ],
        rows: now.unassigned, empty: "Every kernel is assigned.",
      });
    }

    function drawCompared(now, picture) {
      sub("sides", of(now));
      limit.textContent = now.paragraph;
      const side = (name, title) => ({ key: name, title, number: true, show: (value, row) => (value === null ? "unknown" : row.unit === "s" ? duration(value) : `${digits(value)} ${row.unit}`.trim()) });
      page.table(sides, {
        columns: [
          { key: "label", title: "" }, side("measured", "measured"), side("simulated", "simulated"),
          { key: "ratio", title: "simulated / measured", number: true, show: (value) => (value === null ? "unknown" : `${value.toFixed(2)} ×`) },
        ],
        rows: now.rows.map((row) => ({ ...row, ratio: row.measured && row.simulated !== null ? row.simulated / row.measured : null })), empty: "",
      });
      for (const { name, label, ...sides_ } of now.over_time.series) {
        over.get(name).draw({
          x: { label: "time", unit: "s" }, y: { label, unit: "" },
          series: ["measured", "simulated"].map((side_, i) => ({
            name: side_, dash: i > 0, points: now.over_time.time.map((at, n) => [at, sides_[side_][n]]), color: ["#3f90da", "#e76300"][i],
          })),
        }, picture);
      }
      const latency = (key, title) => ({ key, title, number: true, show: (value) => (value === null ? "unknown" : duration(value)) });
      page.table(changes, {
        columns: [
          { key: "change", title: "change" },
          { key: "gain", title: "gain", number: true, definition: "Times as many tokens per second; of a server that keeps up, times as fast", show: (value) => `${value.toFixed(2)} ×` },
          { key: "finished", title: "finished", number: true, show: count },
          { key: "token_rate", title: "tokens/s", number: true }, latency("ttft_p50", "TTFT p50"), latency("ttft_p99", "TTFT p99"),
          latency("tpot_p50", "TPOT p50"), latency("e2e_p50", "E2E p50"),
        ],
        rows: now.changes, empty: "No change was simulated.",
      });
      const value = (name) => (shown) => (shown === null ? "unknown" : name.startsWith("max_") ? count(shown) : duration(shown));
      page.table(settings, {
        columns: [
          { key: "setting", title: "setting", show: (name) => SERVER_SETTINGS[name] ?? name },
          { key: "value", title: "value", number: true, show: (shown, row) => value(row.setting)(shown) },
          { key: "source", title: "how it is known" },
          { key: "low", title: "from", number: true, show: (shown, row) => (row.source.startsWith("fitted") ? value(row.setting)(shown) : "") },
          { key: "high", title: "to", number: true, show: (shown, row) => (row.source.startsWith("fitted") ? value(row.setting)(shown) : "") },
        ],
        rows: now.settings, empty: "All settings are the view's.",
      });
    }

    return { root, draw };
  },
};

const EXPLAINED = {
  "time [ms]": ["time", "Of all its calls together", (value) => si(value / 1e3, "s")],
  "share [%]": ["share", "Of all that was measured", (value) => percent(value / 100)],
  "of the roof [%]": ["of the roof", "The roof's time over the measured: 100 % is as fast as the GPU can", (value) => percent(value / 100)],
  "predicted [ms]": ["predicted", "By the model of kernel times", (value) => si(value / 1e3, "s")],
  "predicted / measured": ["predicted / measured", "1 is as predicted; less is slower than predicted", (value) => `${value.toFixed(2)} ×`],
  "TFLOP/s": ["TFLOP/s", "FLOPs of the operator over the measured time", digits],
  "GB/s": ["GB/s", "Bytes over the measured time; those that a profiler counted, where it did", digits],
  calls: ["calls", "Of the operator", count], kernels: ["kernels", "That these calls are made of", count],
  bound: ["bound", "Which roof is above it", (value) => value], "waits for": ["waits for", "That roof where it is near; else launches and tiles, as predicted, or the kernel itself", (value) => value],
};

/** A column of the table of operators, with its definition. */
function explainedColumn(key) {
  const [title, definition, show] = EXPLAINED[key] ?? [key];
  const number = Boolean(show) && !["bound", "waits for"].includes(key);
  return { key, title, definition, number, show: show && ((value) => (value === null ? (number ? "unknown" : "") : show(value))) };
}
