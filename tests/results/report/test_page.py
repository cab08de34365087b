"""The pages in a browser: they are whole by themselves, all can use them, and no name does harm."""

import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from results.report.reported import FOLDERS, NO_PHOTO

from spark_job.__main__ import main
from spark_job.console import printable
from spark_job.results.report.report import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGES = ("odd", "numbers", "no faces", "compare")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(numbers, odd, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    report(odd.output)
    report(numbers.output)
    files = {name: folder / f"{name}.html" for name in PAGES}
    shutil.copy(Path(odd.output, "report.html"), files["odd"])
    shutil.copy(Path(numbers.output, "report.html"), files["numbers"])
    report(odd.output, faces=False)
    shutil.copy(Path(odd.output, "report.html"), files["no faces"])
    main(["compare", odd.output, numbers.output, "--json", "--html", str(files["compare"])])
    return files


@pytest.fixture
def opened(browser, files) -> Iterator[Any]:
    """Opens a page; what it says on the console, asks for or shows in a dialog is a failure."""
    said, contexts = list[str](), []

    def open_page(name: str, width: int = 1200, scheme: str = "light") -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: said.append(f"request: {request.url[:80]}"))
        page.goto(files[name].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    asked = [text for text in said if not re.match(r"request: (file:.*\.html$|data:image/webp)", text)]
    assert asked == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_one_small_file_whose_policy_lets_nothing_else_in(opened, files, name):
    page = opened(name)
    assert files[name].stat().st_size < 5e6
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'sha256-[^' ]+'; script-src 'sha256-[^' ]+'; "
        r"base-uri 'none'; form-action 'none'",
        policy,
    )
    assert page.evaluate("document.scripts.length") == 1
    assert page.locator("[style], [onerror], [onload], iframe, object, link, form").count() == 0


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, name, scheme):
    found = Axe().run(opened(name, scheme=scheme), options={"resultTypes": ["violations"]}).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_is_wider_than_the_screen_or_the_sheet(opened, name, width):
    page = opened(name, width)
    for media in ("screen", "print"):
        page.emulate_media(media=media)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, media


def test_every_picture_shows_something_and_says_what(opened):
    page = opened("odd")
    images = page.locator("img")
    assert images.count() >= 8
    for i in range(images.count()):
        assert images.nth(i).get_attribute("alt")
        assert images.nth(i).evaluate("image => image.decode().then(() => image.naturalWidth)") >= 96
    # The photo that is cut short is shown as far as it goes; what is no photo is not.
    assert page.locator("#photos li", has_text="truncated").locator("img").count() == 1
    assert page.locator("#photos li", has_text="unsupported").locator("img").count() == 0


def test_a_page_without_faces_has_no_picture_and_no_map(opened):
    page = opened("no faces")
    assert page.locator("img, #map, .points").count() == 0
    assert "no picture of a person and no embedding" in page.locator(".notice").inner_text()
    assert "biometric" in opened("odd").locator(".notice").inner_text()


def test_names_are_text_and_nothing_in_them_runs(opened, odd):
    page = opened("odd")
    shown = page.locator("body").inner_text()
    for name in (*FOLDERS, *NO_PHOTO, "cut short.jpg"):
        assert printable(name) in shown, name
    assert page.locator("svg svg, .name *").count() == 0, "a name became an element"


def test_a_table_is_sorted_by_the_keyboard(opened):
    page = opened("numbers")
    faces = page.locator("th", has_text="faces").first
    counts = page.locator("table.sortable tbody tr td:nth-child(2)")
    head = page.locator("table.sortable th", has_text="faces")
    for order, key in (("descending", "Enter"), ("ascending", "Space")):
        head.locator("button").focus()
        page.keyboard.press(key)
        assert head.get_attribute("aria-sort") == order
        shown = [int(text.replace(",", "")) for text in counts.all_inner_texts()]
        assert shown == sorted(shown, reverse=order == "descending")
    name = page.locator("table.sortable th", has_text="group").first
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert name.get_attribute("aria-sort") == "ascending"
    assert faces.get_attribute("aria-sort") is None


def test_a_table_is_searched_by_the_keyboard(opened):
    page = opened("numbers")
    page.get_by_role("searchbox").focus()
    page.keyboard.type("P07")
    rows = page.locator("table.sortable tbody tr:visible")
    assert all("p07" in text for text in rows.all_inner_texts())
    assert re.fullmatch(r"\d+ of 40", page.get_by_role("status").inner_text())
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    assert rows.count() == 40


def test_without_its_script_a_page_has_all_rows(browser, files):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(files["numbers"].as_uri())
    assert page.locator("table.sortable tbody tr:visible").count() == 40
    assert page.locator("button, input").count() == 0
    context.close()


def test_a_screen_reader_finds_its_way(opened):
    page = opened("odd")
    assert page.locator("header, main, footer, nav[aria-label]").count() == 4
    assert page.locator("h1").count() == 1
    levels = [int(tag[1]) for tag in page.locator("h1, h2, h3").evaluate_all("all => all.map(h => h.tagName)")]
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert page.locator("main table th:not([scope])").count() == 0
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
