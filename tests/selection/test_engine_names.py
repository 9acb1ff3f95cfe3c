"""Requests: which are refused and what they need; engines by name, and what they promise."""

import re
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from delift_core.errors import SelectionError
from delift_core.selection.greedy import greedy_order
from delift_core.selection.quotas import no_quota
from delift_core.selection.request import Engine, QuotaRequest, SelectionRequest, parse_engine
from delift_core.selection.select import guarantee, select_from_kernel
from delift_core.selection.types import Budget, FixedRows, ObjectiveConfig, Quota, Quotas


@pytest.mark.parametrize("name", get_args(Engine))
def test_every_engine_is_read_by_its_name(name: Engine) -> None:
    assert parse_engine(name) == parse_engine(f" {name} ") == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("magic", "is not known: use one of auto, dense"),
        ("sparse:2", "is not known"),
        ("", "is not known"),
        ("stochastic", "no engine 'stochastic' any more: run this with version 0.1.0, the last that has it"),
        ("stochastic:0.1", "no engine 'stochastic:0.1' any more"),
        ("partitioned:4", "choose again with one of auto, dense, sparse, torch, submodlib."),
    ],
)
def test_engines_that_there_are_not(text: str, message: str) -> None:
    with pytest.raises(SelectionError, match=re.escape(message)) as caught:
        parse_engine(text)
    assert "\n" not in str(caught.value)


def test_every_kind_of_selection_says_what_it_promises() -> None:
    kernel = np.random.default_rng(3).random((12, 12), dtype=np.float32)
    request = SelectionRequest(ObjectiveConfig("instruction"), Budget("rows", 4))
    plain = select_from_kernel(request, kernel, greedy_order(kernel))
    assert guarantee(plain) == "at least 63.2% of the best selection (1 - 1/e)"
    assert guarantee(replace(plain, engine="submodlib")) == guarantee(plain)
    for engine in ("stochastic:0.1", "partitioned:2"):
        assert "no share of the best selection is promised" in guarantee(replace(plain, engine=engine))
    assert "31.6%" in guarantee(replace(plain, budget=Budget("tokens", 9)))
    assert "no share of the best selection is promised of RDS+" in guarantee(replace(plain, method="rds"))
    assert "adds to the kept" in guarantee(replace(plain, fixed=FixedRows((1,))))
    quotas = Quotas("topic", (Quota("a", 1),), no_quota(12).codes)
    assert "50.0% of the best selection within the quotas" in guarantee(replace(plain, quotas=quotas))


ROWS, FL = Budget("rows", 4), ObjectiveConfig("instruction")
QUOTAS = (QuotaRequest("topic", Quota("a", 1)),)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"config": ObjectiveConfig("garden")}, "no stage 'garden': use one of instruction, task, continual"),  # type: ignore[arg-type]
        ({"config": ObjectiveConfig("task", eta=-1)}, "eta is -1"),
        ({"budget": Budget("percent", 130)}, "at most 100 %"),
        ({"metric": "cosine"}, "no metric 'cosine'"),
        ({"method": "magic"}, "no method 'magic': use one of delift, random"),
        ({"engine": "steam"}, "Engine 'steam' is not known"),
        ({"engine": "dense", "method": "rds"}, "leave out the engine, or the method"),
        ({"engine": "dense", "quotas": QUOTAS}, "does not support quotas"),
        ({"engine": "dense", "fixed": FixedRows((1,))}, "does not support rows kept or dropped"),
        ({"budget": Budget("tokens", 9), "quotas": QUOTAS}, "rows or percent"),
        ({"fixed": FixedRows((1, 2), (2,))}, "Position 2 is both kept and dropped"),
        ({"method": "given"}, "cannot be chosen again"),
        ({"given": np.arange(4)}, "leave out the order"),
    ],
)
def test_a_request_that_contradicts_itself_is_not_made(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=re.escape(message)) as caught:
        SelectionRequest(**{"config": FL, "budget": ROWS} | parts)
    assert "\n" not in str(caught.value)


def test_a_request_says_what_it_needs_besides_the_scored_pool() -> None:
    assert SelectionRequest(FL, ROWS).needs == set()
    assert SelectionRequest(ObjectiveConfig("task"), ROWS, method="less").needs == {"target", "model"}
    assert SelectionRequest(ObjectiveConfig("continual"), Budget("tokens", 9)).needs == {"existing", "token counts"}
    assert SelectionRequest(FL, ROWS, method="ifd", given=np.arange(4)).needs == set()
