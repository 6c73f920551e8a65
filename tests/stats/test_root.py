import math
import subprocess
import sys

import pytest
from scipy.optimize import brentq

from normbench.stats import paired_power
from normbench.stats.root import bracketed_root

FUNCTIONS = {
    "power": (lambda effect: paired_power(effect, 1.0, 3) - 0.8 if effect else -0.8, 0.0, 8.0),
    "family": (lambda effect: paired_power(effect, 1.0, 10, alpha=0.05 / 44) - 0.9 if effect else -0.9, 0.0, 4.0),
    "flat": (lambda x: (x - 1.25) ** 3 + 0.1 * (x - 1.25), -3.0, 9.0),
    "steep": (lambda x: math.exp(3 * x) - 2, -20.0, 30.0),
    "falling": (lambda x: 0.3 - math.tanh(x), -1.0, 7.0),
    "at an end": (lambda x: x, 0.0, 3.0),
    "at the other": (lambda x: x - 3.0, 0.0, 3.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_root_is_that_of_scipy_to_the_last_bit(name):
    f, low, high = FUNCTIONS[name]
    assert bracketed_root(f, low, high, xtol=1e-12) == brentq(f, low, high, xtol=1e-12)


def test_ends_of_one_sign_are_refused():
    with pytest.raises(ValueError, match="between which it crosses zero"):
        bracketed_root(lambda x: x * x + 1, -1.0, 1.0, xtol=1e-12)


def test_a_report_does_not_import_what_it_can_do_without():
    code = """
import sys
import normbench.report.files, normbench.report.page.html
from normbench.stats import detectable_difference
detectable_difference(3, 1.0)
assert not {"scipy.optimize", "scipy.stats", "torch"} & set(sys.modules)"""
    subprocess.run([sys.executable, "-c", code], check=True)
