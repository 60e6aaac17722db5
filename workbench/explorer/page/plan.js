// The tab Plan: what a rate of requests and a service level take, the cheapest first (see planning.py).

const PLANNED = {
  why: "best: the cheapest that keeps the goal; else why not: what does not fit, or which limit the simulated requests break",
  replicas: "Copies of the server that together take the requests, the fewest with which the simulation keeps the goal",
  gpus: "GPUs of all replicas together",
  cost_hour: "Of all GPUs for an hour, at the price of a GPU-hour",
  cost: "Of a million output tokens, of the replicas as they are loaded",
  ttft: "Time to first token that so many percent of the simulated requests keep, queue included",
  tpot: "Time per output token after the first that so many percent of the simulated requests keep",
  batch_size: "Requests at a time in one replica at most, the best of 1, 2, 4 ... 256",
  utilization: "Share of its highest throughput that a replica has to put out",
};

const money = (value) => value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

TABS.plan = {
  title: "Plan",
  make(page) {
    const words = make("div", { class: "wb-answer", "aria-live": "polite" }), progress = progressLine(), rows = make("div");
    const answer = page.section("answer", "What to buy", [], words, progress.root);
    const listed = page.section("plans", "Every GPU and tp", [], rows);
    const root = make("div", {}, [answer, listed]);
    const go = ({ gpu, model, tp, batch_size }) => page.send({ kind: "update", fields: { gpu: [gpu], model: [model], tp, setting: batch_size === null ? {} : { batch_size }, tab: "server" } });

    function draw({ plan }) {
      if (!plan) return;
      answer.querySelector(".wb-sub").textContent = plan.at;
      put(words, (plan.missing ? [plan.missing] : plan.sentences).map((line) => ["p", {}, line]));
      progress.draw(plan.computing, "estimates and simulations");
      listed.hidden = !plan.rows.length;
      listed.querySelector(".wb-sub").textContent = "the best batch size of each, one replica of each simulated with its share of Poisson arrivals; a click shows that server";
      const least = (show) => (value, row) => (value === null ? "none" : row.simulated ? show(value) : `at least ${show(value)}`);
      const cost = plan.price === null ? [] : [
        { key: "cost_hour", title: "cost an hour", number: true, definition: PLANNED.cost_hour, show: least(money) },
        { key: "cost", title: "cost of 1M tokens", number: true, definition: PLANNED.cost, show: least(digits) },
      ];
      page.table(rows, {
        columns: [
          defined("gpu", "GPU", undefined, { number: false }), ...(new Set(plan.rows.map(({ model }) => model)).size > 1 ? [{ key: "model", title: "model" }] : []), defined("tp", "tp", count),
          { key: "why", title: "verdict", definition: PLANNED.why },
          { key: "replicas", title: "replicas", number: true, definition: PLANNED.replicas, show: least(count) }, { key: "gpus", title: "GPUs", number: true, definition: PLANNED.gpus, show: least(count) }, ...cost,
          { key: "simulated_ttft_s", title: `TTFT, p${plan.percentile}`, number: true, definition: PLANNED.ttft, show: seconds },
          { key: "simulated_tpot_s", title: `TPOT, p${plan.percentile}`, number: true, definition: PLANNED.tpot, show: seconds },
          { key: "batch_size", title: "batch", number: true, definition: PLANNED.batch_size, show: count },
          { key: "utilization", title: "load", number: true, definition: PLANNED.utilization, show: (value) => (value === null ? "none" : percent(value / 100)) },
        ],
        rows: plan.rows, empty: "", onrow: go,
        rowClass: (row) => (row.verdict === "best" ? "wb-good" : /over$/.test(row.verdict) ? "wb-late" : ["meets the SLO", "fits", "not simulated", "no price"].includes(row.verdict) ? "" : "wb-unfit"),
      });
    }
    return { root, draw };
  },
};
