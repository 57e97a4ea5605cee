"""docs/clients.md is what the other tests of this directory saw."""

from __future__ import annotations

import pytest

from tests.clients.table import PLACE, Table


def test_the_table_of_clients_is_up_to_date(request, table: Table):
    if unseen := table.unseen():
        pytest.skip(f"docs/clients.md was not compared: nothing was seen of {unseen[0]}")
    if request.config.getoption("--write-table", default=False):
        PLACE.write_text(table.text(), encoding="utf-8")
    said = PLACE.read_text(encoding="utf-8")
    assert said == table.text(), "docs/clients.md is out of date; run `make docs`"
