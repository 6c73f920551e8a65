"""report.html in a real headless Chromium: opened from the file system, read, clicked, and used by keyboard."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from .conftest import Lab

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the browser tests need Playwright: pip install -e '.[dev]'"
)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="no Chromium: `apt-get install chromium`, or `playwright install chromium` with its folder on PATH",
    ),
    pytest.mark.xdist_group("browser"),
]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1200, "height": 900}


@dataclass
class Opened:
    """A page, and whatever it said or asked for since it was opened."""

    page: "playwright.Page"
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def js(self, script: str) -> object:
        return self.page.evaluate(script)

    def column(self, table: str, index: int) -> list[str]:
        return self.page.locator(f"#{table} tbody tr > :nth-child({index + 1})").all_inner_texts()

    def drawn(self, times: int = 1) -> None:
        """Waits until every chart was drawn so often."""
        self.page.wait_for_function(
            "times => [...document.querySelectorAll('.chart')].every(c => c.dataset.drawn >= times)", arg=times
        )


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "playwright.Browser") -> Iterator[Open]:
    """Opens a study's page; afterwards: nothing was said on the console, and nothing but the file was asked for."""
    pages: list[Opened] = []

    def show(lab: Lab, viewport: dict[str, int] = DESK, **options: object) -> Opened:
        opened = Opened(browser.new_page(viewport=viewport, **options))
        opened.page.on("console", lambda message: opened.said.append(f"{message.type}: {message.text}"))
        opened.page.on("pageerror", lambda error: opened.said.append(f"error: {error}"))
        opened.page.on("dialog", lambda dialog: (opened.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.goto((lab.report / "report.html").as_uri())
        opened.drawn()
        pages.append(opened)
        return opened

    yield show
    for opened in pages:
        assert opened.said == []
        assert opened.requests == [opened.page.url.partition("#")[0]]
        opened.page.close()


def test_opens_from_the_file_system_and_draws_every_chart(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    charts = opened.page.locator(".chart")
    assert charts.count() == 8
    for index in range(charts.count()):
        box = charts.nth(index).locator("svg.marks").bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 50
        assert charts.nth(index).locator("svg.marks path").count() > 3
        assert charts.nth(index).get_attribute("aria-label")
    opened.page.keyboard.press("End")  # a lazy request would come now
    opened.page.wait_for_timeout(200)


def test_a_table_sorts_on_a_click(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    before = opened.column("pairs", 1)
    heading = opened.page.locator("#pairs thead th").nth(1)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    ascending = opened.column("pairs", 1)
    assert ascending == sorted(before, key=float) != before
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert opened.column("pairs", 1) == ascending[::-1]
    opened.page.locator("#pairs thead th").first.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert opened.column("pairs", 0) == [
        "group, batch_size 8",
        "group, batch_size 32",
        "none, batch_size 8",
        "none, batch_size 32",
    ]


def test_a_table_sorts_by_keyboard(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    opened.page.locator("#cost thead button").nth(3).focus()
    for key, sign in (("Enter", 1), ("Space", -1)):
        opened.page.keyboard.press(key)
        seconds = [sign * float(text) for text in opened.column("cost", 3)]
        assert seconds == sorted(seconds)


def test_the_list_of_runs_sorts_by_number(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    names = opened.page.locator("#run-table thead th").all_inner_texts()
    index = names.index("batch_size")
    opened.page.locator("#run-table thead button").nth(index).click()
    assert opened.column("run-table", index) == ["8"] * 9 + ["32"] * 9
    accuracy = names.index("test_accuracy")
    opened.page.locator("#run-table thead button").nth(accuracy).click()
    shown = opened.column("run-table", accuracy)
    assert shown.count("—") == 1
    numbers = [float(text) for text in shown if text != "—"]
    assert numbers == sorted(numbers)


def test_the_filter_narrows_the_runs(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    count = opened.page.locator("#count")
    assert count.inner_text() == "18 of 18 runs"
    opened.page.get_by_label("Filter").fill("group 32")
    assert count.inner_text() == "3 of 18 runs"
    assert set(opened.column("run-table", 1)) == {"group"}
    opened.page.get_by_label("Filter").fill("nothing like it")
    assert count.inner_text() == "0 of 18 runs"
    opened.page.get_by_label("Filter").fill("")
    assert count.inner_text() == "18 of 18 runs"


def legend_free_marks(opened: Opened, color: str) -> list[int]:
    """How many marks of that colour each chart has, its legend left out."""
    script = """color => [...document.querySelectorAll('.chart')].map(chart =>
        [...chart.querySelectorAll('svg.marks .role-mark path')].filter(mark =>
            [mark.getAttribute('fill'), mark.getAttribute('stroke')].some(c => (c || '').toLowerCase() === color)
        ).length)"""
    return opened.page.evaluate(script, color)  # type: ignore[no-any-return]


def test_a_button_hides_a_level_in_every_chart_and_brings_it_back(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    batch, group = "#0072b2", "#009e73"
    before = {color: legend_free_marks(opened, color) for color in (batch, group)}
    button = opened.page.locator(".toggle", has_text="group")
    assert all(before[group])
    button.click()
    opened.drawn(2)
    assert button.get_attribute("aria-pressed") == "false"
    assert legend_free_marks(opened, group) == [0] * 8
    assert [bool(count) for count in legend_free_marks(opened, batch)] == [bool(count) for count in before[batch]]
    button.focus()
    opened.page.keyboard.press("Space")
    opened.drawn(3)
    assert button.get_attribute("aria-pressed") == "true"
    assert {color: legend_free_marks(opened, color) for color in (batch, group)} == before


def test_everything_can_be_hidden(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    for times, name in enumerate(("none", "batch", "group"), start=2):
        opened.page.locator(".toggle", has_text=name).click()
        opened.drawn(times)


def test_a_tooltip_tells_the_numbers(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    chart = opened.page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    chart.locator("svg.marks .mark-symbol.role-mark path").first.hover(force=True)
    tooltip = opened.page.locator("#vg-tooltip-element")
    tooltip.wait_for(state="visible")
    assert "95 % from" in tooltip.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_modes(open_page: Open, written: Lab, scheme: str) -> None:
    """Contrast of at least 4.5 (WCAG 2.1, 1.4.3) for every colour of text that the page uses."""
    opened = open_page(written, color_scheme=scheme)
    ratios = opened.js(
        """() => {
        const light = (text) => {
            const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((v) => {
                const c = v / 255;
                return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const paper = light(getComputedStyle(document.body).backgroundColor);
        return ['body', '.note', '.hint', 'a', 'dt', 'td', 'figcaption', 'footer', '.toggle'].map((selector) => {
            const ink = light(getComputedStyle(document.querySelector(selector)).color);
            return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        });
    }"""
    )
    assert isinstance(ratios, list)
    assert min(ratios) >= 4.5
    dark = opened.js("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


@pytest.mark.parametrize("study", ["written", "nasty"])
def test_a_phone_never_scrolls_sideways(open_page: Open, study: str, request: pytest.FixtureRequest) -> None:
    opened = open_page(request.getfixturevalue(study), PHONE)
    assert opened.js("document.documentElement.scrollWidth") == 360
    for selector in (".chart", ".scroll"):  # what is wider scrolls within its own box
        boxes = opened.page.locator(selector)
        for index in range(boxes.count()):
            box = boxes.nth(index).bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= 360


def test_the_keyboard_reaches_everything(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    opened.page.keyboard.press("Tab")
    assert opened.js("document.activeElement.textContent") == "Skip to the answer"
    assert opened.js("document.activeElement.getBoundingClientRect().left >= 0")
    reached = []
    for _ in range(150):
        opened.page.keyboard.press("Tab")
        reached.append(
            opened.js(
                """(() => {
            const e = document.activeElement;
            const table = e.closest('table');
            return e.id || (table ? 'sort ' + table.id : e.className || e.getAttribute('href'));
        })()"""
            )
        )
        if reached[-1] == "filter":
            break
    order = [reached.index(name) for name in ("#answer", "sort comparison", "sort pairs", "toggle", "sort cost")]
    assert order == sorted(order)
    assert reached[-1] == "filter"
    assert reached.count("toggle") == 3


def test_names_of_users_stay_text(open_page: Open, nasty: Lab) -> None:
    opened = open_page(nasty)
    assert opened.page.locator("h1").inner_text().startswith("Is <script>alert(1)</script> &")
    assert opened.page.locator("img").count() == 0
    opened.page.get_by_label("Filter").fill("</script><img")
    assert opened.page.locator("#count").inner_text() == "6 of 18 runs"
    opened.page.locator(".toggle").nth(2).click()
    opened.drawn(2)
    chart = opened.page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    chart.locator("svg.marks .mark-symbol.role-mark path").first.hover(force=True)
    opened.page.locator("#vg-tooltip-element").wait_for(state="visible")
    assert opened.page.locator("#vg-tooltip-element img, #vg-tooltip-element script").count() == 0
