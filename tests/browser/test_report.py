"""Reports in a real browser: nothing fails, every figure is drawn, the table can be searched, and text stays text."""

import time

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.job_processes import run
from tests.many_results import write_runs
from tests.results_under_test import HOSTILE

pytestmark = pytest.mark.browser


def make(path, target, *arguments):
    result = run("report", str(path), "--output", str(target), *arguments)
    assert result.returncode == 0, result.stderr
    return target / "report.html"


@pytest.fixture(scope="module")
def page(sweep, tmp_path_factory):
    return make(sweep, tmp_path_factory.mktemp("report"))


@pytest.fixture
def opened(browser, page):
    browser.get(page.as_uri())
    yield browser
    assert_quiet(browser)


def assert_quiet(browser):
    complaints = [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not complaints, complaints


def shown(browser):
    return browser.find_elements(By.CSS_SELECTOR, "#table tbody tr.problem")


def choose(browser, element, value):
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    browser.execute_script(script, browser.find_element(By.ID, element), value)


def wait(browser, selector, count=1):
    WebDriverWait(browser, 30).until(lambda b: len(b.find_elements(By.CSS_SELECTOR, selector)) >= count)
    return browser.find_elements(By.CSS_SELECTOR, selector)


def test_every_figure_is_drawn_and_fits_its_place(opened):
    figures = opened.find_elements(By.TAG_NAME, "figure")
    assert len(figures) == 9
    script = """
        const svg = arguments[0].querySelector("svg"), box = svg.getBoundingClientRect();
        const marks = [...svg.querySelectorAll("path, use")].filter(each => each.getBoundingClientRect().width > 0);
        const letters = [...svg.querySelectorAll("text")].map(each => each.getBoundingClientRect());
        return {width: box.width, height: box.height, marks: marks.length, letters: letters.length,
                outside: letters.filter(l => l.left < box.left - 2 || l.right > box.right + 2).length};"""
    for figure in figures:
        assert figure.get_attribute("data-filled") == "yes", figure.get_attribute("id")
        found = opened.execute_script(script, figure)
        assert found["width"] > 300 and found["height"] > 150 and found["marks"] >= 4 and found["letters"] > 3, found
        assert found["outside"] == 0, figure.get_attribute("id")
    assert opened.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_the_table_can_be_searched_filtered_and_sorted(opened):
    assert len(shown(opened)) == 8  # of the run that is looked at
    choose(opened, "run", "")
    assert len(shown(opened)) == 24 and "24 of 24 problems" in opened.find_element(By.ID, "shown").text
    choose(opened, "search", "WHAT is 3 zero")
    assert len(shown(opened)) == 3 and all("p3" in row.text for row in shown(opened))
    choose(opened, "search", "no such words")
    assert not shown(opened)
    choose(opened, "search", "")
    choose(opened, "outcome", "wrong")
    wrong = shown(opened)
    assert wrong and all("wrong" in row.text for row in wrong)
    choose(opened, "outcome", "")
    heads = opened.find_elements(By.CSS_SELECTOR, "#table th")
    column = next(number for number, head in enumerate(heads) if head.text.startswith("net tokens"))
    heads[column].click()
    values = [int(row.find_elements(By.TAG_NAME, "td")[column].text.replace(",", "")) for row in shown(opened)]
    assert values == sorted(values, reverse=True)
    heads[column].click()
    assert shown(opened)[0].find_elements(By.TAG_NAME, "td")[column].text.replace(",", "") == str(min(values))


def test_a_trace_opens_with_its_prefix_and_verdicts_marked_and_runs_no_script(opened):
    title = opened.title
    choose(opened, "run", opened.execute_script("return String(data.focus)"))
    shown(opened)[0].click()
    rows = wait(opened, ".trace", 16)
    assert len(rows) == 16
    asked = opened.find_element(By.CSS_SELECTOR, "p.asked").text
    assert HOSTILE in asked and "<b>times</b>" in asked
    opened.find_elements(By.CSS_SELECTOR, ".trace")[0].click()
    text = wait(opened, ".text pre")[0]
    assert HOSTILE in text.text and text.text.startswith("s0 wa")
    mark = text.find_element(By.TAG_NAME, "mark").text
    assert HOSTILE in mark and len(mark) <= len(text.text)
    assert wait(opened, ".verdict")
    scripts = opened.find_elements(By.TAG_NAME, "script")
    assert len(scripts) == 2 and opened.title == title != "run"
    shown(opened)[0].click()
    assert not opened.find_elements(By.CSS_SELECTOR, ".trace")


def test_light_and_dark_differ(opened):
    def colour():
        return opened.execute_script("return getComputedStyle(document.body).backgroundColor")

    before = colour()
    opened.find_element(By.ID, "theme").click()
    assert colour() != before


def test_traces_that_are_not_there_are_reported(browser, page, tmp_path):
    alone = tmp_path / "alone.html"
    alone.write_text(page.read_text())
    browser.get(alone.as_uri())
    shown(browser)[0].click()
    WebDriverWait(browser, 30).until(
        lambda b: "keep this page beside its folder" in b.find_element(By.CSS_SELECTOR, ".traces").text
    )
    browser.get_log("browser")  # that the file is missing is said there too


def test_a_run_without_a_judge_says_so(browser, sweep, tmp_path):
    browser.get(make(sweep / "cons", tmp_path).as_uri())
    assert not browser.find_elements(By.ID, "figure-calibration")
    assert len(shown(browser)) == 8
    assert_quiet(browser)


def test_thirty_problems_of_512_traces_open(browser, tmp_path):
    write_runs(tmp_path / "o", 2, 30, 512)
    page = make(tmp_path / "o", tmp_path / "report")
    started = time.monotonic()
    browser.get(page.as_uri())
    opened = time.monotonic()
    assert len(shown(browser)) == 30
    shown(browser)[7].click()
    assert len(wait(browser, ".trace", 512)) == 512
    traces = time.monotonic()
    browser.execute_script("document.querySelectorAll('.trace')[500].click()")
    assert "trace 500 <script>alert(500)</script>" in wait(browser, ".text pre")[0].text
    texts = time.monotonic()
    size = page.stat().st_size / 1e6
    print(
        f"page of {size:.1f} MB in {opened - started:.2f} s, 512 traces {traces - opened:.2f} s, a text {texts - traces:.2f} s"
    )
    assert_quiet(browser)
