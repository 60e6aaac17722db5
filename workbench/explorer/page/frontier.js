// The tab Frontier.

TABS.frontier = {
  title: "Frontier",
  make(page) {
    const root = make("div", {}, [page.section("frontier", "Frontier", [])]);
    return { root, draw() {} };
  },
};
