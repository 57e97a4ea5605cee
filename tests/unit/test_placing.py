"""Files on their way to their place: whole or not there, with what the old one had."""

import os
import stat

import pytest

from esm2.errors import FileError
from esm2.files import placing


def test_what_a_dead_run_has_left_is_cleared_and_what_a_live_one_has_is_not(tmp_path):
    dead = tmp_path / ".esm2-abcd1234.part"
    dead.mkdir()
    (dead / "x.csv").write_text("half")
    with placing.beside(tmp_path / "x.csv") as first:
        first.write_text("1")
        assert not dead.exists()
        with placing.beside(tmp_path / "y.csv") as second:
            second.write_text("2")
            assert first.read_text() == "1"
        placing.clear(tmp_path)
        assert first.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_only_resembles_a_leftover_is_not_ours(tmp_path):
    (tmp_path / ".esm2-notes.part").mkdir()
    (tmp_path / ".esm2-abcd1234.part").write_text("a file")
    placing.clear(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_is_replaced_leaves_its_mode_to_the_new_one(tmp_path):
    output = tmp_path / "x"
    output.write_text("old")
    output.chmod(0o640)
    with placing.beside(output) as hidden:
        hidden.write_text("new")
        placing.put(hidden, output)
    assert output.read_text() == "new"
    assert stat.S_IMODE(output.stat().st_mode) == 0o640


@pytest.mark.parametrize("links", [True, False], ids=["", "on a file system without links"])
def test_a_file_that_may_not_be_replaced_is_not(tmp_path, monkeypatch, links):
    def refused(*_: object) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", refused)
    output = tmp_path / "x"
    with placing.beside(output) as hidden:
        hidden.write_text("first")
        placing.put(hidden, output, force=False)
    with placing.beside(output) as hidden:
        hidden.write_text("second")
        with pytest.raises(FileExistsError):
            placing.put(hidden, output, force=False)
    assert output.read_text() == "first"
    assert list(tmp_path.iterdir()) == [output]


def test_a_link_is_followed_and_one_to_itself_refused(tmp_path):
    (tmp_path / "link").symlink_to("far")
    assert placing.target(tmp_path / "link") == tmp_path.resolve() / "far"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileError, match="leads nowhere"):
        placing.target(tmp_path / "loop")
