// Numbers in words, and elements of the page: what all tabs share. Nothing here knows of a view.

const TABS = {}; // name: { title, make(page) -> { root, draw(picture) } }
const SVG = "http://www.w3.org/2000/svg";
const PREFIXES = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];

// Numbers and words -----------------------------------------------------------------------------------------------

const FOUR_DIGITS = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 }), WHOLE = new Intl.NumberFormat("en");
const digits = (value) => FOUR_DIGITS.format(Number(value.toPrecision(4)));

/** A time as people say it: 0.05 is "50 ms", 1181 "19.7 min". */
function duration(value) {
  const [scale, unit] = [[3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]]
    .find(([least, name]) => Math.abs(value) >= (name === "min" ? 120 : name === "h" ? 7200 : least * 0.99995)) ?? [1, "s"];
  return `${digits(value / scale)} ${unit}`;
}

/** A number with four digits and its unit: "989.4 TFLOP/s", "50 ms", "none". */
function si(value, unit = "") {
  if (value === null || value === undefined || Number.isNaN(value)) return "none";
  if (unit === "s") return duration(value);
  if (unit === "FLOP/byte" || unit === "%") return `${digits(value)} ${unit}`;
  const [scale, prefix] = PREFIXES.find(([least]) => Math.abs(value) >= least * 0.99995) ?? [1, ""];
  return `${digits(value / scale)} ${prefix}${unit === "byte" ? "B" : unit}`.trim();
}

const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
const boundName = (bound) => ({ 0: "memory", 1: "compute", 2: "link" })[bound] ?? "none";
const count = (value) => (value === null || value === undefined ? "none" : WHOLE.format(value));

function setting(at) {
  const parts = [at.gpu, at.model, at.operator ?? "whole step", at.phase];
  parts.push(`batch ${count(at.batch_size)}`, `length ${count(at.seq_len)}`);
  if (at.candidates) parts.push(`${at.candidates} candidates`);
  return parts.filter(Boolean).join(" · ");
}

// The tree: elements are used again, in order, so that a new picture changes attributes only -----------------------

/** Make the children of `parent` those of `specs`, each [tag, attributes, words or specs]. */
function put(parent, specs, space = parent.namespaceURI) {
  specs.forEach(([tag, attributes, content], i) => {
    let node = parent.childNodes[i];
    if (!node || node.nodeName.toLowerCase() !== tag.toLowerCase()) {
      const fresh = document.createElementNS(space, tag);
      node ? parent.replaceChild(fresh, node) : parent.appendChild(fresh);
      node = fresh;
    }
    for (const { name } of [...node.attributes]) if (!(name in attributes)) node.removeAttribute(name);
    for (const [name, value] of Object.entries(attributes))
      if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
    if (Array.isArray(content)) put(node, content, space);
    else if (node.textContent !== (content ?? "")) node.textContent = content ?? "";
  });
  while (parent.childNodes.length > specs.length) parent.lastChild.remove();
}

/** An element; attributes that begin with "on" are what it does, those that are null it has not. */
function make(tag, attributes = {}, children = []) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

let made = 0;
const freshId = () => `wb-${++made}`;

const button = (words, onclick, title = "") => make("button", { type: "button", title: title || null, onclick }, [words]);

function section(name, title, tools, ...parts) {
  const id = freshId();
  const head = make("header", {}, [make("h2", { id }, [title]), make("span", { class: "wb-sub" }), ...tools]);
  return make("section", { class: `wb-${name}-section`, "aria-labelledby": id }, [head, ...parts]);
}

// Tables ----------------------------------------------------------------------------------------------------------

const sorting = new WeakMap(); // parent of a table: [key, 1 or -1]

/** A table whose rows a click or a key on a head sorts; words of a column's definition at its head.
 *
 * columns: [{ key, title, definition, number, show(value, row) }]; number: sorted as numbers, to the right.
 * rows: objects by key; empty: what stands where there are none; rowClass(row), onrow(row, number).
 */
function table(parent, spec) {
  const { columns, rows, empty = "", rowClass, onrow } = spec;
  parent.classList.add("wb-table");
  if (!rows.length) return put(parent, [["p", {}, empty]]);
  const [key, way] = sorting.get(parent) ?? ["", 1];
  const column = columns.find((each) => each.key === key);
  const order = rows.map((row, i) => [row, i]);
  if (column) order.sort(([a], [b]) => way * compare(a[key], b[key]));
  const words = ({ key: name, show, number }, row) => {
    const value = row[name];
    return show ? show(value, row) : value === null || value === undefined ? "none" : number ? digits(value) : String(value);
  };
  const head = columns.map(({ key: name, title, definition, number }) => ["th", {
    scope: "col", class: number ? "wb-number" : "", "aria-sort": name === key ? (way > 0 ? "ascending" : "descending") : "none",
  }, [["button", { type: "button", "data-key": name, class: definition ? "wb-defined" : "", ...(definition ? { title: definition, "aria-description": definition } : {}) }, title]]]);
  const lines = order.map(([row, i]) => ["tr", {
    class: rowClass?.(row) ?? "", "data-row": i, ...(onrow ? { tabindex: 0 } : {}),
  }, columns.map((each) => ["td", { class: each.number ? "wb-number" : "" }, words(each, row)])]);
  put(parent, [["table", {}, [["thead", {}, [["tr", {}, head]]], ["tbody", {}, lines]]]]);
  parent.table = spec;
  if (parent.listens) return;
  parent.listens = true;
  const chosen = (event) => {
    const name = event.target.closest("th button")?.dataset.key, row = event.target.closest("tbody tr");
    if (name !== undefined) {
      const [before, turned] = sorting.get(parent) ?? ["", 1];
      sorting.set(parent, [name, name === before ? -turned : 1]);
      table(parent, parent.table);
    } else if (row && !event.target.closest("button, a")) parent.table.onrow?.(parent.table.rows[row.dataset.row], Number(row.dataset.row));
  };
  parent.addEventListener("click", chosen);
  parent.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("tbody tr")) chosen(event);
  });
}

/** What is unknown comes last; numbers as numbers, all else as words. */
function compare(a, b) {
  const none = (value) => value === null || value === undefined || Number.isNaN(value);
  if (none(a) || none(b)) return none(a) - none(b);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}
