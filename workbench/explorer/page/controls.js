// The controls: native elements made from what Python describes; Python reads and checks what they say.

/** All controls; `write` gives them the values of a view, `wrong` says beside one what is wrong with it. */
function makeControls(page, described) {
  const groups = new Map(), all = new Map();
  for (const control of described.filter(({ group }) => group)) { // the tab is chosen above
    if (!groups.has(control.group)) groups.set(control.group, []);
    const built = KINDS[control.kind](page, control);
    const error = make("p", { class: "wb-error", id: `${built.id}-error`, role: "alert" });
    const help = control.help ? make("p", { class: "wb-help", id: `${built.id}-help` }, [control.help]) : "";
    built.root.classList.add("wb-control", `wb-of-${control.kind}`);
    built.root.dataset.control = control.name;
    built.root.append(help, error);
    for (const field of built.fields) {
      field.setAttribute("aria-describedby", `${control.help ? `${built.id}-help ` : ""}${built.id}-error`);
      if (control.help) field.title = control.help;
    }
    groups.get(control.group).push([control, built.root]);
    all.set(control.name, { ...built, control, error });
  }
  const sections = [...groups].map(([title, members]) => {
    const body = make("div", { class: "wb-group" }, members.map(([, root]) => root));
    const details = make("details", OPEN.has(title) ? { open: "" } : {}, [make("summary", {}, [title]), body]);
    return { details, members };
  });
  const root = make("div", { class: "wb-groups-of-controls" }, sections.map(({ details }) => details));

  /** The values of a view, but not under the hands of its reader: what is wrong is to be mended, what moves has moved on. */
  function write({ values, options }, tab, wrong, pending) {
    for (const [name, { control, root: node, write: set }] of all) {
      const value = values[name];
      node.hidden = value === null || !control.tabs.includes(tab);
      const kept = control.kind !== "names" && (name === wrong?.control || pending(name));
      if (!node.hidden && !kept) set(value, options[name] ?? control.options);
    }
    for (const { details, members } of sections) details.hidden = members.every(([, node]) => node.hidden);
  }

  /** Say what is wrong beside the control that caused it; whether there is such a control. */
  function say(wrong) {
    for (const [name, { error, fields }] of all) {
      const words = wrong?.control === name ? wrong.message : "";
      if (error.textContent !== words) error.textContent = words;
      for (const field of fields) words ? field.setAttribute("aria-invalid", "true") : field.removeAttribute("aria-invalid");
    }
    const at = all.get(wrong?.control);
    if (!at || at.root.hidden) return false;
    at.root.closest("details").open = true;
    at.error.scrollIntoView({ block: "nearest" });
    return true;
  }
  return { root, write, say };
}

const OPEN = new Set(["Use case", "Published chart", "GPUs and models", "Request", "Goal", "Sizes", "One setting"]);

const labelled = (id, words, ...children) => make("div", {}, [make("label", { for: id }, [words]), ...children]);

const KINDS = {
  choice(page, { name, label }) {
    const id = freshId(), select = make("select", { id, onchange: () => page.set(name, select.value) });
    return {
      id, root: labelled(id, label, select), fields: [select],
      write(value, options) {
        put(select, options.map(([each, words]) => ["option", { value: each }, words]));
        select.value = value;
      },
    };
  },

  number(page, { name, label, least, most, unit, placeholder }) {
    const id = freshId();
    const input = make("input", {
      id, type: "number", min: least, max: most, step: "any", inputmode: "decimal", placeholder: placeholder || null,
      onchange: () => page.set(name, input.value === "" ? null : Number(input.value)),
    });
    const words = make("span", { class: "wb-unit", "aria-hidden": "true" }, [unit === label ? "" : unit]);
    return { id, root: labelled(id, label, make("span", { class: "wb-field" }, [input, words])), fields: [input], write: (value) => refill(input, value) };
  },

  text(page, { name, label, placeholder }) {
    const id = freshId(), input = make("input", { id, type: "text", placeholder, onchange: () => page.set(name, input.value) });
    return { id, root: labelled(id, label, input), fields: [input], write: (value) => refill(input, value) };
  },

  slider(page, { name, label, unit }) {
    const one = sliderOf(page, label, unit, (value) => page.set(name, value));
    return { id: one.id, root: make("div", {}, [one.root]), fields: [one.input], write: one.write };
  },

  range(page, { name, label, unit }) {
    const id = freshId();
    const set = () => page.set(name, [low.value(), high.value()].sort((a, b) => a - b));
    const low = sliderOf(page, `from`, unit, set, `${label} from`), high = sliderOf(page, "to", unit, set, `${label} to`);
    const root = make("fieldset", { class: "wb-range-of-sizes" }, [make("legend", {}, [label]), low.root, high.root]);
    return {
      id, root, fields: [low.input, high.input],
      write([least, most], options) {
        low.write(least, options);
        high.write(most, options);
      },
    };
  },

  names(page, { name, label, options, placeholder }) {
    const id = freshId(), known = new Set(options.map(([each]) => each));
    const chips = make("ul", { class: "wb-chips", "aria-label": label });
    const list = make("datalist", { id: `${id}-list` }, options.map(([value, words]) => make("option", { value, label: words && words !== value ? words : null })));
    let chosen = [], asked = "";
    const input = make("input", {
      id, type: "text", list: `${id}-list`, placeholder: `${placeholder}: type to search`, autocomplete: "off", spellcheck: "false",
      oninput: (event) => { // one of the suggestions was taken
        if (event.inputType === "insertReplacementText" || !event.inputType) known.has(input.value) && add();
      },
      onkeydown: (event) => {
        if (event.key === "Enter") add();
        else if (event.key === "Backspace" && !input.value && chosen.length) page.set(name, chosen.slice(0, -1));
        else return;
        event.preventDefault();
      },
    });
    const add = () => {
      asked = input.value.trim();
      if (asked) page.set(name, [...chosen, asked]);
    };
    const plus = button("Add", add);
    plus.ariaLabel = `${placeholder[0].toUpperCase()}${placeholder.slice(1)}`; // "Add a GPU"
    chips.addEventListener("click", (event) => event.target.closest("button") && drop(event.target.closest("button")));
    chips.addEventListener("keydown", (event) => {
      if (!["Delete", "Backspace"].includes(event.key)) return;
      event.preventDefault();
      drop(event.target);
    });
    const drop = (from) => {
      const at = Number(from.dataset.at), others = [...chips.querySelectorAll("button")];
      (others[at + 1] ?? others[at - 1] ?? input).focus();
      page.set(name, chosen.filter((_, i) => i !== at));
    };
    return {
      id, fields: [input],
      root: labelled(id, label, chips, make("span", { class: "wb-field" }, [input, plus]), list),
      write(value) {
        const focused = chips.contains(document.activeElement) ? document.activeElement.dataset.name : null;
        if (asked && value.length > chosen.length) input.value = asked = "";
        chosen = value;
        put(chips, value.map((each, at) => ["li", {}, [["span", {}, each], ["button", { type: "button", "data-at": at, "data-name": each, "aria-label": `Remove ${each}` }, "×"]]]));
        if (focused) [...chips.querySelectorAll("button")].find((each) => each.dataset.name === focused)?.focus();
      },
    };
  },
};

/** A new value for a field, but not under the hands of somebody who types. */
function refill(input, value) {
  if (!input.listens) {
    input.listens = true;
    input.addEventListener("input", () => { input.typed = true; });
    input.addEventListener("change", () => { input.typed = false; });
  }
  if (document.activeElement !== input || (!input.typed && String(value) !== input.dataset.last)) input.value = value;
  input.dataset.last = String(value);
}

function sliderOf(page, label, unit, changed, named = label) {
  const id = freshId();
  let stops = [], moving = false;
  const input = make("input", {
    id, type: "range", min: 0, step: 1, "aria-label": named,
    oninput: () => { say(); changed(value()); },
    onpointerdown: () => { moving = true; }, onpointerup: () => { moving = false; }, onpointercancel: () => { moving = false; },
  });
  const output = make("output", { for: id, "aria-hidden": "true" });
  const value = () => stops[input.valueAsNumber]?.[0];
  const say = () => {
    const words = stops[input.valueAsNumber]?.[1] ?? "";
    output.textContent = words;
    input.setAttribute("aria-valuetext", `${value()?.toLocaleString("en")} ${unit}`);
  };
  return {
    id, input, value, root: make("div", { class: "wb-slider" }, [make("label", { for: id }, [label]), input, output]),
    write(now, options) {
      stops = options;
      input.max = stops.length - 1;
      if (!moving) input.value = stops.findIndex(([each]) => each === now);
      say();
    },
  };
}
