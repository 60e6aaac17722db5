"""The explorer's server against other pages: who is let in, and how many kernels there are for how long."""

import asyncio
import http.client
import http.server
import json
import re
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import quote, urlsplit

import browsing
import pytest
from browsing import ROOT, chromium, explorer_page, kernels
from jupyter_client.manager import KernelManager
from tornado.web import HTTPError

from workbench.explorer import page_server
from workbench.explorer.bounds import MAX_LINK

SHOTS = ROOT / ".cache" / "screenshots"
START = 120_000  # ms; a kernel and a page on a busy machine
SOME_KERNEL = "00000000-0000-0000-0000-000000000000"
PATHS = {
    "page": "/", "static": "/voila/static/voila.js", "template": "/voila/templates/workbench/static/index.css",
    "kernel": f"/api/kernels/{SOME_KERNEL}", "channels": f"/api/kernels/{SOME_KERNEL}/channels",
    "shutdown": f"/voila/api/shutdown/{SOME_KERNEL}", "theme": "/voila/api/themes/x.css",
    "extension": "/voila/labextensions/x.js", "file": "/voila/files/x.png", "login": "/login", "none": "/x/y",
}  # fmt: skip
UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("voila")


@pytest.fixture(scope="module")
def address(folder):
    with explorer_page(folder) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    browsing.require()
    flags = "--host-resolver-rules=MAP evil.test 127.0.0.1", "--disable-features=LocalNetworkAccessChecks"
    with chromium(*flags) as found:  # what a browser refuses by itself is let through
        yield found


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 900, "height": 260})
    context.set_default_timeout(START)
    yield context.new_page()
    context.close()


def ask(address, path="/", method="GET", headers=None, **named):
    """Status and body of an answer; `Sec_Fetch_Site` names a header, and Host is the address's unless it is given."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port, timeout=120)
    headers = {name.replace("_", "-"): value for name, value in named.items()} | (headers or {})
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def words(body):
    """The one line of a page that refuses."""
    return re.search("<p>(.*)</p>", body)[1]


def started(folder):
    """How many kernels the server has started so far."""
    return (folder / "server.log").read_text().count("Kernel started")


def wait(condition, seconds=120):
    """Until it is so, or the test has failed."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


# Who is let in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.test"}, {"Host": "evil.test:{port}"}, {"Host": ""}, {"Host": "127.0.0.1:x"},
        {"Host": "127.0.0.1.evil.test:{port}"}, {"Host": "evil.test.localhost:{port}"}, {"Host": "0.0.0.0:{port}"},
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "?"},
        {"Origin": "http://evil.test"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "null"},
        {"Host": "127.0.0.1:1", "Origin": "http://127.0.0.1:{port}"}, {"Referer": "http://127.0.0.1:1/"},
        {"Origin": "http://localhost:{port}"}, {"Origin": "https://127.0.0.1:{port}"}, {"Origin": ""},
        {"Referer": "http://evil.test/127.0.0.1:{port}/"},
    ],
    ids=lambda headers: " ".join(f"{name} {value}" for name, value in headers.items()),
)  # fmt: skip
def test_what_is_foreign_is_refused_whatever_it_asks(address, folder, headers):
    before = started(folder)
    headers = {name: value.format(port=urlsplit(address).port) for name, value in headers.items()}
    for name, path in PATHS.items():
        assert ask(address, path, headers=headers)[0] == 403, name
        assert ask(address, path, "POST", headers)[0] == 403, name
        assert ask(address, path, headers=headers | UPGRADE)[0] == 403, name
    for method in ("HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert ask(address, "/", method, headers)[0] == 403, method
    assert started(folder) == before


@pytest.mark.parametrize("asked", ["image", "iframe", "script", "style", "empty", "object", "audio", "?"])
def test_the_page_is_no_part_of_another(address, folder, asked):
    before = started(folder)
    status, body = ask(address, Sec_Fetch_Site="same-origin", Sec_Fetch_Dest=asked)
    assert (status, words(body)) == (403, "The explorer is a page of its own, not a part of another.")
    assert started(folder) == before


def test_its_own_requests_are_answered(address):
    port = urlsplit(address).port
    tunnels = "127.0.0.1:9000", "localhost:1", "127.0.0.1", "[::1]"  # `ssh -L 9000:localhost:PORT`; 80 is not named
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", *tunnels):
        own = {"Host": host, "Origin": f"http://{host}", "Referer": f"http://{host}/?view=%7B%7D"}
        assert ask(address, PATHS["static"], headers=own | {"Sec-Fetch-Site": "same-origin"})[0] == 200
        assert ask(address, PATHS["kernel"], headers=own)[0] == 404
    assert ask(address, "/", "HEAD")[0] == 405  # only GET starts a kernel
    status, body = ask(address, "/", "POST")
    assert (status, words(body)) == (403, "There is no page (403 Forbidden): the server's terminal says why.")
    status, _ = ask(address, PATHS["shutdown"], "POST", {"Host": f"127.0.0.1:{port}"})
    assert status == 403  # without the page's token


@pytest.mark.parametrize(("length", "status"), [(MAX_LINK, 403), (MAX_LINK + 1, 414), (500_000, 414)])
def test_a_link_of_any_length_has_an_answer(address, folder, length, status):
    before = started(folder)
    path = "/?view=".ljust(length, "9")
    found, body = ask(address, path, Sec_Fetch_Site="cross-site")
    assert found == status
    if status == 414:
        assert words(body).startswith(f"The link has {length:,} characters, and may have {MAX_LINK:,}")
    assert started(folder) == before


def test_a_body_has_a_bound(address):
    status, _ = ask(address, PATHS["shutdown"], "POST", {"Content-Length": "2000000"})
    assert status == 400


def test_a_link_on_a_refusal_is_its_own(address):
    _, body = ask(address, '/?view={"a":"<b>"}', Sec_Fetch_Site="cross-site")
    assert '<a href="/?view={&#34;a&#34;:&#34;&lt;b&gt;&#34;}">Open it here.</a>' in body
    for path in ("//evil.test/", "/\\evil.test", "/login"):
        _, body = ask(address, path, Sec_Fetch_Site="cross-site")
        assert "href" not in body


# Kernels ----------------------------------------------------------------------------------------------------------


@contextmanager
def manager(folder, monkeypatch, most):
    """A manager of real kernels, of which there may be `most`."""
    monkeypatch.setattr(page_server, "MAX_KERNELS", most)
    for name, value in browsing.environment(folder).items():
        monkeypatch.setenv(name, value)
    yield page_server.Kernels(connection_dir=str(folder), **page_server.SETTINGS.MappingKernelManager)


def test_kernels_have_a_cap_and_end_without_their_page(tmp_path, monkeypatch):
    monkeypatch.setattr(page_server, "MAX_WAIT", 0.0)

    async def run(kernels_):
        alone, open_ = await kernels_.start_kernel(), await kernels_.start_kernel()
        kernels_.notify_connect(open_)
        with pytest.raises(HTTPError, match="503: Service Unavailable .2 pages are open, as many as there may be"):
            await kernels_.start_kernel()
        with monkeypatch.context() as patient:  # a page that is reloaded asks before its old kernel has ended
            patient.setattr(page_server, "MAX_WAIT", 120.0)
            waiting = asyncio.create_task(kernels_.start_kernel())
            await asyncio.sleep(0)
            await kernels_.shutdown_kernel(alone)
            busy = await waiting
        await kernels_.cull_kernels()
        assert set(kernels_.list_kernel_ids()) == {open_, busy}  # both were active just now
        for state in ("starting", "busy"):  # no page has it yet, and one is still rendered
            kernels_.get_kernel(busy).last_activity -= timedelta(hours=8)
            kernels_.get_kernel(busy).execution_state = state
            await kernels_.cull_kernels()
            assert set(kernels_.list_kernel_ids()) == {open_, busy}
        kernels_.get_kernel(busy).page_by -= timedelta(seconds=page_server.MAX_RENDER)
        for kernel_id in (open_, busy):
            kernels_.get_kernel(kernel_id).last_activity -= timedelta(hours=8)
            kernels_.get_kernel(kernel_id).execution_state = "busy"
        kernels_._culled -= timedelta(hours=8)  # the machine slept: pages come back now
        await kernels_.cull_kernels()
        assert len(kernels_) == 2
        for kernel_id in (open_, busy):
            kernels_.get_kernel(kernel_id).last_activity -= timedelta(hours=8)
        await kernels_.cull_kernels()
        assert kernels_.list_kernel_ids() == [open_]  # a page that is open stays, however long it is idle
        kernels_.notify_disconnect(open_)
        await kernels_.cull_kernels()
        assert kernels_.list_kernel_ids() == [open_]  # it may come back
        kernels_.get_kernel(open_).last_activity -= timedelta(seconds=21)
        kernels_.get_kernel(open_).execution_state = "busy"
        await kernels_.cull_kernels()
        assert len(kernels_) == 0

    with manager(tmp_path, monkeypatch, 2) as kernels_:
        asyncio.run(run(kernels_))


def test_the_terminal_says_no_more_than_it_has_to(address, folder, page):
    opened(page, address)
    page.goto("about:blank")
    said = (folder / "server.log").read_text()
    assert "without encryption" not in said
    assert "ping" not in said
    assert "Traceback" not in said


def test_a_page_that_was_only_asked_for_leaves_no_kernel(tmp_path):
    settings = "page_server.SETTINGS.MappingKernelManager.update(cull_idle_timeout=5, cull_interval=1)"
    with explorer_page(tmp_path, settings) as address:
        status, body = ask(address, "/?view=" + quote('{"launch_latency_us": NaN}'))
        assert status == 200
        assert "application/vnd.jupyter.widget-view+json" in body  # rendered to its end
        wait(lambda: started(tmp_path) == 1 and not kernels(tmp_path))
    for path in (str(ROOT), sys.prefix, "Warning", "Traceback"):
        assert path not in body


FAILING = """
import os
os.environ["SERVER_SOFTWARE"], os.environ["QUERY_STRING"] = "voila/0", "view={}"
from workbench.explorer import explore, widget
page = explore()
page._answer = lambda *given: {}["/where/it/is"]
page._asked({})
print(page.picture["message"])
widget.read_object = lambda *given: {}["/where/else"]
print(explore().picture["message"])
"""


def test_what_nobody_foresaw_is_told_to_the_terminal_alone(tmp_path):
    kernel, said = KernelManager(connection_file=str(tmp_path / "kernel.json")), []
    with (tmp_path / "terminal").open("wb") as terminal:
        kernel.start_kernel(stderr=terminal, env=browsing.environment(tmp_path))
        try:
            client = kernel.blocking_client()
            client.start_channels()
            client.wait_for_ready(timeout=120)
            client.execute_interactive(FAILING, timeout=120, output_hook=said.append)
            client.stop_channels()
        finally:
            kernel.shutdown_kernel()
    page = json.dumps([message["content"] for message in said if message["msg_type"] != "execute_input"], default=str)
    assert "this cannot be shown (KeyError)" in page
    assert "The link cannot be shown: this cannot be shown (KeyError)" in page
    assert not re.search("Traceback|/where", page)
    told = (tmp_path / "terminal").read_text()
    assert "KeyError: '/where/it/is'" in told
    assert "KeyError: '/where/else'" in told


# In a browser -----------------------------------------------------------------------------------------------------

ATTACK = """
<!DOCTYPE html>
<title>Another page</title>
<a href="TARGET/?view=%7B%22gpu%22%3A%5B%22l4%22%5D%7D">A link to the explorer</a>
<iframe name="hidden"></iframe>
<script>
const target = "TARGET", kernel = "KERNEL", token = (document.cookie.match(/_xsrf=([^;]*)/) ?? [])[1] ?? "";
const put = (tag, attributes) => new Promise((resolve) => {
  const element = Object.assign(document.createElement(tag), attributes);
  [element.onload, element.onerror] = [() => resolve("loaded"), () => resolve("refused")];
  document.body.append(element);
  if (/audio|video/.test(tag)) element.load();
});
const inside = async (attributes) => {
  const frame = document.createElement("iframe");
  const loaded = new Promise((resolve) => { frame.onload = resolve; });
  document.body.append(Object.assign(frame, attributes));
  await loaded;
  try { return frame.contentWindow.document.body.innerText ? "read" : "refused"; } catch { return "refused"; }
};
const read = async (path, options) => {
  const answer = await fetch(target + path, options).catch(() => ({ type: "opaque" }));
  return answer.type === "opaque" ? "refused" : "read";
};
const posted = (path, method) => new Promise((resolve) => {
  const form = Object.assign(document.createElement("form"), { action: target + path, method, target: "hidden" });
  form.innerHTML = `<input name="_xsrf" value="${token}">`;
  document.body.append(form);
  document.querySelector("[name=hidden]").onload = () => resolve("refused");
  form.submit();
});
const socket = (path) => new Promise((resolve) => {
  const found = new WebSocket(target.replace("http", "ws") + path);
  found.onopen = () => resolve("opened");
  found.onerror = () => resolve("refused");
});
window.attack = async () => {
  const body = new FormData();
  body.append("_xsrf", token);
  const end = `/voila/api/shutdown/${kernel}`, channels = `/api/kernels/${kernel}/channels`;
  const all = {
    image: put("img", { src: target + "/" }), script: put("script", { src: target + "/" }),
    library: put("script", { src: target + "/voila/static/voila.js?another" }),
    audio: put("audio", { src: target + "/" }),
    style: put("link", { rel: "stylesheet", href: target + "/voila/templates/workbench/static/index.css" }),
    frame: inside({ src: target + "/" }), sandboxed: inside({ src: target + "/", sandbox: "allow-scripts" }),
    read: read("/", {}), blind: read("/", { mode: "no-cors", credentials: "include" }),
    model: read(`/api/kernels/${kernel}`, {}), remove: read(`/api/kernels/${kernel}`, { method: "DELETE" }),
    end: read(end, { method: "POST", mode: "no-cors", credentials: "include", body }),
    socket: socket(channels), another: socket(`/api/kernels/${kernel}/channels?session_id=1`),
    get: posted("/", "GET").then(() => posted(end, "POST")).then(() => posted("/", "POST")),
  };
  navigator.sendBeacon(target + end, body);
  const names = Object.keys(all), outcomes = await Promise.all(Object.values(all));
  return Object.fromEntries(names.map((name, i) => [name, outcomes[i]]));
};
</script>
"""


@contextmanager
def other_pages(folder, words_):
    """Addresses of a page from elsewhere: from another site, from another port of this machine, from a file."""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(words_.encode())

        def log_message(self, *_):
            pass

    path = folder / "other.html"
    path.write_text(words_)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        try:
            yield [f"http://evil.test:{found.server_port}/", f"http://127.0.0.1:{found.server_port}/", path.as_uri()]
        finally:
            found.shutdown()


def shoot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def opened(page, url):
    """The page, when it has drawn its first chart."""
    page.goto(url)
    page.wait_for_selector(".wb-views[data-state]")
    return page


def test_another_page_starts_nothing_reads_nothing_and_ends_nothing(address, folder, page, tmp_path):
    victim = opened(page.context.new_page(), address)
    (kernel,) = kernels(folder)
    before = started(folder)
    attack = ATTACK.replace("TARGET", address[:-1]).replace("KERNEL", kernel)
    with other_pages(tmp_path, attack) as addresses:
        for other in addresses:
            page.goto(other)
            outcomes = page.evaluate("window.attack()")
            assert outcomes == dict.fromkeys(outcomes, "refused"), other
    assert len(outcomes) == 15
    wait(lambda: (folder / "server.log").read_text().count(f"403 POST /voila/api/shutdown/{kernel}") >= 9)
    assert started(folder) == before
    assert list(kernels(folder)) == [kernel]
    two_gpus(victim)
    victim.goto("about:blank")
    wait(lambda: not kernels(folder))


def test_a_rebound_host_reads_nothing(address, folder, page):
    before = started(folder)
    rebound = address.replace("127.0.0.1", "evil.test")
    assert page.goto(rebound).status == 403
    assert page.inner_text("p") == f"The explorer answers at {address}, not under this name."
    shoot(page, "refused-host")
    page.route(f"{rebound}first", lambda route: route.fulfill(body="from elsewhere", content_type="text/html"))
    page.goto(f"{rebound}first")  # the name led elsewhere when this came; now it leads here
    found = page.evaluate(
        """async (paths) => {
          const socket = new WebSocket(`ws://${location.host}${paths[4]}`);
          const answer = new Promise((resolve) => {
            [socket.onopen, socket.onerror] = [() => resolve(200), () => resolve(403)];
          });
          const all = ["GET", "POST", "DELETE"].flatMap((method) => paths.map((path) => fetch(path, { method })));
          return [await answer, ...(await Promise.all(all)).map((answer) => answer.status)];
        }""",
        list(PATHS.values()),
    )
    assert len(found) == 1 + 3 * len(PATHS)
    assert set(found) == {403}
    assert started(folder) == before


def test_a_link_on_another_page_is_followed_by_its_reader_alone(address, folder, page, tmp_path):
    before = started(folder)
    with other_pages(tmp_path, ATTACK.replace("TARGET", address[:-1])) as addresses:
        for other in addresses:
            page.goto(other)
            page.get_by_text("A link to the explorer").click()
            page.get_by_text("Another page asks for the explorer: it does not open by itself.").wait_for()
            assert started(folder) == before
    shoot(page, "refused-link")
    page.get_by_text("Open it here.").click()
    page.wait_for_selector(".wb-views[data-state]")
    assert json.loads(page.locator(".wb-views").get_attribute("data-state"))["gpu"] == ["l4"]
    page.goto("about:blank")
    wait(lambda: not kernels(folder))


def two_gpus(page):
    """Set tp to 2, and wait for its picture."""
    page.locator("[data-control=tp] input").fill("2")
    page.keyboard.press("Enter")
    page.wait_for_selector(".wb-views[data-state='{\"tp\":2}']")


def test_a_page_that_is_left_ends_its_kernel_and_one_that_lost_it_comes_back_with_its_view(address, folder, page):
    opened(page, address)
    second = opened(page.context.new_page(), address)
    assert len(kernels(folder)) == 2
    second.close(run_before_unload=True)
    wait(lambda: len(kernels(folder)) == 1)
    two_gpus(page)
    (kernel,) = kernels(folder)
    page.wait_for_timeout(5000)  # a page that lost it sooner asks first, as its view may be what ends it
    kernels(folder)[kernel].kill()
    page.get_by_text("This page has lost what computes it: it has to be opened again.").wait_for()
    page.wait_for_selector(".wb-lost:empty", state="attached")
    page.wait_for_selector(".wb-views[data-state='{\"tp\":2}']")
    wait(lambda: len(kernels(folder)) == 1 and kernel not in kernels(folder))
    page.goto("about:blank")
    wait(lambda: not kernels(folder))


def test_a_page_outlives_reloads_large_files_and_its_server(page, tmp_path):
    settings = "page_server.MAX_KERNELS, page_server.MAX_WAIT = 1, 120.0"
    unculled = "page_server.SETTINGS.MappingKernelManager.update(cull_idle_timeout=0)"  # pages alone end their kernels
    narrow = "page_server.SETTINGS.Voila.tornado_settings['websocket_max_message_size'] = 2**21"
    with explorer_page(tmp_path, f"{settings}; {unculled}; {narrow}") as address:
        opened(page, address)
        for _ in range(3):
            page.reload()
            page.wait_for_selector(".wb-views[data-state]")
        assert len(kernels(tmp_path)) == 1
        page.evaluate("document.querySelectorAll('.wb-own').forEach((each) => { each.open = true; })")
        large = {"name": "large.json", "mimeType": "application/json", "buffer": b" " * 2**22}
        page.set_input_files(".wb-own input[type=file] >> nth=-1", large)
        page.get_by_text("large.json: 4,194,304 characters: a page takes 1,048,576").first.wait_for()
        two_gpus(page)
    page.get_by_text("The server does not answer: is it still running?").wait_for()
    assert not kernels(tmp_path)
    port = urlsplit(address).port
    with browsing.server(["-m", "workbench.cli", "explore", f"--port={port}", "--no-browser"], port, tmp_path):
        page.wait_for_selector(".wb-lost:empty", state="attached")
        page.wait_for_selector(".wb-views[data-state='{\"tp\":2}']")
        page.wait_for_function("location.search.includes('tp')")
        page.goto("about:blank")


def test_a_full_server_says_so(page, tmp_path):
    with explorer_page(tmp_path, "page_server.MAX_KERNELS, page_server.MAX_WAIT = 0, 0.0") as address:
        assert page.goto(address).status == 503
        assert page.inner_text("p") == "0 pages are open, as many as there may be: close one and reload."
        shoot(page, "refused-full")
        assert not kernels(tmp_path)
