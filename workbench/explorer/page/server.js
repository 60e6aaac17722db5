// The tab Server: memory and latency of the one setting.

TABS.server = {
  title: "Server",
  make(page) {
    const rows = make("div");
    const root = make("div", {}, [page.section("serving", "Memory and latency", [], rows)]);
    const bytes = (key, title) => ({ key, title, number: true, show: (value) => si(value, "byte") });
    const seconds = (key, title) => ({ key, title, number: true, show: (value) => si(value, "s") });
    function draw({ serving }) {
      if (!serving) return;
      root.querySelector(".wb-sub").textContent = `${serving.at}; ${serving.times} times`;
      page.table(rows, {
        columns: [
          { key: "gpu", title: "GPU" }, { key: "model", title: "model" }, { key: "fits", title: "fits" },
          bytes("weights", "weights"), bytes("cache", "KV cache"), bytes("memory", "memory per GPU"),
          { key: "largest_batch", title: "largest batch", number: true, show: count }, seconds("ttft", "TTFT"), seconds("tpot", "TPOT"),
          { key: "tokens_per_second", title: "tokens/s", number: true },
        ],
        rows: serving.rows, empty: "",
      });
    }
    return { root, draw };
  },
};
