"""Values of more than 8 bits and floats: one range for the whole set, found or given, and noted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ganvas.data.assemble import Assembled, assemble_array
from ganvas.data.pictures import PictureOptions
from ganvas.errors import DataError, SettingError

Values = npt.NDArray[Any]


def read(values: Any, dtype: str, **options: Any) -> Assembled:
    """A set of one 1-pixel image for each value."""
    images = np.array(values, dtype).reshape(-1, 1, 1)
    return assemble_array("scans", images, None, (), PictureOptions(**options))


def pixels(result: Assembled) -> list[int]:
    return result.dataset.images.flatten().tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("values", "dtype", "ends"),
    [
        ([0, 1023], "uint16", (0, 1023)),
        ([3, 500], "uint16", (0, 511)),
        ([0, 4000], "uint16", (0, 4095)),
        ([0, 4000], ">i2", (0, 4095)),
        ([0, 9000], "uint16", (0, 16383)),
        ([0, 20000], "int32", (0, 65535)),
        ([0, 255], "uint16", (0, 255)),
        ([0, 40], "int64", (0, 255)),
        ([0, 13], "int64", (0, 15)),
        ([0, 16], "int64", (0, 16)),
        ([0, 1], "uint16", (0, 1)),
        ([10, 70_000], "int64", (10, 70_000)),
        ([-1024, 3071], "int16", (-1024, 3071)),
        ([0, 0.5], "float32", (0, 1)),
        ([-0.5, 0.5], "float16", (-1, 1)),
        ([0, 254.0], "float64", (0, 255)),
        ([0, 16.0], "float64", (0, 16)),
        ([-700.5, 20], "float32", (-700.5, 20)),
        ([False, True], "bool", (0, 1)),
    ],
)
def test_the_range_is_the_smallest_usual_one(
    values: list[float], dtype: str, ends: tuple[float, float]
) -> None:
    result = read(values, dtype)
    low, high = ends
    exact = [(value - low) * 255 / (high - low) for value in values]
    assert pixels(result) == pytest.approx(exact, abs=0.5)
    assert result.dataset.read_as.range == ends
    assert f": {low:.15g}:{high:.15g} becomes black to white" in result.dataset.notes[0]


def test_all_images_are_scaled_alike() -> None:
    assert pixels(read([0, 100, 1000, 4095], "uint16")) == [0, 6, 62, 255]


def test_full_16_bits_are_scaled_as_ever() -> None:
    values = np.arange(65536)
    result = read(values, "uint16")
    assert pixels(result) == ((values + 128) // 257).tolist()


def test_8_bits_stay_as_they_are() -> None:
    result = read([0, 1, 7], "uint8")
    assert pixels(result) == [0, 1, 7]
    assert result.dataset.notes == ()
    assert result.dataset.read_as.range is None


@pytest.mark.parametrize("given", ["0:4095", 5, (1,), (0, "x"), (1, 0)])
def test_an_impossible_range_is_refused(given: Any) -> None:
    with pytest.raises(SettingError, match="range"):
        PictureOptions(range=given)


def test_a_given_range_clips_and_counts_what_lies_outside() -> None:
    result = read([-50, 0, 500, 1000, 2000], "int16", range=(0, 1000))
    assert pixels(result) == [0, 0, 128, 255, 255]
    assert result.dataset.notes == (
        "values from -50 to 2000: 0:1000 becomes black to white, as asked",
        "40.00% of the values lie outside 0:1000: clipped",
    )
    assert pixels(read([0, 1], "uint8", range=(0, 1))) == [0, 255]


@pytest.mark.parametrize(("value", "dtype"), [(0, "uint16"), (-7, "int8"), (1e30, "float64")])
def test_a_constant_set_is_read(value: float, dtype: str) -> None:
    assert len(set(pixels(read([value] * 3, dtype)))) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_finite_number_is_refused_with_its_place(value: float) -> None:
    with pytest.raises(DataError, match="scans: image 2 has values that are NaN or infinite"):
        read([0, 1, value, 3], "float32")
    with pytest.raises(DataError, match="image 2 has"):
        read([0, 1, value, 3], "float32", range=(0, 1))


def test_other_types_are_refused() -> None:
    with pytest.raises(DataError, match="scans: values are complex64, expected numbers"):
        read([0, 1], "complex64")


def test_scaled_arrays_are_brought_to_a_size_and_tell_it() -> None:
    images = np.linspace(0, 1, 2 * 4 * 4 * 3, dtype=np.float32).reshape(2, 4, 4, 3)
    result = assemble_array("x", images, None, (), PictureOptions(size=(2, 2)))
    assert result.dataset.images.shape == (2, 3, 2, 2)
    assert "0:1 becomes black to white" in result.dataset.notes[0]
    assert result.dataset.read_as.range == (0, 1)
    assert result.dataset.read_as.size == (2, 2)


def test_originals_that_differ_have_different_digests() -> None:
    result = read([0, 1, 2, 65535], "uint16", digests=True)
    assert len(set(result.digests)) == 4
