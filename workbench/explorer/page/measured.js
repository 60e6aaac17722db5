// The tab Measured.

TABS.measured = {
  title: "Measured",
  make(page) {
    const root = make("div", {}, [page.section("measured", "Measured", [])]);
    return { root, draw() {} };
  },
};
