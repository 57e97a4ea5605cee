"""Accept and Accept-Encoding, as callers send them."""

from __future__ import annotations

import numpy as np
import pytest

from esm2.errors import BeyondFloat16, NotAcceptable
from esm2.server.arrays import halved
from esm2.server.negotiation import JSON, NPZ, SAFETENSORS, Wanted, wanted, wants_page


@pytest.mark.parametrize(
    ("accept", "media_type", "half"),
    [
        ("", JSON, False),
        ("*/*", JSON, False),
        ("application/json, text/xml, application/xml, */*", JSON, False),  # R's httr
        ("text/html", JSON, False),
        ("application/x-npz", NPZ, False),
        ("Application/X-NPZ", NPZ, False),
        ("*/*, application/x-npz", NPZ, False),
        ("application/x-npz;q=0.5, application/json", JSON, False),
        ("application/x-npz;q=0", JSON, False),
        ("application/x-npz;q=much", JSON, False),
        ("application/x-npz;q=0.2, application/vnd.safetensors;q=0.3", SAFETENSORS, False),
        ("application/vnd.safetensors;dtype=float32", SAFETENSORS, False),
        ('application/vnd.safetensors ; dtype="float16" ; q=0.9', SAFETENSORS, True),
        ("application/x-npz;dtype=float16", NPZ, True),
        ("application/json;dtype=float16", JSON, False),
        ("text/html;q=0", JSON, False),
        ("application/x-npz;q=0, application/vnd.safetensors;q=0", JSON, False),
        ("application/json, application/x-npz", NPZ, False),
        ("application/json;q=0.5, */*", JSON, False),  # nobody gets arrays by a wildcard
        ("application/json;q=0, */*", NPZ, False),
        ("application/json;q=0, application/*;q=0.1, application/x-npz;q=0", SAFETENSORS, False),
        ("application/json;q=0, application/x-npz;q=0.001", NPZ, False),
        ("*/*;q=0, application/json;q=0.1", JSON, False),
        ("application/json;q=1.5", JSON, False),
    ],
)
def test_accept(accept: str, media_type: str, half: bool) -> None:
    assert wanted({"accept": accept}) == Wanted(media_type, half)


@pytest.mark.parametrize(
    "accept", ["*/*;q=0", "application/json;q=0", "application/json;q=0, text/html", "*/*;Q=0.000"]
)
def test_who_refuses_every_type_that_there_is_gets_none(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="it can be application/json or application/x-npz or"):
        wanted({"accept": accept})


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", True),
        ("*/*", False),
        ("", False),
        ("text/html;q=0, */*", False),
    ],
)
def test_only_who_names_html_gets_the_page(accept: str, page: bool) -> None:
    assert wants_page({"accept": accept}) is page


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        ("", None),
        ("identity", None),
        ("br, deflate", None),
        ("gzip, deflate", "gzip"),  # requests
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.1, gzip", "gzip"),
        ("gzip;q=0", None),
        ("GZIP;Q=0.1", "gzip"),
    ],
)
def test_accept_encoding(accept_encoding: str, coding: str | None) -> None:
    assert wanted({"accept-encoding": accept_encoding}) == Wanted(coding=coding)


def test_arrays_are_never_compressed() -> None:
    headers = {"accept": "application/x-npz", "accept-encoding": "gzip"}
    assert wanted(headers) == Wanted(NPZ)


def test_a_dtype_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(NotAcceptable, match="'int8'; it can be float32 or float16"):
        wanted({"accept": "application/x-npz;dtype=int8"})


def test_a_number_that_float16_cannot_hold_is_refused_with_the_name_of_its_array() -> None:
    fits, not_so = np.array([65504.0], np.float32), np.array([1.0, -70000.0], np.float32)
    assert halved({"0.mean.1": fits})["0.mean.1"].dtype == np.float16
    with pytest.raises(BeyondFloat16, match=r"^1\.bos\.3 has a number above 65504"):
        halved({"0.mean.1": fits, "1.bos.3": not_so})
