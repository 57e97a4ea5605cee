"""Who has a work directory, when several processes want it in the same moment."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from esm2 import files
from esm2.errors import CannotResume
from tests.storing import META, keep, names, rows, run

RUN = run()


class Watched(type(Path())):
    """A path of which something happens behind the making of a directory."""

    then = staticmethod(lambda: None)

    def mkdir(self, *arguments, **named):
        super().mkdir(*arguments, **named)
        then, Watched.then = Watched.then, Path.cwd
        then()


def test_who_comes_second_to_a_new_directory_leaves_it_to_the_first(tmp_path):
    path = tmp_path / "out.npz"
    first, second = files.Journal(path, RUN), files.Journal(Watched(path), RUN)
    with contextlib.ExitStack() as stack:
        Watched.then = lambda: keep(stack.enter_context(first), rows(RUN, ["a", "b"]))
        with pytest.raises(CannotResume, match="another process is writing it now"), second:
            pytest.fail("it was opened")
        files.commit(path, first, META)
    assert names(path.parent) == ["out.npz"]


def test_a_directory_that_another_process_removes_is_made_again(tmp_path):
    path = tmp_path / "out.npz"
    other = files.Journal(Watched(path), RUN)
    Watched.then = files.work_directory(path).rmdir
    with other as journal:
        keep(journal, rows(RUN, ["a", "b"]))
    with files.Journal(path, RUN) as journal:
        assert journal.resumed == 2
