"""The page in a real Chromium, against a seeded store: what it shows, and to whom."""

import csv
import io
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import Tab, findings, launched, tab
from tests.harness import Server, running
from tests.telling import Story


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Story]]:
    """Yield a server with the story, and the story."""
    directory: Path = tmp_path_factory.mktemp("page")
    directory.parent.chmod(0o711)
    directory.chmod(0o711)
    with running(directory / "data") as server:
        story = Story(4, time.time_ns())
        for _ in range(300):
            story.checkout()
        story.log("payments", story.now_ns - 5 * 60 * 10**9, "FATAL", "out of memory: worker 3 ends")
        story.send(server)
        yield server, story


@pytest.fixture(scope="module")
def server(told: tuple[Server, Story]) -> Server:
    """Return the server with the story."""
    return told[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield one browser for this module."""
    with launched() as browser:
        yield browser


def _answer(server: Server, path: str, data: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask as a program does, without following redirects; return status, headers, body."""
    request = urllib.request.Request(f"http://{server.query}{path}", data=data)
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object, **__: object) -> None:
            return None

    try:
        with urllib.request.build_opener(Stay).open(request, timeout=20) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


TRACE = "0" * 31 + "1"
PATHS = ("/logs", "/logs/counts", "/record/1", "/traces", f"/trace/{TRACE}", f"/trace/{TRACE}/span/{TRACE[:16]}")
PATHS += ("/components", "/patterns", "/operations", "/compare")


@pytest.mark.parametrize(
    "path", [*PATHS, "/logs.json", "/logs.csv", "/logs.jsonl", "/logs/tail", f"/trace/{TRACE}/shape.json"]
)
def test_without_a_token_nothing_is_shown(server: Server, path: str) -> None:
    """Every view, twin and stream answers 401; a browser gets the login form, which names no record."""
    status, headers, body = _answer(server, path)
    assert status == 401
    assert json.loads(body)["error"]["code"] == "UNAUTHENTICATED"
    assert "www-authenticate" in headers
    if path in PATHS:
        status, _, body = _answer(server, path, Accept="text/html")
        assert status == 401
        assert b'name="token"' in body
        assert b"checkout" not in body


def test_the_login_link_becomes_a_cookie_and_the_token_is_gone(server: Server) -> None:
    """The link's token is exchanged at once; what is left is HttpOnly, and the token stands nowhere in the log."""
    status, headers, _ = _answer(server, f"/?token={server.token()}")
    assert status == 303
    assert headers["location"] == "/logs"
    assert headers["referrer-policy"] == "no-referrer"
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert server.token() not in cookie
    status, headers, _ = _answer(server, f"/logs?token={server.token()}&q=a+b")
    assert (status, headers["location"]) == (303, "/logs?q=a%20b")
    assert server.token() not in server.stderr_path.read_text().replace(f"/?token={server.token()}", "")


def test_every_answer_has_the_policy(server: Server) -> None:
    """No inline script or style, no other origin, no frame; on errors too."""
    for path in ("/", "/login", "/logs", "/static/x/nothing.js"):
        _, headers, _ = _answer(server, path, Accept="text/html", Authorization=f"Bearer {server.token()}")
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_another_name_is_refused(server: Server) -> None:
    """A page of a stranger that points its own name here (DNS rebinding) gets 421."""
    assert _answer(server, "/login", Host="evil.example")[0] == 421
    assert _answer(server, "/login", Host=f"localhost:{server.query.rpartition(':')[2]}")[0] == 200


def test_a_form_of_another_page_is_refused(server: Server) -> None:
    """Login and logout want their own origin; logout also the secret of its session."""
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    body = urllib.parse.urlencode({"token": server.token()}).encode()
    assert _answer(server, "/login", body, Origin="http://evil.example", **form)[0] == 403
    assert _answer(server, "/login", body, Sec_Fetch_Site="same-site", **form)[0] == 403
    status, headers, _ = _answer(server, "/login", body, Origin=f"http://{server.query}", **form)
    assert status == 303
    cookie = headers["set-cookie"].partition(";")[0]
    assert _answer(server, "/logs.json", Cookie=cookie)[0] == 200
    assert _answer(server, "/logout", b"csrf=guess", Cookie=cookie, **form)[0] == 403
    page = _answer(server, "/logs", Cookie=cookie)[2].decode()
    secret = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
    assert _answer(server, "/logout", f"csrf={secret}".encode(), Cookie=cookie, **form)[0] == 303
    assert _answer(server, "/logs.json", Cookie=cookie)[0] == 401


def test_login_leads_to_this_server_alone(server: Server) -> None:
    """``next`` cannot send anybody away."""
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "/\tlogs\n"):
        body = urllib.parse.urlencode({"token": server.token(), "next": target}).encode()
        assert _answer(server, "/login", body, **form)[1]["location"] == "/logs"


def test_login_and_logout_in_the_browser(browser: Browser, server: Server) -> None:
    """A wrong token is told, the right one leads to where one wanted to go, and logging out ends it."""
    with tab(browser, server, role=None) as opened:
        page = opened.open("/logs?q=cart")
        page.get_by_label("Token").fill("oti_read_" + "x" * 43)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("not known")
        page.get_by_label("Token").fill(server.token())
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(opened.base + "/logs?q=cart")
        expect(page.locator(".row").first).to_contain_text("cart")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        page.goto(opened.base + "/logs")
        expect(page.get_by_label("Token")).to_be_visible()
        # The two answers 401 are what was asked for.
        opened.complaints = [c for c in opened.complaints if "401" not in c]


def test_logs_facets_and_a_record_in_place(browser: Browser, server: Server) -> None:
    """Facets narrow the list, a record opens below its row, the URL holds all of it, Back and reload keep it."""
    with tab(browser, server) as opened:
        page = opened.page
        expect(page.locator(".plot svg")).to_be_visible()
        page.locator(".chip", has_text="payments").click()
        expect(page).to_have_url(re.compile("component=payments"))
        page.locator(".chip", has_text="error").click()
        rows = page.locator(".row")
        expect(rows.first).to_contain_text("card gateway timed out")
        rows.first.locator(".msg").click()
        expect(page.locator(".detail")).to_contain_text("TimeoutError: gateway:443")
        expect(page).to_have_url(re.compile(r"record=\d+"))
        page.reload()
        expect(page.locator(".detail")).to_contain_text("TimeoutError: gateway:443")
        page.get_by_role("link", name="Surrounding lines").click()
        expect(page.locator(".row").nth(2)).to_be_visible()
        assert set(page.locator(".row .comp").all_inner_texts()) == {"payments"}
        page.get_by_role("link", name="every component").click()
        expect(page.locator(".row .comp", has_text="shop").first).to_be_visible()


def test_the_values_of_an_attribute_narrow_the_list(browser: Browser, server: Server) -> None:
    """One chooses an attribute, sees its values among what matches, and asks for one; its name stays in the URL."""
    with tab(browser, server) as opened:
        page = opened.open("/logs?component=payments")
        page.get_by_role("link", name="choose one").click()
        expect(page).to_have_url(re.compile(r"facet=%2A"))
        page.locator(".chip", has_text="@exception.type").click()
        values = page.get_by_role("group", name="Values of an attribute")
        expect(values).to_contain_text("without it")
        values.locator(".chip", has_text="TimeoutError").click()
        expect(page.get_by_label("Search the records")).to_have_value("@exception.type:TimeoutError")
        expect(page.locator(".row").first).to_contain_text("card gateway timed out")
        page.get_by_label("Search the records").press("Enter")
        expect(page).to_have_url(re.compile(r"facet=(%40|@)exception\.type"))
        page.get_by_label("Close the values of an attribute").click()
        expect(page).not_to_have_url(re.compile("facet="))
    twin = json.loads(server.get("/logs.json?facet=resource.service.version"))["counts"]["attribute"]
    assert {v["value"] for v in twin["values"]} == {"2.4.1", "1.9.0", "0.7.3", "1.0.0"}
    assert sum(v["count"] for v in twin["values"]) + twin["without"] == twin["read"]
    searches = [v["search"] for v in twin["values"]]
    assert all(json.loads(server.get(f"/logs.json?q={urllib.parse.quote(q)}"))["records"] for q in searches)


def test_the_keyboard_alone(browser: Browser, server: Server) -> None:
    """/ searches, j walks, Enter opens, the arrows choose a range of the histogram and Enter zooms into it."""
    with tab(browser, server) as opened:
        page = opened.page
        page.keyboard.press("/")
        page.keyboard.type("component:payments level:>=warn gateway -slow")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile("q=component"))
        expect(page.locator(".row").first).to_contain_text("timed out after 3 tries")
        expect(page.locator(".row", has_text="slow")).to_have_count(0)
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        expect(page.locator(".opened")).to_have_count(1)
        page.locator(".plot").focus()
        for key in ("End", "ArrowLeft", "Shift+ArrowLeft", "Shift+ArrowLeft"):
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"since=20.*&until=20"))
        assert "record=" not in page.url


def test_dragging_zooms(browser: Browser, server: Server) -> None:
    """The range that was dragged is the window of the next view."""
    with tab(browser, server) as opened:
        page = opened.page
        box = page.locator(".plot svg").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20, steps=4)
        page.mouse.up()
        expect(page).to_have_url(re.compile(r"since=20.*&until=20"))
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page.url).query))
        times: list[str] = page.locator(".row time").evaluate_all("all => all.map(t => t.dateTime)")
        assert times
        assert all(query["since"] <= t <= query["until"] for t in times)


def test_the_tail_shows_what_arrives(browser: Browser, server: Server) -> None:
    """A record that matches stands on top without a reload, one that does not match never does."""
    with tab(browser, server) as opened:
        page = opened.open("/logs?q=arrived")
        expect(page.get_by_role("heading", name="No record matches")).to_be_visible()
        page.keyboard.press("t")
        expect(page.locator("#tail-state")).to_have_text("following")
        story = Story(5, time.time_ns())
        story.log("shop", time.time_ns(), "INFO", "just arrived <b>bold</b>")
        story.log("shop", time.time_ns(), "INFO", "something else")
        story.send(server)
        expect(page.locator(".row .msg")).to_have_text(["just arrived <b>bold</b>"])
        expect(page).to_have_url(re.compile("tail=1"))
        page.keyboard.press("t")
        expect(page.locator("#tail-state")).to_have_text("")


def test_an_error_of_the_question_stands_at_its_place(browser: Browser, server: Server) -> None:
    """What is wrong with a parameter is said below the search line, with what would be right."""
    with tab(browser, server) as opened:
        page = opened.open("/logs?since=yesterday")
        expect(page.get_by_role("alert")).to_contain_text("is no time; for example")
        opened.open("/logs")
        page.get_by_label("Search the records").fill("lvl:error (timeout")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("^")
        expect(page.get_by_label("Search the records")).to_have_value("lvl:error (timeout")
        assert opened.complaints
        opened.complaints.clear()  # the answer's own status, 400
    status, _, body = _answer(server, "/logs.json?since=yesterday", Authorization=f"Bearer {server.token()}")
    assert (status, json.loads(body)["error"]["code"]) == (400, "INVALID_TIME")


def test_twins_and_exports_are_the_question_of_the_page(server: Server) -> None:
    """JSON, JSON lines and CSV hold the same records; a page of JSON goes on where it ended."""
    bearer = {"Authorization": f"Bearer {server.token()}"}
    question = "q=component:payments&level=warn&since=2h"
    data = json.loads(_answer(server, f"/logs.json?{question}&limit=10", **bearer)[2])
    assert len(data["records"]) == 10
    ids = [r["id"] for r in data["records"]]
    while data["next_cursor"]:
        cursor = urllib.parse.quote(data["next_cursor"])
        data = json.loads(_answer(server, f"/logs.json?{question}&limit=10&cursor={cursor}", **bearer)[2])
        ids += [r["id"] for r in data["records"]]
    lines = _answer(server, f"/logs.jsonl?{question}", **bearer)[2].splitlines()
    table = list(csv.DictReader(io.StringIO(_answer(server, f"/logs.csv?{question}", **bearer)[2].decode())))
    assert [json.loads(line)["id"] for line in lines] == ids == [int(row["id"]) for row in table]
    assert len(ids) == data["matched"] == data["counts"]["total"]


def test_a_trace_from_search_to_span(browser: Browser, told: tuple[Server, Story]) -> None:
    """Failed traces are found; what failed first leads to its span, with its log records, and all of it is the URL."""
    server, story = told
    with tab(browser, server) as opened:
        page = opened.open("/traces?q=component:payments+status:error&sort=errors")
        expect(page.locator(".traces .row")).to_have_count(len(story.failed))
        page.locator(".traces .row .msg").first.click()
        expect(page.locator(".wf.live .w", has_text="charge card")).to_be_visible()
        expect(page.locator(".wf.live .w-log", has_text="timed out after 3 tries")).to_be_visible()
        assert page.locator(".wf.live .crit").count() > 3
        page.locator(".failures a").first.click()
        expect(page.locator("#detail h2")).to_contain_text("charge card")
        expect(page.locator("#detail")).to_contain_text("timed out after 3 tries")
        page.reload()
        expect(page.locator("#detail h2")).to_contain_text("charge card")
        expect(page.locator(".wf.live .chosen")).to_contain_text("charge card")


def test_a_trace_by_the_keyboard(browser: Browser, told: tuple[Server, Story]) -> None:
    """Arrows walk and fold, Enter opens, e goes to a failure, n to a hit; what is folded and sought is in the URL."""
    server, story = told
    with tab(browser, server) as opened:
        page = opened.open(f"/trace/{story.failed[0]}")
        tree = page.get_by_role("tree")
        rows = tree.get_by_role("treeitem")
        tree.focus()
        before = rows.count()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowLeft")
        expect(page.locator('.at[aria-expanded="false"]')).to_contain_text("GET inventory")
        assert rows.count() < before
        expect(page).to_have_url(re.compile("fold="))
        page.reload()
        expect(page.locator('[aria-expanded="false"]')).to_contain_text("GET inventory")
        page.get_by_role("tree").focus()
        page.keyboard.press("e")
        expect(page.locator(".at")).to_contain_text("failed")
        page.keyboard.press("Enter")
        expect(page.locator("#detail h2")).to_be_visible()
        page.keyboard.press("/")
        page.keyboard.type("select stock")
        expect(page.locator(".hit")).to_contain_text("SELECT stock")
        expect(page.locator("#found")).to_contain_text("1 spans")
        expect(page).to_have_url(re.compile("find=select"))


def test_without_scripts_a_trace_is_whole(browser: Browser, told: tuple[Server, Story]) -> None:
    """Everything of a trace can be read, and a span chosen, where no script runs."""
    server, story = told
    with tab(browser, server, java_script_enabled=False) as opened:
        page = opened.open(f"/trace/{story.failed[0]}")
        expect(page.locator(".wf .w", has_text="charge card")).to_be_visible()
        page.locator(".wf .w", has_text="charge card").locator("a").click()
        expect(page.locator("#detail h2")).to_contain_text("charge card")
        opened.open("/logs?q=level:error")
        page.locator(".row .msg").first.click()
        expect(page.locator(".detail")).to_contain_text("TimeoutError")


def test_components_have_their_numbers_and_a_map(browser: Browser, told: tuple[Server, Story]) -> None:
    """Each component has its requests, failures and versions as the story told them; the map has who called whom."""
    server, story = told
    data = json.loads(server.get("/components.json?since=2h"))
    found = {c["component"]: c for c in data["components"]}
    assert found["payments"]["served"]["requests"] == 300
    assert found["payments"]["served"]["errors"] == len(story.failed)
    assert found["payments"]["served"]["p50_ns"] <= found["payments"]["served"]["p99_ns"]
    assert {name: c["versions"] for name, c in found.items()}["inventory"] == ["0.7.3"]
    calls = {(e["parent"], e["child"]): e["count"] for e in data["graph"]["edges"]}
    mailed = 300 - len(story.failed)
    assert calls == {("shop", "payments"): 300, ("shop", "inventory"): 300, ("shop", "mailer"): mailed}
    with tab(browser, server) as opened:
        page = opened.open("/components?since=2h")
        expect(page.locator(".node")).to_have_count(4)
        expect(page.get_by_role("button", name="Set level")).to_have_count(0)
        page.get_by_role("row", name="payments").locator("a.exc").click()
        expect(page.locator(".traces .row").first).to_contain_text("timed out")


def test_a_level_is_set_and_ended_by_who_may(browser: Browser, server: Server) -> None:
    """A token that may control sets a level with a reason; it stands in the audit log, and ends by a button."""
    with tab(browser, server) as opened:  # a reader adds the token that may
        page = opened.open("/login")
        page.get_by_label("Token").fill(server.token("admin"))
        page.get_by_role("button", name="Log in").click()
        page = opened.open("/components")
        form = page.get_by_role("form", name="Set a level")
        form.get_by_label("Component").fill("shop")
        form.get_by_label("Why").fill("what <b>happens</b>")
        form.get_by_role("button", name="Set level").click()
        expect(page.get_by_role("status")).to_contain_text("is at DEBUG until")
        opened.open("/components")
        expect(page.locator("table", has_text="Logger")).to_contain_text("what <b>happens</b>")
        opened.open("/operations")
        expect(page.locator("table", has_text="Outcome")).to_contain_text("logger_set_level")
        opened.open("/components")
        page.get_by_role("button", name="End DEBUG of shop").click()
        expect(page.get_by_role("status")).to_contain_text("1 levels of every logger of shop ended")


def test_a_change_needs_the_role_and_the_secret(server: Server) -> None:
    """Without the role nothing happens, and the attempt is written down; without the session's secret neither."""
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    wish = urllib.parse.urlencode({"component": "shop", "level": "debug", "ttl": "1m", "reason": "to see"})
    status, _, body = _answer(
        server, "/components/level", wish.encode(), Authorization=f"Bearer {server.token()}", **form
    )
    assert status == 403
    assert b"needs the role control" in body
    cookie = _answer(server, f"/?token={server.token('admin')}")[1]["set-cookie"].partition(";")[0]
    assert _answer(server, "/components/level", wish.encode(), Cookie=cookie, **form)[0] == 403
    bearer = {"Authorization": f"Bearer {server.token('admin')}"}
    audit = json.loads(_answer(server, "/operations.json", **bearer)[2])["audit"]
    assert "needs the role control" in audit[0]["outcome"]
    assert json.loads(server.get("/operations.json"))["audit"] is None


def test_operations_add_up(browser: Browser, server: Server) -> None:
    """The ledger of the page balances as /metrics does, and the store's tables are there."""
    data = json.loads(server.get("/operations.json"))
    for book in data["receiver"]["ledger"].values():
        assert book["received"] + book["recovered"] == sum(book.values()) - book["received"] - book["recovered"]
    assert data["receiver"]["ledger"]["logs"]["stored"] > 900
    with tab(browser, server) as opened:
        page = opened.open("/operations")
        expect(page.locator(".tile")).to_have_count(6)
        expect(page.get_by_role("row", name=re.compile("^log_records"))).to_be_visible()


def test_patterns_lead_to_a_record(browser: Browser, server: Server) -> None:
    """Messages stand by their templates with their counts; a template leads to one of its records."""
    data = json.loads(server.get("/patterns.json?q=component:payments"))
    assert sum(p["count"] for p in data["patterns"] if p["pattern"].startswith("charging")) == 300
    with tab(browser, server) as opened:
        page = opened.open("/patterns?q=component:payments+level:error")
        page.locator(".template a", has_text="timed out after").click()
        expect(page.locator(".detail")).to_contain_text("timed out after 3 tries")


def test_two_traces_compared(browser: Browser, told: tuple[Server, Story]) -> None:
    """What failed in one and not in the other is said, and leads to the span."""
    server, story = told
    well = next(
        t["trace_id"] for t in json.loads(server.get("/traces.json"))["traces"] if t["trace_id"] not in story.failed
    )
    with tab(browser, server) as opened:
        page = opened.open(f"/trace/{well}")
        page.get_by_text("More", exact=True).click()
        page.get_by_label("Compare with trace").fill(story.failed[0])
        page.get_by_role("button", name="Compare").click()
        row = page.get_by_role("row", name=re.compile("failing.*charge card"))
        expect(row).to_contain_text("1 failed")
        row.get_by_role("link").last.click()
        expect(page.locator("#detail h2")).to_contain_text("charge card")


def test_retention_is_set_by_who_may(browser: Browser, server: Server) -> None:
    """An administrator sets a rule by the form; a reader sees it and has no form."""
    with tab(browser, server, role="admin") as opened:
        page = opened.open("/operations")
        form = page.get_by_role("form", name="Set a retention rule")
        form.get_by_label("Keep").fill("40d")
        form.get_by_label("Why").fill("the auditors ask for it")
        form.get_by_role("button").click()
        expect(page.get_by_role("status")).to_contain_text("40d")
        opened.open("/operations")
        expect(page.locator("table", has_text="Severity")).to_contain_text("the auditors ask for it")
    with tab(browser, server) as opened:
        page = opened.open("/operations")
        expect(page.locator("table", has_text="Severity")).to_contain_text("40d")
        expect(page.get_by_role("form", name="Set a retention rule")).to_have_count(0)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 400)])
def test_views_are_accessible(browser: Browser, told: tuple[Server, Story], scheme: str, width: int) -> None:
    """Axe finds nothing serious, in both colour schemes, wide and narrow; nothing runs over the edge."""
    server, story = told
    shape = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}, "bypass_csp": True}
    with tab(browser, server, **shape) as opened:
        page = opened.page
        first = page.locator(".row").first.get_attribute("data-id")
        trace = f"/trace/{story.failed[0]}"
        span = json.loads(server.get(f"{trace}.json"))["failures"][0]["span_id"]
        paths = ["/logs", f"/logs?record={first}", f"/record/{first}", "/logs?q=nothing", "/login", "/traces"]
        paths += ["/logs?facet=*", "/logs?facet=@exception.type", "/logs?facet=@nobody.has.it"]
        compared = f"/compare?a={story.failed[0]}&b={story.failed[1]}"
        for path in [*paths, trace, f"{trace}?span={span}", "/components", "/patterns", compared, "/operations"]:
            opened.open(path)
            assert not findings(page), (path, findings(page))
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        _assert_accessible_while_it_tails(opened, server)


def _assert_accessible_while_it_tails(opened: Tab, server: Server) -> None:
    """While records arrive, and once one of them is open."""
    page = opened.open("/logs?q=newly&tail=1")
    expect(page.locator("#tail-state")).to_have_text("following")
    story = Story(6, time.time_ns())
    story.log("shop", time.time_ns(), "ERROR", "newly broken")
    story.send(server)
    expect(page.locator(".row.fresh .msg").first).to_contain_text("newly broken")
    assert not findings(page)
    page.locator(".row.fresh .msg").first.click()
    expect(page.locator(".detail")).to_be_visible()
    assert not findings(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
