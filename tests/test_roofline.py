"""The roofline itself: hand values and limits."""

import numpy as np
import pytest

from workbench import kernels


def test_ridge_point_of_the_published_charts():
    # Medusa figures 9, 12, 15: 161, 215 and 235..236 FLOP/byte
    assert kernels.ridge_point(312e12, 1935e9) == pytest.approx(161.24, abs=0.01)
    assert kernels.ridge_point(149.7e12, 696e9) == pytest.approx(215.09, abs=0.01)
    assert kernels.ridge_point(181e12, 768e9) == pytest.approx(235.68, abs=0.01)


def test_attainable_is_the_lower_of_the_two_ceilings():
    np.testing.assert_array_equal(kernels.attainable(np.array([1.0, 10.0, 1000.0]), 100.0, 2.0), [2.0, 20.0, 100.0])


def test_ideal_time_is_the_longer_of_computing_and_moving():
    np.testing.assert_array_equal(kernels.ideal_time(np.array([100.0, 1000.0]), 50.0, 100.0, 10.0), [5.0, 10.0])


def test_the_ridge_point_itself_counts_as_compute_bound():
    np.testing.assert_array_equal(kernels.bound(np.array([9.99, 10.0, 10.01]), 10.0), [0, 1, 1])
    assert kernels.bound(np.array([1.0]), 10.0).dtype == np.int8
    written = np.full(3, 7, dtype=np.int8)
    assert kernels.bound(np.array([9.99, 10.0, 10.01]), 10.0, out=written) is written
    assert written.tolist() == [0, 1, 1]
