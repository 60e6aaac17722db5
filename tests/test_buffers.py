"""Memory that is used again: never while an array has it, and not without end."""

import gc
import pickle

import numpy as np
import pytest

import workbench as wb
from workbench.grid import buffers

SHAPE = (1000, 1000)  # 8 MB


@pytest.fixture(autouse=True)
def reused(monkeypatch):
    """Memory is kept, a quarter of a gigabyte at most."""
    with buffers.reused_memory():
        monkeypatch.setattr(buffers, "_kept", 2**28)
        yield
        gc.collect()


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_the_last_view_is_gone():
    array = buffers.empty(SHAPE, "float64")
    array[:] = 1
    view, place = array[5:7, ::2].T, address(array)
    del array
    other = buffers.empty(SHAPE, "float64")
    other[:] = 2
    assert address(other) != place
    assert (view == 1).all()
    del view
    again = buffers.empty((*SHAPE[::-1], 1), "float64")
    assert address(again) == place


@pytest.mark.parametrize(
    "hold", [lambda a: a.ravel(), lambda a: a.view("int64"), memoryview, lambda a: a[..., None].data]
)
def test_whatever_holds_the_memory_keeps_it(hold):
    array = buffers.empty(SHAPE, "float64")
    array[:] = 1
    place, held = address(array), hold(array)
    del array
    assert address(buffers.empty(SHAPE, "float64")) != place
    assert np.asarray(held).view("float64").sum() == 10**6


def test_a_buffer_serves_one_array_at_a_time_and_any_dtype_of_its_size():
    first = [buffers.empty(SHAPE, "float64") for _ in range(3)]
    places = {address(array) for array in first}
    assert len(places) == 3
    del first
    second = [buffers.empty((2000, 1000), "float32") for _ in range(4)]
    assert places < {address(array) for array in second}
    assert len({address(array) for array in second}) == 4


def test_what_is_kept_has_an_end(monkeypatch):
    monkeypatch.setattr(buffers, "_kept", 3 * 8 * 10**6)
    arrays = [buffers.empty(SHAPE, "float64") for _ in range(5)]
    del arrays
    assert len(buffers._free) == 3


def test_small_arrays_are_numpys_own():
    assert buffers.empty((10, 10), "int8").base is None


def test_large_arrays_begin_on_a_huge_page(monkeypatch):
    monkeypatch.setattr(buffers, "_kept", 0)
    for shape in ((2**18,), (1000, 500), SHAPE):
        array = buffers.empty(shape, "float64")
        assert array.shape == shape
        assert address(array) % buffers.PAGE == 0
        array[...] = 1
        assert array.sum() == array.size


def test_outside_of_a_loop_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(buffers, "_kept", 0)
    array = buffers.empty(SHAPE, "float64")
    assert isinstance(array.base, np.ndarray)
    del array
    assert not buffers._free


def test_the_end_of_a_loop_gives_back_what_it_kept():
    with buffers.reused_memory():
        array = buffers.empty(SHAPE, "float64")
        del array
        assert len(buffers._free) == 1
    assert not buffers._free


def test_a_system_that_cannot_take_pages_back(monkeypatch):
    monkeypatch.delattr(buffers.mmap, "MADV_FREE")
    assert isinstance(buffers.empty(SHAPE, "float64").base, np.ndarray)
    assert not buffers._free


def test_a_grid_is_not_touched_by_the_next_ones():
    sizes = {"batch_size": range(1, 301), "seq_len": range(1, 301)}
    first = wb.roofline_grid("t4", "gpt2", **sizes)
    held = {name: first[name].values for name in ("time", "bound", "flops")}
    copies = {name: values.copy() for name, values in held.items()}
    kept = pickle.loads(pickle.dumps(first))
    del first
    for gpu in ("h100-sxm", "l4"):
        wb.roofline_grid(gpu, "gpt2", **sizes, time_model="kernel")
    again = wb.roofline_grid("t4", "gpt2", **sizes)
    for name, values in held.items():
        np.testing.assert_array_equal(values, copies[name])
    assert again.identical(kept)
