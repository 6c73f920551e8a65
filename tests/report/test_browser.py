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
FIGURES = [
    "test_error_against_batch_size",
    "test_error_against_values_per_statistic",
    "test_error_against_images_per_statistic",
    "differences",
    "divergence",
    "training_loss",
    "validation_error",
    "detectable",
]
# These have no marks in the colour of a level; the second is not of levels at all.
WITHOUT_COLOURS = ("divergence", "detectable")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1200, "height": 900}


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
    assert charts.count() == len(FIGURES)
    assert [charts.nth(index).get_attribute("data-chart") for index in range(len(FIGURES))] == FIGURES
    for index in range(charts.count()):
        box = charts.nth(index).locator("svg.marks").bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 50
        assert charts.nth(index).locator("svg.marks path").count() > 3
        assert charts.nth(index).get_attribute("role") == "img"
        assert len(charts.nth(index).get_attribute("aria-label") or "") > 30
        assert charts.nth(index).get_attribute("aria-label") != "Vega visualization"
    opened.page.keyboard.press("End")  # a lazy request would come now
    opened.page.wait_for_timeout(200)


def test_a_table_sorts_on_a_click(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    names = opened.page.locator("#pairs thead th").all_inner_texts()
    place = names.index("difference (points)")
    before = opened.column("pairs", place)
    heading = opened.page.locator("#pairs thead th").nth(place)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    ascending = opened.column("pairs", place)
    assert ascending == sorted(before, key=float) != before
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert opened.column("pairs", place) == ascending[::-1]
    opened.page.locator("#pairs thead th").first.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert opened.column("pairs", 0) == [
        "group, batch_size 8",
        "group, batch_size 32",
        "none, batch_size 8",
        "none, batch_size 32",
    ]


def test_a_table_sorts_by_keyboard_and_by_the_number_that_it_shows(open_page: Open, written: Lab) -> None:
    """`6,272` comes after `1,568`, and `none` (no statistic) before both."""
    opened = open_page(written)
    names = opened.page.locator("#cost thead th").all_inner_texts()
    place = names.index("values per statistic")
    opened.page.locator("#cost thead button").nth(place).focus()
    ascending = ["none", "none", "1,568", "1,568", "1,568", "6,272"]
    for key, expected in (("Enter", ascending), ("Space", ascending[::-1])):
        opened.page.keyboard.press(key)
        assert opened.column("cost", place) == expected


def test_what_has_no_number_stays_at_the_end(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    opened.page.get_by_text("Every paired seed").click()
    button = opened.page.locator("#paired thead button").nth(2)
    for sign in (1, -1):
        button.click()
        shown = opened.column("paired", 2)
        assert len(shown) == 12
        assert shown[-1] == "—"
        numbers = [sign * float(text) for text in shown[:-1]]
        assert numbers == sorted(numbers)


def test_the_means_of_every_metric_can_be_chosen(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    choice = opened.page.get_by_label("Means of")
    names = choice.locator("option").evaluate_all("options => options.map(option => option.value)")
    assert names[0] == "test_accuracy"
    assert {"test_nll", "train_loss", "seconds"} <= set(names)
    for name in reversed(names):
        choice.select_option(name)
        shown = opened.page.locator(".metric:visible")
        assert shown.count() == 1
        assert shown.get_attribute("data-metric") == name
        assert shown.locator("tbody tr").count() == 3


@pytest.mark.parametrize("name", ["training_loss", "validation_error"])
def test_the_horizontal_axis_of_the_curves_can_be_chosen(open_page: Open, written: Lab, name: str) -> None:
    opened = open_page(written)
    choice = opened.page.locator(f"select.axis[data-chart='{name}']")
    chart = opened.page.locator(f"#chart-{name}")
    axes = choice.locator("option").all_inner_texts()
    assert axes == ["training images seen", "optimizer steps", "training time (s)"]
    ends = []
    for times, axis in enumerate([*axes[1:], axes[0]], start=2):
        choice.select_option(label=axis)
        opened.page.wait_for_function(
            "([name, times]) => document.getElementById(`chart-${name}`).dataset.drawn >= times", arg=[name, times]
        )
        texts = chart.locator("svg.marks text").all_text_contents()
        assert texts.count(axis) == 2  # one a panel
        assert sum(text.endswith(f" over {axis}") for text in texts) == 1
        assert not any(other in text for other in axes if other != axis for text in texts)
        assert f" over {axis}" in str(chart.get_attribute("aria-label"))
        ends.append(max(float(text.replace(",", "")) for text in texts if text.replace(",", "").isdigit()))
    assert ends[0] == 80  # steps, of the smaller batch
    assert ends[2] >= 600  # images


def test_no_menu_lies_over_a_title(open_page: Open, written: Lab) -> None:
    for viewport in (DESK, PHONE):
        opened = open_page(written, viewport)
        boxes = opened.page.locator(".chart svg.marks .role-title-text").evaluate_all(
            "titles => titles.map(t => { t.scrollIntoView({block: 'center'}); const r = t.getBoundingClientRect();"
            " const at = document.elementFromPoint(r.left + 4, r.top + r.height / 2);"
            " return [t.textContent, Boolean(at && at.closest('.chart')), r.left >= 0]; })"
        )
        assert len(boxes) >= len(FIGURES)
        assert all(own and inside for _, own, inside in boxes), boxes
        assert opened.page.locator(".vega-actions, .vega-embed summary").count() == 0


def test_the_files_behind_tables_and_figures_are_linked(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    links = opened.page.locator("a[href]").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    files = {link for link in links if not link.startswith(("#", "../../runs/"))}
    tables = {"pairs.csv", "comparison.csv", "contrasts.csv", "results.csv"}
    assert files == tables | {f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png", "csv")}
    assert all((written.report / link).is_file() for link in files)
    opened.page.get_by_text("Every paired seed").click()
    for link in tables:
        assert opened.page.locator(f"a[href='{link}']").is_visible()


def test_every_run_of_the_list_links_its_folder(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    rows = opened.page.locator("#run-table tbody tr").count()
    anchors = opened.page.locator("#run-table tbody a[href^='../../runs/']")
    links = anchors.evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert len(set(links)) == rows > 0
    assert all((written.report / link / "result.json").is_file() for link in links)


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
    opened.page.get_by_label("Filter").fill("batch 8 2")  # numbers are matched whole: 80 steps are no 8
    assert count.inner_text() == "1 of 18 runs"
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
    assert [name for name, count in zip(FIGURES, before[group], strict=True) if not count] == list(WITHOUT_COLOURS)
    rows = opened.page.locator("#chart-divergence svg.marks .role-axis-label text").all_text_contents()
    assert "group" in rows
    button.click()
    opened.drawn(2)
    assert button.get_attribute("aria-pressed") == "false"
    assert legend_free_marks(opened, group) == [0] * len(FIGURES)
    rows = opened.page.locator("#chart-divergence svg.marks .role-axis-label text").all_text_contents()
    assert "group" not in rows
    assert {"none", "batch"} <= set(rows)
    assert opened.page.locator("#chart-detectable svg.marks").count() == 1
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
    hidden = opened.page.locator(".chart", has_text="All that this figure shows is hidden.")
    assert hidden.count() == len(FIGURES) - 1
    assert opened.page.locator("#chart-detectable svg.marks").count() == 1


def test_quick_clicks_end_with_what_the_buttons_say(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    before = legend_free_marks(opened, "#009e73")
    opened.js("document.querySelectorAll('.toggle').forEach(b => { b.click(); b.click(); })")
    opened.drawn(7)
    assert legend_free_marks(opened, "#009e73") == before
    assert opened.page.locator(".chart svg.marks").count() == len(FIGURES)


def test_a_tooltip_tells_the_numbers(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    chart = opened.page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    tooltip = opened.page.locator("#vg-tooltip-element")
    runs, cells = (chart.locator("svg.marks .mark-symbol.role-mark").nth(index) for index in (0, 1))
    runs.locator("path").first.hover(force=True)
    tooltip.wait_for(state="visible")
    assert tooltip.inner_text().split() == [
        "norm",
        "batch",
        "batch_size",
        "8",
        "seed",
        "0",
        "test",
        "error",
        "(%)",
        "3.00",
    ]
    cells.locator("path").first.hover(force=True)
    opened.page.wait_for_function("document.getElementById('vg-tooltip-element').innerText.includes('95 % from')")
    assert "mean test error (%)" in tooltip.inner_text()


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
    opened.js("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert opened.js("document.documentElement.scrollWidth") == PHONE["width"]
    for selector in (".chart", ".scroll:visible"):  # what is wider scrolls within its own box
        boxes = opened.page.locator(selector)
        for index in range(boxes.count()):
            box = boxes.nth(index).bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= PHONE["width"]


def test_a_phone_shows_the_verdicts_and_text_that_can_be_read(open_page: Open, written: Lab) -> None:
    opened = open_page(written, PHONE)
    verdicts = opened.page.locator("#pairs tbody td.words")
    assert verdicts.count() == 4
    for index in range(4):
        box = verdicts.nth(index).bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= PHONE["width"]
    sizes = opened.js(
        """[...document.querySelectorAll('.chart svg.marks')].flatMap(svg => {
        const scale = svg.getBoundingClientRect().width / svg.width.baseVal.value;
        return [...svg.querySelectorAll('text')].filter(t => t.textContent)
            .map(t => scale * parseFloat(t.getAttribute('font-size') || getComputedStyle(t).fontSize));
    })"""
    )
    assert isinstance(sizes, list)
    assert min(sizes) >= 9


def test_a_phone_shows_whole_figures(open_page: Open, written: Lab) -> None:
    opened = open_page(written, PHONE)
    widths = opened.page.locator(".chart").evaluate_all("all => all.map(e => [e.id, e.scrollWidth, e.clientWidth])")
    assert len(widths) == len(FIGURES)
    assert [name for name, wide, box in widths if wide > box] == []
    assert opened.page.locator(".fit:visible").count() == 0


def test_a_figure_wider_than_its_box_scrolls_and_is_shown_whole_by_a_button(open_page: Open, written: Lab) -> None:
    opened = open_page(written, {"width": 220, "height": 844})
    buttons = opened.page.locator(".fit:visible")
    assert buttons.count() >= 1
    chart = opened.page.locator(f"#chart-{buttons.first.get_attribute('data-chart')}")
    widths = "e => [e.scrollWidth, e.clientWidth]"
    wide, box = chart.evaluate(widths)
    assert wide > box
    chart.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
    assert chart.evaluate("e => e.scrollLeft") == wide - box
    buttons.first.click()
    assert buttons.first.get_attribute("aria-pressed") == "true"
    assert chart.evaluate(widths) == [box, box]
    buttons.first.click()
    assert chart.evaluate(widths) == [wide, box]


def test_metric_of_a_figure_can_be_chosen(open_page: Open, written: Lab) -> None:
    opened = open_page(written)
    name = "test_error_against_batch_size"
    figure, chart = opened.page.locator(f"#figure-{name}"), opened.page.locator(f"#chart-{name}")
    choice = figure.get_by_label("Metric")
    assert choice.locator("option").all_inner_texts()[:2] == ["test accuracy", "test negative log-likelihood"]
    csv = figure.locator("a.file[data-kind='csv']")
    for times, (metric, shown) in enumerate(
        [("test negative log-likelihood", "Test negative log-likelihood"), ("test accuracy", "Test error")], start=2
    ):
        choice.select_option(label=metric)
        opened.page.wait_for_function(
            "([name, times]) => document.getElementById(`chart-${name}`).dataset.drawn >= times", arg=[name, times]
        )
        titles = chart.locator("svg.marks .role-title-text").all_text_contents()
        assert titles[0].startswith(f"{shown} against batch size")
        assert str(chart.get_attribute("aria-label")).startswith(shown)
        assert shown.lower() in figure.locator(".caption").inner_text().lower()
        own = metric == "test accuracy"
        assert (csv.get_attribute("href") == f"figures/{name}.csv") is own
        if not own:  # the files below it are of what is shown
            with opened.page.expect_download() as saved:
                csv.click()
            lines = saved.value.path().read_text().splitlines()
            assert lines[0].split(",")[:2] == ["batch_size", "norm"]
            assert len(lines) == 1 + 6 + 17  # cells, runs that did not diverge


def test_another_axis_of_a_figure_can_be_chosen(open_page: Open, make_lab: Callable[..., Lab]) -> None:
    grid = {"model.norm": ["none", "batch"], "data.batch_size": [8, 32], "optimizer.momentum": [0.0, 0.9]}
    lab = make_lab(lambda cell, seed: 0.9 + seed / 500 + cell["data.batch_size"] / 2000, grid)
    lab.write()
    opened = open_page(lab)
    name = "test_error_against_momentum"
    chart = opened.page.locator(f"#chart-{name}")
    titles = chart.locator("svg.marks .role-title-text")
    assert any("error against momentum" in title for title in titles.all_text_contents())
    opened.page.locator(f"#figure-{name} select[data-what='axis']").select_option(label="batch size")
    opened.page.wait_for_function(f"document.getElementById('chart-{name}').dataset.drawn >= 2")
    assert any("error against batch size" in title for title in titles.all_text_contents())


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
