// The page and what computes it: the view is kept, so that nothing is lost when the one or the other goes.

const KEPT = "roofline-workbench-view", HASH = "#kept"; // a view that is too long for an address

const address = ({ state }) => `${location.origin}${location.pathname}?view=${encodeURIComponent(JSON.stringify(state))}`;

// The address follows the view, at rest only: browsers refuse hundreds of changes a minute.
let resting = 0;
function keep(picture) {
  clearTimeout(resting);
  resting = setTimeout(keepNow, 400, picture);
}

function keepNow(picture) {
  clearTimeout(resting);
  const whole = address(picture), short = whole.length <= picture.page;
  if (!short) sessionStorage.setItem(KEPT, JSON.stringify(picture.state));
  history.replaceState(null, "", !short ? `${location.pathname}${HASH}` : Object.keys(picture.state).length ? whole : location.pathname);
}

/** Open again what was too long for the address. */
function restore(page) {
  const kept = location.hash === HASH && sessionStorage.getItem(KEPT);
  if (kept) page.send({ kind: "update", fields: JSON.parse(kept) });
}

/** Say that the kernel or the server is gone, and open the page again, as it was, when there is a server. */
function watch(kernel, banner, picture) {
  const born = performance.now();
  let asking = 0, gone = false, away = false;
  const again = () => {
    keepNow(picture());
    location.reload();
  };
  const say = (words, offer = []) => banner.replaceChildren(...(words ? [words, ...offer] : []));
  const answers = (path) => fetch(path, { cache: "no-store" }).then(({ status }) => status, () => 0);
  async function ask() {
    const status = await answers(`${document.body.dataset.baseUrl?.replace(/voila\/$/, "") ?? "/"}api/kernels/${kernel.id}`);
    if (status === 0) {
      say("The server does not answer: is it still running? This page opens again, as it is, when it does.");
      asking = setTimeout(ask, 1000);
    } else if (status !== 200 || gone) ended();
    else if (kernel.connectionStatus === "connected") say("");
    else asking = setTimeout(ask, 1000);
  }
  function ended() {
    gone = true;
    say("This page has lost what computes it: it has to be opened again.", [button("Reload with this view", again)]);
    if (performance.now() - born > 5000) asking = setTimeout(again, 1500); // not again and again, should the view be what ends it
  }
  kernel?.statusChanged.connect((_, status) => {
    if (/restarting|dead/.test(status) && !gone) ended();
  });
  kernel?.connectionStatusChanged.connect((_, status) => {
    clearTimeout(asking);
    if (gone) ended();
    else if (status !== "connected") asking = setTimeout(ask, 500);
    else if (away) ask(); // back, but is it the same server?
    away = status !== "connected";
  });
  addEventListener("pagehide", () => clearTimeout(asking)); // as it goes, it is not to come again
}

/** Call back when the theme changes: of the system, or of JupyterLab. */
function onTheme(changed) {
  const system = matchMedia("(prefers-color-scheme: dark)"), lab = new MutationObserver(changed);
  system.addEventListener("change", changed);
  lab.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  return () => {
    system.removeEventListener("change", changed);
    lab.disconnect();
  };
}

/** JupyterLab's shortcuts, such as its arrow keys, are not for what has the focus here; it asks the element alone. */
function ownKeys(root) {
  const mine = ({ target }) => root.contains(target) && target.setAttribute("data-lm-suppress-shortcuts", "true");
  addEventListener("keydown", mine, true);
  return () => removeEventListener("keydown", mine, true);
}
