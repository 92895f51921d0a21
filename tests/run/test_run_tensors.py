from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save

from terrarium.run.tensors import Tensors, dtype_name, examine, is_finite, parse_table


def blob_of(dtype: str, shape: list[int], data: bytes, name: str = "w") -> bytes:
    """A safetensors file made by hand, for the types that numpy has no name for."""
    header = json.dumps({name: {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32), max_size=8))
def test_single_precision_agrees_with_numpy(numbers: list[float]) -> None:
    array = np.array(numbers, dtype=np.float32)
    assert is_finite("F32", array.tobytes()) == bool(np.isfinite(array).all())
    bfloat16 = (array.view(np.uint32) >> 16).astype(np.uint16)
    cut = (bfloat16.astype(np.uint32) << 16).view(np.float32)
    assert is_finite("BF16", bfloat16.tobytes()) == bool(np.isfinite(cut).all())


@pytest.mark.parametrize(
    ("dtype", "numpy_type"), [("F16", np.float16), ("F64", np.float64), ("C64", np.complex64)]
)
@pytest.mark.parametrize("number", [0.0, -1.5, 6e4, math.inf, -math.inf, math.nan])
def test_other_precisions_agree_with_numpy(dtype: str, numpy_type: type, number: float) -> None:
    array: NDArray[Any] = np.array([1, number, 1], dtype=numpy_type)
    assert is_finite(dtype, array.tobytes()) == math.isfinite(number)


@pytest.mark.parametrize(
    ("dtype", "not_finite"),
    [
        # OCP 8-bit floats, and E4M3FNUZ/E5M2FNUZ (https://arxiv.org/abs/2206.02915)
        ("F8_E4M3", {0x7F, 0xFF}),
        ("F8_E5M2", {0x7C, 0x7D, 0x7E, 0x7F, 0xFC, 0xFD, 0xFE, 0xFF}),
        ("F8_E8M0", {0xFF}),
        ("F8_E4M3FNUZ", {0x80}),
        ("F8_E5M2FNUZ", {0x80}),
        ("U8", set()),
        ("BOOL", set()),
    ],
)
def test_every_pattern_of_eight_bits(dtype: str, not_finite: set[int]) -> None:
    assert {bits for bits in range(256) if not is_finite(dtype, bytes([0, bits]))} == not_finite


def test_a_single_nan_is_found_in_a_large_tensor() -> None:
    array = np.zeros(3_000_000, dtype=np.float32)
    assert is_finite("F32", array.tobytes())
    array[-1] = np.nan
    assert not is_finite("F32", array.tobytes())


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="F7"):
        is_finite("F7", b"")


def test_examine() -> None:
    found = examine(
        save({"b": np.zeros((2, 3), np.float32), "a": np.full(2, np.nan), "c": np.full((), 3, np.int64)})
    )
    assert found.table == {"a": ("F64", (2,)), "b": ("F32", (2, 3)), "c": ("I64", ())}
    assert (found.elements, found.non_finite) == (9, ["a"])
    assert examine(save({})) == Tensors({}, 0, [], {})
    assert examine(blob_of("BF16", [1], b"\x80\x7f")).non_finite == ["w"]
    assert examine(save({"hollow": np.zeros((0, 4), np.float32)})).elements == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff" * 64,
        struct.pack("<Q", 2**40) + b"{}",
        blob_of("F32", [2], b"\0" * 4),
        blob_of("F32", [2**62, 2**62], b"\0" * 8),
        blob_of("F32", [1], b"\0" * 4)[:-1],
        blob_of("F32", [1], b"\0" * 4) + b"\0",
        blob_of("NEW", [1], b"\0" * 4),
    ],
)
def test_what_is_no_safetensors_file(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a safetensors file"):
        examine(content)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.data())
def test_a_mutated_file_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(save({"a": np.ones((2, 2), np.float32), "b": np.ones(3, np.float16)}))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = examine(bytes(content))
    except ValueError:
        return
    assert found.elements >= 0


def test_types_by_any_name() -> None:
    assert {dtype_name(name) for name in ("torch.float32", "float32", "F32")} == {"F32"}
    assert dtype_name("torch.bfloat16") == "BF16"
    assert dtype_name("strange") == "strange"


def test_tables_from_json() -> None:
    assert parse_table({"a": ["torch.float32", [2, 3]], "b": ("F16", ())}) == {
        "a": ("F32", (2, 3)),
        "b": ("F16", ()),
    }
    wrong: tuple[object, ...] = (None, [], {"a": []}, {"a": ["F32"]}, {"a": ["F32", [1.5]]}, {"a": [1, [1]]})
    for value in (*wrong, {"a": ["F32", 3]}):
        with pytest.raises(ValueError, match=r"table|dtype"):
            parse_table(value)
