"""/-/status in a browser: what people see of a running daemon. One Chromium and one daemon for all of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
from harness import CuttingProxy, Gatherd, Postgres
from harness.browser import Browser, BrowserError, Page
from harness.server import ROOT
from support import quickest, soon, wait_for

SCHEMA = json.loads((ROOT / "handlers/admin/status/schema.json").read_text())
EVIL = "</script><img/src=x/onerror=document.body.dataset.evil=1>"
CONFIG = """
server: { listen: "127.0.0.1:${PORT}", threads: 2, max_requests: 64 }
sources:
  shop: { postgres: "${PG}", pool: { size: 3 } }
  other: { postgres: "${OTHER}", pool: { size: 2 } }
endpoints:
  "GET /fast": { gather: { one: { from: shop, sql: "select 1" } } }
  "GET /incomplete": { gather: { one: { from: other, sql: "select 1", on_error: null } } }
  "GET /failing": { gather: { one: { from: shop, sql: "select 'EVIL'::text::integer" } } }
  "GET /aEVIL": { respond: 1 }
""".replace("EVIL", EVIL)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        started = Browser()
    except (BrowserError, OSError) as error:
        pytest.skip(f"no browser can be started: {error}")
    with started:
        yield started


@pytest.fixture(scope="module")
def proxy(postgres: Postgres) -> Iterator[CuttingProxy]:
    with CuttingProxy(postgres) as one:
        yield one


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd], proxy: CuttingProxy) -> Gatherd:
    one = module_gatherd(CONFIG, env={"OTHER": proxy.url()})
    assert one.get("/fast").status == 200 and one.get("/incomplete").status == 200
    assert one.get("/failing").status == 500 and one.get(f"/a{EVIL}").status == 200
    return one


def address(daemon: Gatherd) -> str:
    return f"http://127.0.0.1:{daemon.port}/-/status"


@contextlib.contextmanager
def opened(browser: Browser, daemon: Gatherd, **options: Any) -> Iterator[Page]:
    """The page, after its script has filled it at least once."""
    with browser.page(**options) as page:
        page.open(address(daemon))
        page.wait("document.querySelector('.chart svg')")
        yield page


@contextlib.contextmanager
def load(daemon: Gatherd) -> Iterator[None]:
    ends = threading.Event()

    def ask() -> None:
        while not ends.is_set():
            daemon.get("/fast")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ends.set()
        for thread in threads:
            thread.join(60)


def test_it_asks_for_itself_and_its_data_and_for_nothing_else(browser: Browser, daemon: Gatherd) -> None:
    reply = daemon.get("/-/status")
    assert reply.status == 200 and reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert len(reply.body) < 60 * 1024
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    with opened(browser, daemon) as page:
        wait_for(lambda: page.run("1") and len(page.requests()) >= 4, 60)
        assert set(page.requests()) == {address(daemon), f"{address(daemon)}.json"}
        assert page.complaints() == []


def test_the_numbers_are_there_without_scripts(browser: Browser, daemon: Gatherd) -> None:
    soon(lambda: daemon.get("/-/status.json"), lambda reply: any(one["requests_per_s"] for one in reply.json()["endpoints"]))
    with browser.page(scripts=False) as page:
        page.open(address(daemon))
        root = page.call("DOM.getDocument")["root"]["nodeId"]
        html = page.call("DOM.getOuterHTML", nodeId=root)["outerHTML"]
        assert page.requests() == [address(daemon)]
    assert 'http-equiv="refresh" content="10"' in html
    assert re.search(r'<th scope="row">shop</th><td>postgres</td><td class="health">▲ up', html)
    assert re.search(r">\d+/3 busy, 0 wait<", html)
    assert re.search(r'<th scope="row">GET /fast</th><td class="n">[\d.]+</td>', html)
    assert re.search(r'<td class="n">500</td><td>GET /failing</td>', html)


# Contrast (WCAG 1.4.3), names, headings, tables, targets; returns what is wrong.
AUDIT = r"""(() => {
	const wrong = [], all = [...document.querySelectorAll("body, body *")];
	const rgb = (text) => { const m = text.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
	const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; } return [255, 255, 255, 1]; };
	let texts = 0;
	for (const e of all) {
		if (["SCRIPT", "STYLE", "NOSCRIPT"].includes(e.tagName) || e.closest("svg")) continue;
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
		const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
		texts++;
		if ((a + 0.05) / (b + 0.05) < 4.5) wrong.push("contrast of " + e.tagName + " " + e.textContent.slice(0, 30));
	}
	if (texts < 50) wrong.push("only " + texts + " texts");
	if (!document.documentElement.lang) wrong.push("no language");
	if (!document.title) wrong.push("no title");
	for (const name of ["header", "main"]) if (document.querySelectorAll(name).length !== 1) wrong.push("not one " + name);
	let level = 0;
	for (const h of document.querySelectorAll("h1, h2, h3, h4")) {
		const next = +h.tagName[1];
		if (next > level + 1) wrong.push("heading " + h.textContent + " skips a level");
		if (!h.textContent.trim()) wrong.push("an empty heading");
		level = next;
	}
	if (document.querySelectorAll("h1").length !== 1) wrong.push("not one h1");
	for (const t of document.querySelectorAll("table")) {
		if (!t.caption?.textContent) wrong.push("a table without caption");
		for (const h of t.querySelectorAll("th")) if (!h.scope) wrong.push("a header without scope");
		if (!t.closest("[tabindex='0'][role=region][aria-labelledby]")) wrong.push("a table that keys can't scroll");
	}
	for (const e of document.querySelectorAll("[aria-labelledby]")) if (!document.getElementById(e.getAttribute("aria-labelledby"))) wrong.push("a label that is not there");
	const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
	if (new Set(ids).size !== ids.length) wrong.push("an id twice");
	for (const s of document.querySelectorAll("svg")) {
		if (s.getAttribute("aria-hidden") !== "true" && !(s.getAttribute("role") === "img" && /last .*least .*most|nothing yet/.test(s.getAttribute("aria-label")))) wrong.push("a picture without words");
	}
	for (const e of document.querySelectorAll("a, button")) {
		const r = e.getBoundingClientRect();
		if (r.height < 44 || r.width < 44) wrong.push("a target of " + r.width + " x " + r.height + ": " + e.textContent);
		if (!(e.textContent.trim() || e.getAttribute("aria-label"))) wrong.push("a target without a name");
	}
	if (document.querySelectorAll("[aria-live]").length !== 1 || document.querySelector("[aria-live]").getAttribute("aria-live") !== "polite") wrong.push("not one polite region");
	return wrong;
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everybody_can_read_it(browser: Browser, daemon: Gatherd, dark: bool) -> None:
    with opened(browser, daemon, dark=dark) as page:
        page.wait("document.querySelector('#errors button')")
        assert page.run(AUDIT) == []
        # Kept for who reviews a change of the page.
        pictures = ROOT / "build/pictures"
        pictures.mkdir(parents=True, exist_ok=True)
        (pictures / f"status-{'dark' if dark else 'light'}.png").write_bytes(page.picture())


def test_it_fits_on_a_telephone(browser: Browser, daemon: Gatherd) -> None:
    with opened(browser, daemon, width=360, height=700) as page:
        assert page.run("document.documentElement.scrollWidth") == 360
        assert page.run("document.querySelector('#sources').parentElement.scrollWidth > 360"), "the table scrolls within itself"
        lefts = page.run("[...new Set([...document.querySelectorAll('.number')].map((e) => e.getBoundingClientRect().left))]")
        assert len(lefts) == 1, "one column"
        page.run("scrollTo(0, 2000)")
        assert page.run("scrollY > 100 && document.querySelector('#band').getBoundingClientRect().top === 0"), "the band stays"


def test_what_comes_from_outside_is_text(browser: Browser, daemon: Gatherd) -> None:
    with opened(browser, daemon) as page:
        page.wait(f"document.querySelector('#errors').textContent.includes({EVIL!r})")
        page.wait(f"document.querySelector('#endpoints').textContent.includes({EVIL!r})")
        assert page.run("document.querySelectorAll('img').length") == 0
        assert page.run("document.body.dataset.evil") is None


def test_the_charts_move_under_load(browser: Browser, daemon: Gatherd) -> None:
    with load(daemon), opened(browser, daemon) as page:
        before, drawn = page.picture(), page.run("document.querySelector('.chart').innerHTML")
        page.wait(f"document.querySelector('.chart').innerHTML !== {drawn!r}", 60)
        assert page.picture() != before
        page.wait("parseFloat(document.querySelector('.value').textContent) > 0", 60)


def test_the_document_is_as_its_schema_says_and_quick(daemon: Gatherd) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert sorted(daemon.get("/-/status.json").json()) == sorted(SCHEMA["properties"])
    jsonschema.Draft202012Validator(SCHEMA).validate(daemon.get("/-/status.json").json())
    quickest(lambda: daemon.get("/-/status.json"), 0.02)  # with the connection and the test's own side
    took = min(float(line["ms"]) for line in daemon.log_lines() if line.get("path") == "/-/status.json")
    assert took < 5, "milliseconds"


def test_no_secret_is_shown(daemon: Gatherd, postgres: Postgres) -> None:
    for path in ("/-/status", "/-/status.json"):
        text = daemon.get(path).text
        assert postgres.password not in text and "postgres:" not in text
    hosts = [source["host"] for source in daemon.get("/-/status.json").json()["sources"]]
    assert hosts[0] == f"127.0.0.1:{postgres.port}"


def test_strangers_do_not_see_it(daemon: Gatherd) -> None:
    for path in ("/-/status", "/-/status.json"):
        assert daemon.get(path, headers={"X-Forwarded-For": "192.0.2.1"}).status == 404
        assert daemon.get(path, headers={"Host": "evil.example"}).status == 421


def test_a_reload_that_is_refused_stands_there_until_one_succeeds(browser: Browser, daemon: Gatherd) -> None:
    with opened(browser, daemon) as page:
        refused = "document.querySelector('#refused').textContent"
        assert page.run(refused) == ""
        daemon.configure(CONFIG.replace("threads", "thraeds"))
        os.kill(daemon.pid, signal.SIGHUP)
        page.wait(f"{refused}.includes('thraeds')")
        assert re.search(r"A reload was refused at [\d:]{8}: \S*gatherd\.yaml:2:\d+: ", page.run(refused))
        daemon.configure(CONFIG)
        os.kill(daemon.pid, signal.SIGHUP)
        page.wait(f"{refused} === ''")
        page.wait("document.querySelector('header').textContent.includes('2, loaded ')")
        kinds = [event["kind"] for event in daemon.get("/-/status.json").json()["events"]]
        assert kinds[0] == "start" and kinds.index("reload refused") < kinds.index("reload")


def test_a_source_that_is_stopped_is_named(browser: Browser, daemon: Gatherd, proxy: CuttingProxy) -> None:
    """The last one: it stays down."""
    with opened(browser, daemon) as page:
        assert page.run("document.querySelector('#band').className") == "serving"
        assert page.run("document.querySelector('h1').textContent") == "Serving. All 2 sources up."
        proxy.__exit__()
        soon(lambda: daemon.get("/incomplete"), lambda reply: reply.headers["Gatherd-Complete"] == "false")
        row = "[...document.querySelectorAll('#sources tbody tr')].find((row) => row.cells[0].textContent === 'other')"
        page.wait(f"{row}.cells[2].textContent.includes('down')")
        page.wait("document.querySelector('h1').textContent.includes('other is down')")
        assert page.run("document.querySelector('#band').className") in ("degraded", "not_ready")
        page.wait("document.querySelector('[aria-live]').textContent.includes('other is down')")
