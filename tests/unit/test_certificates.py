"""What a comparison says of certified answers, and its page as a whole."""

import numpy as np
import pytest

from pruner.comparison.certificates import certificate_row, markdown
from pruner.comparison.page import Compared, View, page
from pruner.comparison.table import Control, compared_run, table
from tests.unit.test_comparison import answers


def rows(*given):
    names = ("certified", "is_mode", "correct", "traces_started", "tokens_net")
    return [{"method": "certified"} | dict(zip(names, each, strict=True)) for each in given]


FOUND = rows((True, True, 1, 4, 10), (True, False, 0, 8, 20), (False, False, 1, 16, 60), (True, True, None, 6, 10))


def test_shares_are_of_the_certified_answers():
    row = certificate_row("delta=0.1", FOUND)
    assert (row.certified, row.not_mode, row.accuracy, row.accuracy_of_others) == (
        3 / 4,
        pytest.approx(1 / 3),
        1 / 2,
        1,
    )
    assert (row.traces, row.tokens_net) == (6, 25)
    assert "| certified | delta=0.1 | 75.00% | 33.33% | 50.00% | 100.00% | 6.0 | 0.025 |" in markdown([row])


def test_where_nothing_is_certified_nothing_is_said_of_it():
    row = certificate_row("", rows((False, True, 1, 4, 10)))
    assert (row.certified, row.not_mode, row.accuracy, row.traces) == (0, None, None, None)
    assert "| certified |  | 0.00% |  |  | 100.00% |  | 0.01 |" in markdown([row])


def test_a_method_without_certificates_has_no_row():
    assert certificate_row("", rows((None, True, 1, 4, 10))) is None
    assert certificate_row("", []) is None


def test_a_page_has_the_sections_that_were_asked_for():
    names = ("p0", "p1", "p2")
    runs = [
        compared_run("r", "a", answers("r", 100, (0, 1, 1), method=method)) for method in ("cons", "worth", "adaptive")
    ]
    control = Control(names, np.array([[0.0, 1.0]] * 3), np.array([[50.0, 100.0]] * 3))
    lines = table(runs, control, 9, 0)
    plain = page(lines, Compared(runs, control), View((), 5, (), None, 9, 0))
    assert plain.startswith("# 3 problems, 1 order of") and "\n## " not in plain
    whole = page(
        lines, Compared(runs, control, [certificate_row("", FOUND)]), View((100,), 2, ("adaptive",), None, 9, 0)
    )
    assert [line for line in whole.splitlines() if line.startswith("## ")] == [
        "## The best accuracy of any setting",
        "## The best setting, chosen on other problems",
        "## Above the best mixtures of others' settings",
        "## Certified answers",
    ]
    with pytest.raises(ValueError, match="no point is of this method"):
        page(lines, Compared(runs, control), View((), 2, ("esc",), None, 9, 0))
