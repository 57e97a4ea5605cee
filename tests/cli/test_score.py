"""`esm2 score` as a person runs it, on the checkpoint in the package."""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
import transformers
from scipy import stats

import esm2
from esm2.loading import DEMO_DIRECTORY
from tests.cli.interrupted import Done, run
from tests.near import assert_scores
from tests.proteins import residues

DMS = Path(__file__).parents[1] / "data" / "dms"
PROTEIN = "".join(residues(40, seed=3))
#: In ProteinGym's order of columns, with a multiple mutant, and cells that need care.
ROWS = [
    ("DMS_score", "mutant", "mutated_sequence", 'the "note"'),
    ("1.50", "2A", "", "a, b"),
    ("-0.25", "9G", "", ""),
    ("", "17W", "", "not measured"),
    ("3e-1", "2A:30C", "", ""),
    ("0.1", "33K", "", '"'),
]


def mutated(parts: str) -> tuple[str, str]:
    """A variant and its sequence: "2A:30C" -> ("K2A:Q30C", "MA...C...")."""
    letters, names = list(PROTEIN), []
    for part in parts.split(":"):
        index = int(part[:-1]) - 1
        names.append(f"{PROTEIN[index]}{part}")
        letters[index] = part[-1]
    return ":".join(names), "".join(letters)


def table(rows=ROWS) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(rows[0])
    for score, parts, _, note in rows[1:]:
        writer.writerow([score, *mutated(parts), note])
    return buffer.getvalue().encode()


VARIANTS = [mutated(row[1])[0] for row in ROWS[1:]]


@pytest.fixture
def score(tmp_path):
    """Run the command in a directory with a table and its wild type."""
    (tmp_path / "x.csv").write_bytes(table())
    (tmp_path / "wt.fasta").write_text(f">wt\n{PROTEIN}\n")
    (tmp_path / "two.fasta").write_text(f">a\n{PROTEIN}\n>b\nMK\n")

    def command(*arguments: object, stdin: bytes = b"") -> Done:
        exactly = ["--device", "cpu", "--dtype", "float32"]
        return run(tmp_path, "score", *arguments, *exactly, stdin=stdin)

    return command


@pytest.fixture(scope="module")
def model():
    with esm2.load("esm2-demo", device="cpu", dtype="float32") as loaded:
        yield loaded


def column(content: bytes, name: str) -> list[str]:
    return [row[name] for row in csv.DictReader(io.StringIO(content.decode(), newline=""))]


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


# --- what is written ---------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["masked-marginals", "wt-marginals", "pppl"])
def test_a_table_gets_one_column_with_the_numbers_of_python(score, tmp_path, model, strategy):
    done = score("--variants", "x.csv", "-o", "y.csv", "--wt", "wt.fasta", "--strategy", strategy)
    assert (done.status, done.stdout) == (0, b""), done.told
    written = (tmp_path / "y.csv").read_bytes()
    got = column(written, "esm2-demo")
    want = model.score_variants(PROTEIN, VARIANTS, strategy)
    assert_scores(np.array(got, dtype=float), want)
    # Without the new cells, every byte is as it was.
    lines = zip(written.splitlines(), ["esm2-demo", *got], strict=True)
    stripped = b"".join(line.removesuffix(f",{cell}".encode()) + b"\r\n" for line, cell in lines)
    assert stripped == table()
    assert names(tmp_path) == {"x.csv", "y.csv", "wt.fasta", "two.fasta"}
    passes = "1 forward pass" if strategy == "wt-marginals" else r"\d+ forward passes"
    assert re.fullmatch(
        rf"y\.csv: 5 variants, {strategy}, {passes}, esm2-demo on cpu, float32; a tiny"
        r" model, trained for two hours: to try things, not for science",
        done.told[-1],
    )


def test_a_wild_type_that_looks_like_dna_is_scored_and_said(score):
    done = score("--sequence", "ACGTACGTACGT", "A1C", "-q")
    assert (done.status, done.told) == (0, ["the wild type: it looks like DNA or RNA"])


def test_the_wild_type_is_worked_out_of_mutated_sequences(score, tmp_path):
    done = score("--variants", "x.csv", "-o", "y.csv", "-q")
    assert (done.status, done.told) == (
        0,
        ["the wild type is that of the column mutated_sequence: 40 residues"],
    )
    want = score("--variants", "x.csv", "--sequence", PROTEIN)
    assert (tmp_path / "y.csv").read_bytes() == want.stdout


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_table_may_come_through_standard_input(score, compress):
    flags = ("--wt", "wt.fasta", "-q", "--strategy", "wt-marginals")
    done = score("--variants", "-", *flags, stdin=compress(table()))
    assert (done.status, done.told) == (0, [])
    assert done.stdout == score("--variants", "x.csv", *flags).stdout


def test_a_table_of_another_wild_type_than_the_one_that_was_given_is_told(score, tmp_path):
    rows = (*mutated("9G"), *mutated("2A"))
    text = "mutant,mutated_sequence\n{},{}\n{},{:.5}\n".format(*rows)
    (tmp_path / "z.csv").write_text(text)
    done = score("--variants", "z.csv", "--wt", "wt.fasta", "-q", "-o", "y.csv")
    assert (done.status, done.told) == (
        0,
        [
            "z.csv, line 3: its mutated_sequence is of another wild type, 5 residues; the one that"
            " was given is scored"
        ],
    )


def test_several_models_or_strategies_add_a_column_each(score, tmp_path):
    asked = ("--variants", "x.csv", "-o", "x.csv", "-q", "--wt", "wt.fasta")
    assert score(*asked).status == 0
    once = (tmp_path / "x.csv").read_bytes()
    again = score(*asked)
    assert again.status == 1
    assert "there is a column 'esm2-demo' already; name the new one with --column" in again.told[-1]
    assert (tmp_path / "x.csv").read_bytes() == once
    assert score(*asked, "--column", "wt", "--strategy", "wt-marginals").status == 0
    written = (tmp_path / "x.csv").read_bytes()
    assert column(written, "esm2-demo") == column(once, "esm2-demo")
    assert column(written, "wt") != column(once, "esm2-demo")


def test_variants_on_the_command_line_go_to_standard_output(score, model):
    done = score("--sequence", PROTEIN, VARIANTS[0], "WT", VARIANTS[3], "-q")
    assert (done.status, done.told) == (0, [])
    assert column(done.stdout, "mutant") == [VARIANTS[0], "WT", VARIANTS[3]]
    want = model.score_variants(PROTEIN, [VARIANTS[0], "WT", VARIANTS[3]])
    got = np.array(column(done.stdout, "esm2-demo"), dtype=float)
    assert_scores(got, want)


def test_other_columns_and_gzip_and_tabs(score, tmp_path):
    tabs = f"v\tn\n{VARIANTS[0]}\t1\n".encode()
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(tabs))
    done = score(
        *("--variants", "t.tsv.gz", "--mutant-column", "v", "--wt", "wt.fasta"),
        *("-o", "u.tsv.gz", "--column", "s"),
    )
    assert done.status == 0, done.told
    header, row = gzip.decompress((tmp_path / "u.tsv.gz").read_bytes()).splitlines()
    assert header == b"v\tn\ts"
    assert row.startswith(f"{VARIANTS[0]}\t1\t-".encode()) or row.count(b"\t") == 2


def test_spearman_is_told_with_the_rows_that_have_a_number(score, tmp_path):
    done = score(
        "--variants", "x.csv", "-o", "y.csv", "--wt", "wt.fasta", "--spearman", "DMS_score"
    )
    scores = column((tmp_path / "y.csv").read_bytes(), "esm2-demo")
    pairs = [(float(a), float(row[0])) for a, row in zip(scores, ROWS[1:], strict=True) if row[0]]
    rho = stats.spearmanr(*zip(*pairs, strict=True)).statistic
    assert done.stdout.decode() == (
        f"Spearman rank correlation of esm2-demo with DMS_score: {rho:.4f} over 4 rows; 1 row"
        " without a number left out\n"
    )
    onto_stdout = score("--variants", "x.csv", "--wt", "wt.fasta", "--spearman", "DMS_score")
    assert onto_stdout.stdout == (tmp_path / "y.csv").read_bytes()
    assert onto_stdout.told[-1] == done.stdout.decode().strip()


# --- the offset --------------------------------------------------------------------------------


def shifted(offset: int) -> list[str]:
    places = (1, 4, 9, 16, 25, 36)
    return [f"{PROTEIN[n - 1]}{n + offset}{'A' if PROTEIN[n - 1] != 'A' else 'G'}" for n in places]


def test_an_offset_that_is_found_is_told_even_quietly(score):
    asked = ("--sequence", PROTEIN, "-q")
    found = score(*asked, *shifted(23))
    assert found.status == 0
    assert found.told == [
        "all 6 variants match the sequence with offset 23; pass --offset 23 to make that explicit"
    ]
    said = score(*asked, *shifted(23), "--offset", "23")
    assert (said.status, said.told, said.stdout) == (0, [], found.stdout)
    zero_based = score(*asked, *shifted(-1), "--offset=-1")
    assert column(zero_based.stdout, "esm2-demo") == column(found.stdout, "esm2-demo")


def test_an_offset_that_does_not_match_is_refused(score):
    done = score("--sequence", PROTEIN, *shifted(23), "--offset", "22")
    assert (done.status, done.stdout) == (1, b"")
    assert done.told[0].startswith("esm2: argument ")
    assert "with offset 22" in done.told[0]
    assert done.told[0].endswith("[request.invalid_variant]")


# --- what is refused ---------------------------------------------------------------------------


def test_rows_that_cannot_be_scored_are_named_by_line_and_nothing_is_written(score, tmp_path):
    bad = [b"A2del", b"K99999W", *[b"nonsense"] * 10]
    rows = [VARIANTS[0].encode(), *bad]
    (tmp_path / "bad.csv").write_bytes(b"mutant\n" + b"\n".join(rows) + b"\n")
    done = score("--variants", "bad.csv", "--wt", "wt.fasta", "-o", "y.csv", "--offset", "0")
    [line] = done.told
    assert done.status == 1
    assert "bad.csv, line 3: variant 'A2del': insertions and deletions cannot be scored" in line
    assert "bad.csv, line 4: variant 'K99999W': position 99999 is outside the protein" in line
    assert "bad.csv, line 7: " in line
    assert "bad.csv, line 8: " not in line
    assert "12 variants in all cannot be scored" in line
    assert "y.csv" not in names(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variants", "no.csv", "--wt", "wt.fasta"], "cannot read no.csv"),
        (["--variants", "x.csv", "--mutant-column", "v"], "there is no column 'v'"),
        (["--variants", "x.csv", "--spearman", "v"], "there is no column 'v'"),
        (["--variants", "x.csv", "--wt", "two.fasta"], "two.fasta, line 3: there is a second"),
        (["--variants", "x.csv", "--wt", "no.fasta"], "cannot read no.fasta"),
        (["--variants", "x.csv", "-o", "no/y.csv"], "there is no directory no"),
        (["--sequence", "MK<mask>", "M1K"], "residue 3 is <mask>"),
        (
            ["--sequence", "MKT", "--max-residues", "2", "M1K"],
            "has 3 residues, the limit here is 2",
        ),
        (["--sequence", "MKT", "A1K"], "residue 1 is M, not A|no offset makes every variant"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_1(score, arguments, message):
    done = score(*arguments)
    assert done.status == 1
    assert re.search(message, done.told[-1])
    assert re.search(r" \[[a-z_.]+\]$", done.told[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sequence", "MK"], "give variants as arguments"),
        (["--sequence", "MK", "--variants", "x.csv", "M1K"], "give variants as arguments"),
        (["M1K"], "give the wild type with --sequence or --wt"),
        (["--sequence", "MK", "--wt", "wt.fasta", "M1K"], "give the wild type once"),
        (["--variants", "-", "--wt", "-"], "--wt: standard input (-) can be read once"),
        (["--sequence", "MK", "M1K", "--spearman", "s"], "--spearman"),
        (["--sequence", "MK", "M1K", "--offset", "x"], "neither a whole number nor auto"),
        (["--sequence", "MK", "M1K", "--offset", "9" * 30], "it is at most 1000000000 either way"),
        (["--sequence", "MK", "M1K", "--strategy", "wt"], "--strategy"),
        (["--sequence", "MK", "M1K", "-o", "y.txt"], "no ending that is known here"),
        (["--variants", "x.csv", "-o", "y.tsv"], "the input is a .csv; write a .csv"),
    ],
)
def test_wrong_usage_is_status_2(score, tmp_path, arguments, message):
    done = score(*arguments)
    assert done.status == 2
    assert message in done.told[-1]
    assert names(tmp_path) == {"x.csv", "wt.fasta", "two.fasta"}


def test_mutated_sequences_of_another_protein_are_refused(score, tmp_path):
    other = table().replace(mutated("33K")[1].encode(), b"M" + mutated("33K")[1].encode())
    (tmp_path / "z.csv").write_bytes(other)
    done = score("--variants", "z.csv")
    assert done.status == 1
    assert "z.csv, line 6: " in done.told[-1]


# --- the documented figure ---------------------------------------------------------------------


def test_the_documented_command_prints_the_spearman_of_transformers_masked_marginals(tmp_path):
    """On some of the rows; nothing of ours takes part in what it is compared with."""
    page = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text()
    [line] = re.findall(r"^esm2 (score --variants BLAT.*)$", page, re.MULTILINE)
    name = "BLAT_ECOLX_Jacquier_2013.csv.gz"
    rows = gzip.decompress((DMS / name).read_bytes()).splitlines(keepends=True)
    (tmp_path / name).write_bytes(gzip.compress(b"".join(rows[:41])))
    done = run(tmp_path, *line.split(), "--device", "cpu", "--dtype", "float32")
    assert done.status == 0, done.told

    before, after = pandas.read_csv(tmp_path / name), pandas.read_csv(tmp_path / "OUT.csv.gz")
    proteingym = ["mutant", "mutated_sequence", "DMS_score", "DMS_score_bin"]
    assert list(after) == [*proteingym, "esm2-demo"]
    pandas.testing.assert_frame_equal(after[proteingym], before)

    with (DMS / "index.tsv").open() as index:
        [about] = [row for row in csv.DictReader(index, delimiter="\t") if row["file"] == name]
    want = masked_marginals(before["mutant"], about["wt_sequence"])
    assert_scores(after["esm2-demo"], want)
    rho = stats.spearmanr(want, before["DMS_score"]).statistic
    told = r"Spearman rank correlation of esm2-demo with DMS_score: (-?\d\.\d{4}) over 40 rows\n"
    found = re.fullmatch(told, done.stdout.decode())
    assert found
    assert float(found[1]) == pytest.approx(rho, abs=1e-3)  # two scores may change places


def masked_marginals(mutants, wild_type: str) -> list[float]:
    """By transformers: log p(mt) - log p(wt) at the mutated position, masked."""
    model = transformers.EsmForMaskedLM.from_pretrained(DEMO_DIRECTORY, dtype=torch.float32).eval()
    letters = "LAGVSERTIDPKQNFYMHWC"
    ids = torch.tensor([0, *(4 + letters.index(letter) for letter in wild_type), 2])
    positions = sorted({int(mutant[1:-1]) for mutant in mutants})
    masked = ids.repeat(len(positions), 1)
    masked[range(len(positions)), positions] = 32
    log_p = {}
    with torch.inference_mode():
        for part, own in zip(masked.split(16), torch.tensor(positions).split(16), strict=True):
            logits = model(part, attention_mask=torch.ones_like(part)).logits
            rows = logits[range(len(own)), own].double().log_softmax(-1)
            log_p |= dict(zip(own.tolist(), rows, strict=True))
    return [
        float(log_p[place][4 + letters.index(mt)] - log_p[place][4 + letters.index(wt)])
        for wt, place, mt in ((mutant[0], int(mutant[1:-1]), mutant[-1]) for mutant in mutants)
    ]


# --- real tables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "flags", "told"),
    [
        ("BLAT_ECOLX_Jacquier_2013.csv.gz", [], "mutated_sequence: 286 residues"),
        ("BLAT_ECOLX_Ranganathan2015_esm1v.csv.gz", ["--sequence"], "143 .* offset 23;"),
        ("avgfp.csv.gz", ["--mutant-column", "variant", "--sequence"], "150 .* offset -1;"),
    ],
)
def test_published_tables_are_read_as_they_are(score, tmp_path, name, flags, told):
    if flags:
        with (DMS / "index.tsv").open() as index:
            [about] = [row for row in csv.DictReader(index, delimiter="\t") if row["file"] == name]
        flags = [*flags, about["wt_sequence"]]
    done = score("--variants", DMS / name, *flags, "-o", "y.csv", "--strategy", "wt-marginals")
    assert done.status == 0, done.told
    assert re.search(told, done.told[0])
    before = gzip.decompress((DMS / name).read_bytes()).splitlines()
    after = (tmp_path / "y.csv").read_bytes().splitlines()
    assert [line.rpartition(b",")[0] for line in after] == before
