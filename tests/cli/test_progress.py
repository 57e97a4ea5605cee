"""How far a command has come, where there is no terminal."""

from esm2.cli import progress
from esm2.files.fasta import Position


def test_a_line_every_thirty_seconds_says_how_much_is_done_and_how_long_it_takes(capsys):
    now = 100.0
    done = progress.Embedding(Position(0, 4_000_000), 0)
    with progress.shown(False, clock=lambda: now) as advance:
        for second in range(100):
            now = 100.0 + second
            done.records, done.residues = second, 1000 * second
            done.position.done = 20_000 * second
            advance(done.line)
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == (
        "30 records, 30,000 residues, 1,000 residues/s, 0.6 of 4.0 MB, 15 %, 2 min 50 s left"
    )
    assert second.startswith("60 records")
    assert third.startswith("90 records")


def test_what_was_done_before_does_not_count_as_speed():
    done = progress.Embedding(Position(3_000_000, 4_000_000), 2_000_000, 10, 1000)
    assert done.line(60.0).endswith("3.0 of 4.0 MB, 75 %, 1 min 00 s left")


def test_of_a_pipe_there_is_no_telling():
    assert progress.Embedding(Position(9, 0), 0, 1, 60).line(60.0) == (
        "1 records, 60 residues, 1 residues/s"
    )


def test_passes_are_counted_against_their_number_or_the_input():
    assert progress.Passes(200, None, 50).line(30.0) == "50 of 200 passes, 25 %, 1 min 30 s left"
    assert progress.Passes(None, Position(1, 2), 50).line(60.0) == (
        "50 passes, 0.0 of 0.0 MB, 50 %, 1 min 00 s left"
    )


def test_quiet_is_quiet(capsys):
    now = iter([0.0, 1000.0])
    with progress.shown(True, clock=lambda: next(now)) as advance:
        advance(lambda _: "a line")
    assert capsys.readouterr().err == ""
