// The reader's own model: a config.json, uploaded or pasted, or a saved view.

function makeOwn(page) {
  const file = make("input", { type: "file", accept: ".json", id: freshId(), onchange: () => file.files[0] && page.upload("own", file.files[0]) });
  const paste = make("textarea", { id: freshId(), rows: 4, spellcheck: "false" });
  const add = page.button("Add as a model", () => page.upload("own", new File([paste.value], "pasted text")));
  return make("details", { class: "wb-own" }, [
    make("summary", {}, ["Your own model"]),
    make("div", { class: "wb-group" }, [
      make("label", { for: file.id }, ["config.json or saved view"]), file,
      make("label", { for: paste.id }, ["or paste a config.json here"]), paste, add,
    ]),
  ]);
}
