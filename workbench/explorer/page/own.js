// What the reader brings: a file in pieces with its progress, GPUs of their own as a form or YAML, models of their own.

/** A file that is sent piece by piece, each when the one before has arrived; its progress and its error beside it. */
function fileOf(page, use, label, accept, help) {
  const id = freshId();
  const input = make("input", { type: "file", accept, id, "aria-describedby": `${id}-help ${id}-error`, onchange: () => input.files[0] && begin(input.files[0]) });
  const bar = make("progress", { "aria-label": "Progress of the file", max: 1 }), words = make("span", { class: "wb-said", role: "status" });
  const error = make("p", { class: "wb-error", id: `${id}-error`, role: "alert" });
  const root = make("div", { class: "wb-file" }, [
    make("label", { for: id }, [label]), input, make("p", { class: "wb-help", id: `${id}-help` }, [help]),
    make("p", { class: "wb-progress" }, [bar, " ", words]), error,
  ]);
  let own = "", busy = "", since = 0, clock = 0;

  async function begin(file) {
    own = "";
    since = Date.now();
    input.value = ""; // so that the same file can be chosen again
    try {
      await page.upload(use, file, (share) => show(share < 1 ? `sending ${file.name}` : "reading", share));
    } catch (problem) {
      own = problem.message;
    }
    show("", null);
    say();
  }

  /** Say what goes on: a share that is done, or none while nobody knows how long it takes, and for how long it has. */
  function show(what, share) {
    bar.parentElement.hidden = !what;
    if (share === null || share >= 1) bar.removeAttribute("value");
    else bar.value = share;
    const seconds = Math.round((Date.now() - since) / 1000);
    words.textContent = what && `${what}${seconds > 1 ? `, ${seconds} s` : ""}`;
  }

  let told = "";
  function say() {
    const line = own || told;
    if (error.textContent !== line) error.textContent = line;
    input.setAttribute("aria-invalid", String(Boolean(line)));
  }

  /** `busy` is what Python is at, `error` what was wrong. */
  function draw(now) {
    told = now.error ?? "";
    if (told || now.busy) own = "";
    if (now.busy && !busy) since = Date.now();
    busy = now.busy ?? "";
    clearInterval(clock);
    show(busy, null);
    if (busy) clock = setInterval(() => (root.isConnected && busy ? show(busy, null) : clearInterval(clock)), 1000);
    say();
  }
  show("", null);
  return { root, draw };
}

/** GPUs and models of the reader's own; `draw` lists them, `say` puts an error beside the field that caused it. */
function makeOwn(page, described) {
  const cards = makeCards(page, described.find(({ name }) => name === "gpu")?.options ?? []), models = makeModels(page);
  return {
    root: make("div", { class: "wb-own" }, [cards.root, models.root]),
    draw(now) {
      cards.draw(now);
      models.draw(now);
    },
    say: (wrong) => cards.say(wrong) || models.say(wrong),
  };
}

/** A list of names, each with a button to edit and one to remove it. */
function listOf(parent, names, edit, remove) {
  put(parent, names.map((name) => ["li", {}, [
    ["span", {}, name],
    ["button", { type: "button", "data-edit": name, "aria-label": `Edit ${name}` }, "Edit"],
    ["button", { type: "button", "data-remove": name, "aria-label": `Remove ${name}` }, "×"],
  ]]));
  parent.hidden = !names.length;
  parent.onclick = (event) => {
    const { edit: one, remove: other } = event.target.closest("button")?.dataset ?? {};
    if (one) edit(one);
    if (other) remove(other);
  };
}

// GPUs ------------------------------------------------------------------------------------------------------------

function makeCards(page, options) {
  const id = freshId(), list = make("ul", { class: "wb-own-list", "aria-label": "Your own GPUs" });
  const known = make("datalist", { id: `${id}-list` }, options.map(([value]) => make("option", { value })));
  const start = make("input", { id, type: "text", list: known.id, placeholder: "a GPU to start from", autocomplete: "off", spellcheck: "false", onkeydown: (event) => event.key === "Enter" && begin(start.value) });
  const error = make("p", { class: "wb-error", id: `${id}-error`, role: "alert" });
  const editor = make("form", { class: "wb-editor", hidden: "", novalidate: "" });
  const root = make("details", {}, [
    make("summary", {}, ["Your own GPU"]),
    make("div", { class: "wb-group" }, [
      list, make("label", { for: id }, ["Start from"]),
      make("span", { class: "wb-field" }, [start, page.button("Edit", () => begin(start.value), "Its numbers, to be changed")]), known, error, editor,
    ]),
  ]);
  start.setAttribute("aria-describedby", error.id);
  let shown = null, fields = new Map();

  const begin = (name) => page.send({ kind: "card-form", start: name });
  page.hear("card-form", (content) => {
    build(content);
    editor.hidden = false;
    root.open = true;
    editor.querySelector("input").focus();
  });

  /** The form of one entry: a field for each number, or all of it as YAML. */
  function build(content) {
    shown = content;
    fields = new Map();
    const row = (path, label, unit, help, value) => {
      const own = freshId(), words = make("p", { class: "wb-error", id: `${own}-error`, role: "alert" });
      const input = make("input", { id: own, type: "text", value, inputmode: unit ? "decimal" : null, title: help || null, autocomplete: "off", spellcheck: "false", "aria-describedby": words.id, oninput: () => { words.textContent = ""; } });
      fields.set(path, { input, words });
      return make("div", { class: "wb-control" }, [make("label", { for: own }, [label]), make("span", { class: "wb-field" }, [input, make("span", { class: "wb-unit" }, [unit === "1" ? "" : unit])]), words]);
    };
    const yaml = make("textarea", { id: freshId(), rows: 14, spellcheck: "false" }, [content.yaml]);
    const wrong = make("p", { class: "wb-error", id: `${yaml.id}-error`, role: "alert" });
    yaml.setAttribute("aria-describedby", wrong.id);
    fields.set("yaml", { input: yaml, words: wrong });
    editor.replaceChildren(
      row("id", "Its own name", "", "As lists and links call it: lower case", content.name),
      ...content.fields.map(({ path, label, unit, help, value }) => row(path, label, unit, help, value)),
      make("p", { class: "wb-tools" }, [make("button", { type: "submit", class: "wb-main" }, ["Take these numbers"]), page.button("Close", close)]),
      make("details", {}, [
        make("summary", {}, ["As YAML"]), make("label", { for: yaml.id }, ["An entry as the catalog has them"]), yaml, wrong,
        page.button("Take this text", () => page.send({ kind: "card-text", name: fields.get("id").input.value, before: shown.before, text: yaml.value })),
      ]),
    );
  }
  editor.addEventListener("submit", (event) => {
    event.preventDefault();
    const form = Object.fromEntries([...fields].filter(([path]) => !["id", "yaml"].includes(path)).map(([path, { input }]) => [path, input.value]));
    page.send({ kind: "card", name: fields.get("id").input.value, before: shown.before, start: shown.start, form });
  });
  page.hear("card-taken", close);
  function close() {
    editor.hidden = true;
    start.value = "";
    start.focus({ preventScroll: true });
  }

  function say(wrong) {
    const [, path] = wrong?.control?.match(/^card[.:](.*)$/) ?? [];
    const at = path && !editor.hidden ? fields.get(path) ?? fields.get("id") : null;
    for (const { input, words } of fields.values()) {
      const line = at?.words === words ? wrong.message : "";
      if (words.textContent !== line) words.textContent = line;
      input.setAttribute("aria-invalid", String(Boolean(line)));
    }
    const beside = path && !at;
    error.textContent = beside ? wrong.message : "";
    if (!path) return false;
    root.open = true;
    if (at) {
      for (let node = at.input.closest("details"); node && node !== root; node = node.parentElement.closest("details")) node.open = true;
      at.input.focus();
    }
    return true;
  }

  return {
    root, say,
    draw: (now) => listOf(list, Object.keys(now.state.cards ?? {}), begin, (name) => page.send({ kind: "drop-own", what: "card", name })),
  };
}

// Models ----------------------------------------------------------------------------------------------------------

function makeModels(page) {
  const list = make("ul", { class: "wb-own-list", "aria-label": "Your own models" });
  const file = fileOf(page, "own", "config.json, an entry or GPU in YAML, or a saved view", ".json,.yaml,.yml", "It stays on this machine.");
  const id = freshId(), error = make("p", { class: "wb-error", id: `${id}-error`, role: "alert" });
  const paste = make("textarea", { id, rows: 5, spellcheck: "false", "aria-describedby": error.id });
  let before = "";
  const add = page.button("Add as a model", () => page.send({ kind: "model-text", text: paste.value, before }));
  const root = make("details", {}, [
    make("summary", {}, ["Your own model"]),
    make("div", { class: "wb-group" }, [list, file.root, make("label", { for: id }, ["or paste one here"]), paste, error, add]),
  ]);
  page.hear("model-text", (content) => {
    paste.value = content.text;
    before = content.name;
    add.textContent = `Change ${before}`;
    paste.focus();
  });
  page.hear("model-taken", () => {
    paste.value = before = "";
    add.textContent = "Add as a model";
  });
  return {
    root,
    draw(now) {
      listOf(list, Object.keys(now.state.configs ?? {}), (name) => page.send({ kind: "model-form", name }), (name) => page.send({ kind: "drop-own", what: "model", name }));
      file.draw({ error: now.wrong?.control === "own" ? now.wrong.message : "" });
    },
    say(wrong) {
      error.textContent = wrong?.control === "model-text" ? wrong.message : "";
      paste.setAttribute("aria-invalid", String(Boolean(error.textContent)));
      if (error.textContent || wrong?.control === "own") root.open = true;
      return root.open && (Boolean(error.textContent) || wrong?.control === "own");
    },
  };
}
