// What the reader takes away, and what is brought: files, the clipboard, pieces of an upload.

const PIECE = 2 ** 20; // bytes, as bounds.py has it, and so the next
const MOST_PIECES = 128;

function save(name, blob) {
  const link = make("a", { download: name, href: URL.createObjectURL(blob) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

async function copy(from, words) {
  try {
    await navigator.clipboard.writeText(words);
  } catch { // an insecure origin or no permission
    const field = make("textarea", {}, [words]);
    from.after(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
  const label = from.textContent;
  from.textContent = "Copied";
  setTimeout(() => { from.textContent = label; }, 1200);
}

/** Buttons that save a chart as a picture, named after the view. */
function files(page, chart, name) {
  const saved = (kind) => async () => page.save(`${page.picture().file}-${name}.${kind}`, await chart.image(kind));
  return [button("SVG", saved("svg"), `Save ${name} as SVG`), button("PNG", saved("png"), `Save ${name} as PNG`)];
}

/** Send a file piece by piece, each when the one before has arrived: no message is larger than what the server takes. */
async function upload(page, use, file, progress = () => {}) {
  const of = Math.ceil(file.size / PIECE);
  if (!of) throw new Error(`${file.name} is empty.`);
  if (of > MOST_PIECES) throw new Error(`${file.name} has ${count(Math.round(file.size / PIECE))} MiB, and a page takes ${MOST_PIECES}: give its path in a notebook, wb.explore(measured=...).`);
  for (let number = 0; number < of; number++) {
    const part = await file.slice(number * PIECE, (number + 1) * PIECE).arrayBuffer();
    progress(number / of);
    const arrived = page.heard("received", 20000);
    page.send({ kind: "piece", use, name: file.name, number, of }, [part]);
    const answer = await arrived;
    if (!answer) throw new Error(`${file.name} was not sent: the server does not answer.`);
    if (answer.number < 0) return; // Python says why
  }
  progress(1);
}
