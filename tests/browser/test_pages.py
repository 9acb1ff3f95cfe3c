"""What a visitor meets first, in a real Chromium: deep links, both themes, a narrow window, bad files, hostile text."""

import json
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.test_accessibility import faults

PAGES = ("", "data", "score", "select", "explore", "curate", "compare", "evaluate", "export", "health")
Settled = Callable[[Page], None]
Visit = Callable[[Page, str], None]
ASK_OUTSIDE = """addresses => Promise.all(addresses.map(address => new Promise(done => {
    if (!address.startsWith("ws")) fetch(address, {mode: "no-cors"}).then(() => done(true), () => done(false));
    else {
        const socket = new WebSocket(address);
        socket.onopen = () => done(true);
        socket.onerror = () => done(false);
    }
})))"""


def test_the_first_request_of_a_server_may_be_a_deep_link(page: Page, settled: Settled) -> None:
    page.goto("/data")
    settled(page)
    expect(page.get_by_role("heading", name="Data")).to_be_visible()
    expect(page.get_by_role("link", name="Score", exact=True)).to_be_visible()
    page.get_by_role("link", name="Score", exact=True).click()
    expect(page.get_by_text("No pool to score yet.")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_welcome_is_for_everybody(page: Page, settled: Settled) -> None:
    page.goto("/")
    settled(page)
    expect(page.get_by_role("button", name="Try the sample project")).to_be_visible()
    found = faults(page, settled)
    assert not found, "\n".join(found)


def test_no_page_is_wider_than_a_phone(
    page: Page, settled: Settled, visit: Visit, external_requests: list[str]
) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    for name in PAGES:
        page.emulate_media(color_scheme="light")
        visit(page, f"/{name}")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            settled(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= 400, (name, scheme)
            expect(page.get_by_test_id("stException")).to_have_count(0)
    assert external_requests == []


def test_a_bad_file_is_one_line_and_the_next_one_loads(page: Page, settled: Settled) -> None:
    page.goto("/data")
    settled(page)
    upload(page, "noise.jsonl", b"this is not json\n")
    expect(page.get_by_test_id("stAlert")).to_contain_text("JSON")
    expect(page.get_by_text("Traceback")).to_have_count(0)
    row = {"instruction": "<script>alert(1)</script> ![x](http://example.com/x.png)", "input": "", "output": "**no**"}
    upload(page, "hostile.jsonl", json.dumps(row).encode() + b"\n")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.get_by_test_id("stAlert")).to_contain_text("1 row loaded")
    settled(page)
    page.get_by_role("tab", name="Duplicates").click()  # a tab is worked out when it is opened
    expect(page.get_by_text("No exact or near duplicates (80% or more)")).to_be_visible()
    page.get_by_role("tab", name="Skipped").click()
    expect(page.get_by_text("All records loaded")).to_be_visible()


def test_hostile_text_stays_text(page: Page, settled: Settled, external_requests: list[str]) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto("/data")
    settled(page)
    upload(
        page,
        "hostile.jsonl",
        b'{"instruction": "<img src=x onerror=alert(1)> [a](javascript:alert(2))", "output": "$x$"}\n',
    )
    expect(page.get_by_text("<img src=x onerror=alert(1)>", exact=False).first).to_be_visible()
    settled(page)
    assert dialogs == [] and external_requests == []


def test_what_is_asked_of_another_machine_is_noted_and_fails(page: Page, external_requests: list[str]) -> None:
    page.goto("/")
    addresses = ["http://example.com/picture.png", "http://192.0.2.1/", "wss://example.com/socket"]
    answered = page.evaluate(ASK_OUTSIDE, addresses)
    assert answered == [False, False, False]
    assert sorted(external_requests) == sorted(addresses)


def upload(page: Page, name: str, data: bytes) -> None:
    """Gives a file to the uploader, as dropping it there would."""
    field = page.get_by_test_id("stFileUploaderDropzoneInput")
    field.set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": data})
