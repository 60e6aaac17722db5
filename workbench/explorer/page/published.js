// The tab Published: charts as their sources print them, with every claim beside what is recomputed.

TABS.published = {
  title: "Published",
  make(page) {
    const list = make("div", { class: "wb-charts" }), claims = make("div"), caption = make("p"), sources = make("div");
    const roofline = make("div"), chart = charts.roofline(roofline, page);
    const take = page.button("Take it to Roofline", () => page.send({ kind: "update", fields: { tab: "roofline" } }), "The same view, where everything can be changed");
    let listed = !page.picture().published; // a link opens its chart
    const back = page.button("All charts", () => {
      listed = !listed;
      draw(page.picture());
    });
    const only = make("select", { "aria-label": "Which claims", onchange: () => draw(page.picture()) });
    const words = make("input", { type: "search", "aria-label": "Claims that say", placeholder: "claims that say ...", oninput: () => draw(page.picture()) });
    const charted = page.section("published-chart", "As printed", [back, take, ...page.files(chart, "published")], roofline, caption, sources);
    const judged = page.section("claims", "Claims", [only, words], claims);
    const root = make("div", {}, [charted, judged]), all = page.section("charts", "Published charts", [], list);
    root.prepend(all);
    list.addEventListener("click", (event) => {
      const figure = event.target.closest("button")?.dataset.figure;
      if (!figure) return;
      listed = false;
      page.set("figure", figure);
    });

    function draw(picture) {
      const shown = picture.published;
      drawList(picture);
      charted.hidden = judged.hidden = !shown;
      all.hidden = Boolean(shown) && !listed;
      back.textContent = listed ? "Hide the list" : "All charts";
      if (!shown) return;
      charted.querySelector(".wb-sub").textContent = shown.name;
      roofline.firstChild.dataset.title = shown.name;
      chart.draw(picture.roofline, picture);
      caption.textContent = shown.caption;
      put(sources, shown.sources.map(({ title, citation, url }) => ["p", {}, [
        ["strong", {}, `${title}: `], url ? ["a", { href: url, target: "_blank", rel: "noopener" }, citation] : ["span", {}, citation],
      ]]));
      drawClaims(shown);
    }

    function drawList(picture) {
      const bySource = Map.groupBy ? Map.groupBy(picture.charts ?? [], (each) => each.source) : grouped(picture.charts ?? []);
      put(list, [...bySource].flatMap(([source, rows]) => [
        ["h3", {}, source],
        ["ul", {}, rows.map((row) => ["li", {}, [["button", { type: "button", "data-figure": row.figure, "aria-pressed": String(row.figure === picture.state.figure) }, [
          ["strong", {}, row.name], ["span", {}, row.title], ["span", { class: "wb-meter", "aria-hidden": "true", style: `--share: ${row.claims ? row.reproduce / row.claims : 0}` }, ""],
          ["span", {}, row.claims ? `${row.reproduce} of ${row.claims} claims reproduce` : "no claim"],
        ]]]])],
      ]));
    }

    function drawClaims(shown) {
      const rows = shown.sources.flatMap(({ title, verdicts }) => Object.entries(verdicts).flatMap(([verdict, own]) => own.map((row) => ({ ...row, source: title, judged: verdict }))));
      const counts = new Map();
      for (const row of rows) counts.set(row.judged, (counts.get(row.judged) ?? 0) + 1);
      const chosen = counts.has(only.value) ? only.value : "";
      put(only, [["option", { value: "" }, `all ${rows.length} claims`], ...[...counts].map(([verdict, many]) => ["option", { value: verdict }, `${verdict}: ${many}`])]);
      only.value = chosen;
      const wanted = words.value.trim().toLowerCase();
      const left = rows.filter((row) => (!chosen || row.judged === chosen) && (!wanted || Object.values(row).join(" ").toLowerCase().includes(wanted)));
      judged.querySelector(".wb-sub").textContent = `${[...counts].map(([verdict, many]) => `${verdict}: ${many}`).join(", ")}`;
      page.table(claims, {
        columns: [
          { key: "statement", title: "published" }, { key: "where", title: "where" }, { key: "source", title: "source" },
          { key: "published", title: "number", show: (value, row) => `${value} ${row.unit === "1" ? "" : row.unit}`.trim() },
          { key: "source_formula", title: "source's formula", definition: "Recomputed as the source says" },
          { key: "ours", title: "ours", definition: "Recomputed by this package" }, { key: "verdict", title: "verdict" }, { key: "reason", title: "why" },
        ],
        rows: left, empty: "No claim says that.", rowClass: (row) => (row.judged === "reproduces" ? "" : "wb-differs"),
      });
    }

    return { root, draw };
  },
};

/** Rows by source, in their order. */
function grouped(rows) {
  const found = new Map();
  for (const row of rows) found.set(row.source, [...(found.get(row.source) ?? []), row]);
  return found;
}
