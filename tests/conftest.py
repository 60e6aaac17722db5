"""What several test modules draw on."""

import gc
import signal

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pytest
from hypothesis import settings

# a shell lets what it starts in the background ignore Ctrl-C, and what the tests start would, too
signal.signal(signal.SIGINT, signal.default_int_handler)

# the same examples every time; `pytest --hypothesis-profile default` looks for new ones
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


def pytest_collection_finish():
    """What is there by now stays: without it every collection of garbage would look at thousands of tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def audited():
    """Every claim, recomputed once: a table that no test changes."""
    from workbench import audit

    return audit.run()


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


@pytest.fixture(autouse=True)
def no_chart_is_left_to_the_next():
    """Charts without an `ax` are drawn on the current one."""
    yield
    plt.close("all")
