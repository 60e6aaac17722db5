// The page: tabs over one view, its controls beside them, and what the reader takes away.

function render({ model, el }) {
  const picture = () => model.get("picture");

  // What is asked for: of a control that moves, only the newest value waits for the answer to the one before.
  const later = new Map();
  let waiting = 0, flying = "";
  function send(message, buffers = []) {
    root.setAttribute("aria-busy", "true");
    waiting += 1;
    model.send(message, undefined, buffers);
  }
  function set(control, value) {
    const message = { kind: "set", control, value };
    if (waiting) return later.set(control, message);
    flying = control;
    send(message);
  }
  const pending = (control) => flying === control || later.has(control);
  function answered() {
    waiting = Math.max(waiting - 1, 0);
    if (waiting) return;
    const [next] = later;
    flying = "";
    if (next) {
      later.delete(next[0]);
      set(next[0], next[1].value);
    } else {
      root.removeAttribute("aria-busy");
      soon();
    }
  }

  const listeners = new Map(); // of messages, by kind
  const ends = [];
  const page = {
    send, set, section, button, table, save, copy, picture,
    files: (chart, name) => files(page, chart, name),
    upload: (use, file, progress) => upload(page, use, file, progress),
    onend: (end) => { ends.push(end); },
    hear: (kind, listener) => { listeners.set(kind, [...(listeners.get(kind) ?? []), listener]); },
    heard: (kind, most) => new Promise((resolve) => { // the next message of a kind, or null after a time [ms]
      const timer = setTimeout(done, most, null);
      function done(content) {
        clearTimeout(timer);
        listeners.set(kind, listeners.get(kind).filter((each) => each !== done));
        resolve(content);
      }
      page.hear(kind, done);
    }),
    dark: () => getComputedStyle(root).getPropertyValue("--wb-dark").trim() === "1",
  };

  // Tabs
  const panel = make("div", { role: "tabpanel", tabindex: 0, id: freshId() });
  const tabs = Object.entries(TABS).sort(([a], [b]) => TAB_ORDER.indexOf(a) - TAB_ORDER.indexOf(b)).map(([name, { title }]) => make("button", {
    type: "button", role: "tab", id: `${panel.id}-${name}`, "data-tab": name, "aria-controls": panel.id, onclick: () => set("tab", name),
  }, [title]));
  const bar = make("div", { role: "tablist", "aria-label": "What is shown" }, tabs);
  bar.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const tab = tabs.at(to % tabs.length);
    tab.focus();
    set("tab", tab.dataset.tab);
  });
  const built = {};
  function show(name) {
    for (const tab of tabs) {
      const chosen = tab.dataset.tab === name;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen) panel.setAttribute("aria-labelledby", tab.id);
    }
    built[name] ??= TABS[name].make(page);
    if (panel.firstChild !== built[name].root) panel.replaceChildren(built[name].root);
    return built[name];
  }

  // What is around them
  const controls = makeControls(page, model.get("described"));
  const message = make("div", { role: "alert", class: "wb-message" }), notes = make("ul", { class: "wb-notes" });
  const said = make("p", { class: "wb-print wb-setting-in-words" });
  const away = makeAway(page, () => address(picture())), own = makeOwn(page, model.get("described"));
  const side = make("details", { class: "wb-controls", open: "" }, [make("summary", {}, ["Settings"]), controls.root, own.root]);
  const what = make("p", { class: "wb-title" }), lost = make("div", { role: "alert", class: "wb-lost" });
  const root = make("div", { class: "wb-views" }, [
    make("header", {}, [make("h1", {}, ["Roofline Workbench"]), what]), lost, bar,
    make("div", { class: "wb-body" }, [side, make("main", {}, [message, panel, notes, said, away.root])]),
  ]);
  el.classList.add("wb-frame");
  el.append(root);
  const narrow = matchMedia("(max-width: 700px)");
  const fold = () => { side.open = !narrow.matches; };
  fold();
  narrow.addEventListener("change", fold);

  function say(words) {
    if (message.textContent === words) return;
    message.textContent = words;
    if (words) message.scrollIntoView({ block: "nearest" });
  }

  function draw() {
    const now = picture();
    controls.write(model.get("controls"), now.tab, now.wrong, pending);
    own.draw(now);
    const beside = [controls, own].map((part) => part.say(now.wrong)).some(Boolean);
    root.classList.toggle("wb-stale", now.stale);
    what.textContent = now.title;
    said.textContent = `${now.setting}. Roofline Workbench ${now.version}, ${today()}.`;
    document.title = now.page ? `${now.title}: Roofline Workbench` : document.title;
    let failed = "";
    try {
      show(now.tab).draw(now);
    } catch (error) { // one tab's mistake must not take the page with it
      failed = `${TABS[now.tab].title} cannot be drawn: ${error.message}`;
      console.error(error);
    }
    say(failed || (beside ? "" : now.message));
    put(notes, now.notes.map((note) => ["li", {}, note]));
    away.draw(now);
    if (now.page && !now.stale) keep(now);
    root.dataset.state = JSON.stringify(now.state);
    root.dataset.tab = now.tab;
    root.dataset.batchSize = now.sizes.batch_size.join(" ");
  }

  // A picture that comes while another waits for its frame takes its place: nothing stale is drawn.
  let frame = 0;
  const soon = () => { frame ||= requestAnimationFrame(() => { frame = 0; draw(); }); };
  model.on("change:picture", soon);
  model.on("msg:custom", (content, buffers) => {
    if (content.kind === "answered") answered();
    else if (content.kind === "file") save(content.name, new Blob([buffers[0]]));
    for (const listener of listeners.get(content.kind) ?? []) listener(content, buffers);
  });
  const theme = onTheme(soon), shortcuts = ownKeys(root);
  draw();
  if (picture().page) {
    watch(model.widget_manager?.kernel, lost, picture);
    restore(page);
  }
  return () => {
    cancelAnimationFrame(frame);
    narrow.removeEventListener("change", fold);
    theme();
    shortcuts();
    for (const end of ends) end();
  };
}

const TAB_ORDER = ["roofline", "server", "frontier", "plan", "measured", "published"];

/** What is taken away: numbers, the view, a link, and the view as code. */
function makeAway(page, address) {
  const python = make("pre", { class: "wb-python", tabindex: 0 }), params = make("pre", { class: "wb-params", tabindex: 0 });
  const link = page.button("Copy link", () => copy(link, address()), "An address that opens this view");
  const download = (format) => () => page.send({ kind: "download", format });
  const code = make("details", { class: "wb-code" }, [
    make("summary", {}, ["Code"]),
    make("header", {}, [make("h3", {}, ["Python"]), page.button("Copy code", (event) => copy(event.target, python.textContent))]), python,
    make("header", {}, [make("h3", {}, ["Params"]), page.button("Copy params", (event) => copy(event.target, params.textContent))]), params,
  ]);
  const root = page.section("away", "Take away", [
    page.button("CSV", download("csv"), "All numbers of the view, a row a setting"),
    page.button("NetCDF", download("nc"), "The Dataset, for xarray"),
    page.button("Save view", () => save(`${page.picture().file}.json`, new Blob([JSON.stringify({ view: page.picture().state }, null, 1)], { type: "application/json" })), "A file that the explorer opens again"),
    link,
  ], code);
  function draw(now) {
    link.hidden = address().length > now.page; // longer than what the server takes, 0 in a notebook
    python.textContent = now.code.python;
    params.textContent = now.code.params;
  }
  return { root, draw };
}

export default { render };
