"""The FASTA reader: what it accepts, what it refuses, and what it never does to a file."""

import bz2
import contextlib
import functools
import gzip
import io
import itertools
import lzma
import os
import random
import re
import sys
import threading
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esm2.errors import FileError, InvalidFasta
from esm2.files import fasta

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "xz": functools.partial(lzma.compress, preset=0),  # whose reader keeps 256 KiB, not 8 MiB
    "zstd": zstd.compress,
    "bzip2": functools.partial(bz2.compress, compresslevel=1),  # blocks of 100 kB
}


@pytest.fixture
def read(tmp_path):
    """Bytes -> records, through a file whose name says nothing."""

    def read_bytes(data):
        path = tmp_path / "input"
        path.write_bytes(data)
        return list(fasta.read(path))

    return read_bytes


def fields(records):
    return [(record.id, record.header, record.sequence, record.line) for record in records]


# --- any file comes back as it was written -------------------------------------------------------

headers = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20)
# A line of sequence can begin with anything but the two letters that begin other lines.
sequences = st.text("ACDEFGHIKLMNPQRSTVWYXBUZO.-acj123é*", max_size=80).map(
    lambda text: text.rstrip("*")
)


def render(records, width, newline, blank_lines, last_newline):
    """FASTA text and the line number of each header."""
    lines, header_lines = [], []
    for header, sequence in records:
        header_lines.append(len(lines) + 1)
        lines.append(">" + header)
        lines += [sequence[i : i + width] for i in range(0, len(sequence), width)]
        lines += [""] * blank_lines
    return newline.join(lines) + newline * last_newline, header_lines


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    records=st.lists(st.tuples(headers, sequences), min_size=1, max_size=6),
    width=st.integers(1, 90),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    blank_lines=st.integers(0, 2),
    last_newline=st.integers(0, 1),
    compression=st.sampled_from(sorted(COMPRESS)),
)
def test_records_survive_wrapping_line_ends_and_compression(
    tmp_path_factory, *, records, width, newline, blank_lines, last_newline, compression
):
    text, header_lines = render(records, width, newline, blank_lines, last_newline)
    path = tmp_path_factory.mktemp("fasta") / "input"
    path.write_bytes(COMPRESS[compression](text.encode()))

    found = list(fasta.read(path))

    assert [(r.header, r.sequence) for r in found] == [
        (header.strip(" \t"), sequence) for header, sequence in records
    ]
    assert [r.line for r in found] == header_lines


@settings(derandomize=True, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_records_or_an_error_of_ours(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fasta") / "input"
    path.write_bytes(data)
    with contextlib.suppress(InvalidFasta):
        assert list(fasta.read(path))


# --- what is accepted ----------------------------------------------------------------------------


def test_a_file_gives_ids_headers_sequences_and_lines(read):
    found = read(b">a first one\nMKT\nAY\n>b\nGG\n")
    assert fields(found) == [("a", "a first one", "MKTAY", 1), ("b", "b", "GG", 4)]


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd", "bzip2"])
def test_compressed_files_may_have_several_members(read, compression):
    compress = COMPRESS[compression]
    found = read(compress(b">a\nMK") + compress(b"T\n>b\nGG\n") + compress(b""))
    assert [(r.id, r.sequence) for r in found] == [("a", "MKT"), ("b", "GG")]


@pytest.mark.parametrize("compression", ["gzip", "xz", "bzip2"])
def test_zero_padding_between_compressed_members_is_skipped(read, compression):
    compress = COMPRESS[compression]
    found = read(compress(b">a\nMKT\n") + bytes(8) + compress(b">b\nGG\n") + bytes(1 << 17))
    assert [r.id for r in found] == ["a", "b"]


def test_zstd_may_begin_with_a_skippable_frame(read):
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"pzst"
    assert [r.id for r in read(skippable + zstd.compress(b">a\nMKT\n"))] == ["a"]


def test_the_name_of_a_file_does_not_matter(tmp_path):
    path = tmp_path / "plain.fasta.gz"
    path.write_bytes(b">a\nMKT\n")
    assert [r.sequence for r in fasta.read(str(path))] == ["MKT"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_of_all_systems_count_as_one_line(read, newline):
    found = read(newline.join([">a", "MK", "T", "", ">b", "GG"]).encode())
    assert fields(found) == [("a", "a", "MKT", 1), ("b", "b", "GG", 5)]


@pytest.mark.parametrize("compression", sorted(COMPRESS))
def test_a_byte_order_mark_is_dropped(read, compression):
    assert fields(read(COMPRESS[compression](b"\xef\xbb\xbf>a\nMKT\n"))) == [("a", "a", "MKT", 1)]


def test_byte_order_marks_in_the_middle_are_those_of_files_that_were_joined(read):
    found = read(b"\xef\xbb\xbf>a\nMKT\n\xef\xbb\xbf>b\nGG\n")
    assert [(r.id, r.sequence) for r in found] == [("a", "MKT"), ("b", "GG")]


@pytest.mark.parametrize("end", [b"\x1a", b"\r\n\x1a", b"\r\n\x1a\x1a\x1a", b"*\r\n\x1a"])
def test_the_end_of_a_file_of_dos_is_no_residue(read, end):
    assert [r.sequence for r in read(b">a\r\nMKT\r\n>b\r\nGG" + end)] == ["MKT", "GG"]


def test_files_that_dos_has_joined_are_read_to_the_last(read):
    assert [r.id for r in read(b">a\r\nMKT\r\n\x1a>b\r\nGG\r\n\x1a")] == ["a", "b"]


def test_several_files_are_one_input_and_each_record_knows_its_own(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(f">{name}\nMKT\n")
    position = fasta.Position()
    found = list(fasta.read_all([str(tmp_path / "a"), str(tmp_path / "b")], position))
    assert [(r.id, r.line, r.source) for r in found] == [
        ("a", 1, str(tmp_path / "a")),
        ("b", 1, str(tmp_path / "b")),
    ]
    assert position == fasta.Position(done=14, total=14)


@pytest.mark.parametrize("content", [None, b"to do\n", gzip.compress(b"to do\n", mtime=0), b""])
def test_a_file_at_the_end_that_cannot_be_read_is_told_before_any_record(tmp_path, content):
    (tmp_path / "a").write_bytes(b">a\nMKT\n")
    if content is not None:
        (tmp_path / "b").write_bytes(content)
    with pytest.raises((FileError, InvalidFasta), match=re.escape(str(tmp_path / "b"))):
        next(fasta.read_all([str(tmp_path / "a"), str(tmp_path / "b")]))


def test_a_pipe_among_several_files_is_read_once(tmp_path):
    for name in ("a", "b"):
        os.mkfifo(tmp_path / name)
        content = f">{name}\nMKT\n".encode()
        threading.Thread(target=(tmp_path / name).write_bytes, args=(content,)).start()
    found = fasta.read_all([str(tmp_path / "a"), str(tmp_path / "b")])
    assert [record.id for record in found] == ["a", "b"]


def test_upper_case_leaves_masks_as_they_are(read):
    found = fasta.upper(read(b">a\nmk<mask>t-.\n"))
    assert [r.sequence for r in found] == ["MK<mask>T-."]


def test_comments_and_blank_lines_are_skipped_but_counted(read):
    found = read(b"; made by hand\n\n>a\n;inside\nMK\n\nT\n  \n;end\n>b\nGG\n")
    assert fields(found) == [("a", "a", "MKT", 3), ("b", "b", "GG", 10)]


def test_blanks_and_tabs_inside_a_sequence_are_removed(read):
    assert read(b">a\n  MKTAY IAKQR\t10\n\tGG \n")[0].sequence == "MKTAYIAKQR10GG"


def test_a_stop_codon_that_ends_a_record_is_removed(read):
    found = read(b">a\nMKT*\n>b\nMKT\n*\n>c\nMK*T\n>d\nMKT**\n>e\n*\n")
    assert [r.sequence for r in found] == ["MKT", "MKT", "MK*T", "MKT*", ""]


def test_letters_stay_as_they_are(read):
    assert read(b">a\nmkT<mask>J1-.\n")[0].sequence == "mkT<mask>J1-."


def test_headers_may_be_in_utf8_or_in_anything_else(read):
    found = read(">β-lactamase α\nMK\n".encode() + b">caf\xe9 \x85\xff\nGG\n")
    assert [(r.id, r.header) for r in found] == [
        ("β-lactamase", "β-lactamase α"),
        ("caf\xe9", "caf\xe9 \x85\xff"),
    ]


def test_the_id_is_the_first_word_of_the_header(read):
    found = read(b">sp|P1|X\tOS=some  thing \nMK\n>  b c\nGG\n")
    assert [(r.id, r.header) for r in found] == [
        ("sp|P1|X", "sp|P1|X\tOS=some  thing"),
        ("b", "b c"),
    ]


def test_a_record_without_a_name_gets_one_that_no_other_can_have(read):
    found = read(b">\nMK\n>seq 1\nMK\n>seq1\nMK\n> \t\nGG\n")
    assert [r.id for r in found] == ["seq 1", "seq", "seq1", "seq 4"]
    assert [r.header for r in found] == ["", "seq 1", "seq1", ""]


def test_a_record_without_residues_is_still_a_record(read):
    found = read(b">a\n>b\n\n>c\nMK\n>d")
    assert [(r.id, r.sequence) for r in found] == [("a", ""), ("b", ""), ("c", "MK"), ("d", "")]


def test_repeated_ids_are_kept(read):
    assert [r.id for r in read(b">a\nMK\n>a\nGG\n")] == ["a", "a"]


def test_standard_input_is_read_as_it_comes(monkeypatch):
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb", buffering=0) as sink:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(source))
        sink.write(b">a\nMKT\n>b\nGG")
        records = fasta.read("-")
        assert next(records).sequence == "MKT"  # and the pipe is still open
        sink.write(b"G\n")
        sink.close()
        assert [r.sequence for r in records] == ["GGG"]


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd", "bzip2"])
def test_standard_input_may_be_compressed(monkeypatch, compression):
    data = COMPRESS[compression](b">a\nMKT\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert [r.sequence for r in fasta.read("-")] == ["MKT"]


@pytest.mark.parametrize("compression", sorted(COMPRESS))
def test_memory_is_bounded_by_a_record(tmp_path, compression):
    path = tmp_path / "large"
    with path.open("wb") as out:
        for start in range(0, 20_000, 1_000):
            text = "".join(f">r{start + i}\n{'MKTAYIAKQR' * 60}\n" for i in range(1_000))
            out.write(COMPRESS[compression](text.encode()))
    tracemalloc.start()
    try:
        count = sum(1 for _ in fasta.read(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 2_000_000  # the text has 12 MB


# --- what is refused -----------------------------------------------------------------------------


def refusal(path):
    with pytest.raises(InvalidFasta) as caught:
        list(fasta.read(path))
    return caught.value


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (b"", 1, "empty"),
        (b"\n\n; only a comment\n", 3, "empty"),
        (b"\n\nMKT\n>a\nMKT\n", 3, "residues without a header"),
        (b"Dear colleague, here they are:\n>a\nMKT\n", 1, "text before the first record"),
        (b"BZh91AY&SY", 1, "damaged or cut short"),
        (gzip.compress(b"", mtime=0), 1, "empty"),
    ],
)
def test_a_file_that_is_not_fasta_is_refused_with_its_line(tmp_path, data, line, reason):
    path = tmp_path / "input"
    path.write_bytes(data)
    error = refusal(path)
    assert (error.source, error.line) == (str(path), line)
    assert reason in error.reason


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd", "bzip2"])
def test_a_compressed_file_cut_anywhere_is_refused(tmp_path, compression):
    path = tmp_path / "input"
    data = COMPRESS[compression](b">a\nMKT\n>b\nGGGGGGGGGG\n")
    for length in range(len(data)):
        path.write_bytes(data[:length])
        refusal(path)


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd", "bzip2"])
def test_what_follows_a_compressed_member_must_be_one(tmp_path, compression):
    path = tmp_path / "input"
    path.write_bytes(COMPRESS[compression](b">a\nMKT\n") + b"not a member at all")
    assert "damaged" in refusal(path).reason


def test_damage_is_told_with_the_line_it_was_found_at(tmp_path):
    path = tmp_path / "input"
    # Random letters do not compress away: the cut is far behind the first lines.
    noise = random.Random(0)
    lines = [f">r{i}\n{noise.randbytes(30).hex().upper()}\n" for i in range(2_000)]
    data = gzip.compress("".join(lines).encode())
    path.write_bytes(data[: len(data) // 2])
    records = fasta.read(path)
    good = list(itertools.islice(records, 500))
    assert [r.id for r in good] == [f"r{i}" for i in range(500)]
    with pytest.raises(InvalidFasta) as caught:
        list(records)
    assert caught.value.line > 1_000


@pytest.mark.parametrize("name", ["missing.fasta", "."])
def test_what_cannot_be_opened_is_told_by_name(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(FileError, match="cannot read") as caught:
        list(fasta.read(path))
    assert caught.value.path == str(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told_by_name(tmp_path):
    path = tmp_path / "secret.fasta"
    path.write_bytes(b">a\nMKT\n")
    path.chmod(0)
    with pytest.raises(FileError, match="Permission denied"):
        list(fasta.read(path))


def test_a_closed_standard_input_is_told(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(FileError, match="standard input is closed"):
        list(fasta.read("-"))


# --- how far it has been read --------------------------------------------------------------------


@pytest.mark.parametrize("compression", sorted(COMPRESS))
def test_the_position_goes_from_the_beginning_to_the_size_of_the_file_on_the_disk(
    tmp_path, compression
):
    noise = random.Random(0)
    text = "".join(f">r{i}\n{noise.randbytes(100).hex().upper()}\n" for i in range(3_000))
    path = tmp_path / "input"
    path.write_bytes(COMPRESS[compression](text.encode()))
    position = fasta.Position()
    done = []
    for _ in fasta.read(path, position):
        assert position.total == path.stat().st_size
        done.append(position.done)
    assert done == sorted(done)
    assert 0 < done[0] < position.total / 2
    assert len(set(done)) > 3
    assert done[-1] == position.done == position.total


def test_nobody_knows_how_much_comes_from_a_pipe(monkeypatch):
    position = fasta.Position()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b">a\nMKT\n")))
    assert len(list(fasta.read("-", position))) == 1
    assert position == fasta.Position(done=7, total=0)
