// The tab Plan.

TABS.plan = {
  title: "Plan",
  make(page) {
    const root = make("div", {}, [page.section("plan", "Plan", [])]);
    return { root, draw() {} };
  },
};
