"""Pictures: each number in the colour that its legend gives, at the place that its labels give.

The labels are read from an SVG and the colours from a PNG of the same picture.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.textpath import TextPath

from esm2 import plots
from esm2.alphabet import AMINO_ACIDS
from esm2.errors import FileError
from tests.pictures import DPI, POINTS, Drawn, rgb

LIGHT, DARK = "#ffffff", "#14171c"
HIT, WRONG, MISSED = "#1f5fbf", "#d62728", "#9aa1aa"
SEQUENCE = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQFEVV"


def same(found, want, atol=0.02):
    np.testing.assert_allclose(found, want, atol=atol)


@pytest.fixture
def drawn(tmp_path):
    return lambda draw, *arguments, **keywords: Drawn(
        tmp_path, partial(draw, *arguments, title="A title", **keywords)
    )


def symmetric(rng, size):
    upper = np.triu(rng.random((size, size), dtype=np.float32))
    return np.maximum(upper, upper.T)


# --- contact map -------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
def test_a_contact_has_the_colour_of_its_probability_at_the_residues_on_the_axes(drawn, dark):
    contacts = symmetric(np.random.default_rng(1), 10)
    contacts[2, 6] = contacts[6, 2] = 1.0
    picture = drawn(plots.contact_map, contacts, dark=dark)
    for i in range(10):
        for j in range(10):
            place = picture.column(str(j + 1)), picture.row(str(i + 1))
            same(picture.at(*place), colormaps["viridis"](float(contacts[i, j]))[:3])
    same(picture.at(2, 2), rgb(DARK if dark else LIGHT))
    assert {"contact probability", "residue", "A title"} <= set(picture.words())


def test_a_structure_is_drawn_above_the_diagonal_and_the_prediction_below(drawn):
    rng = np.random.default_rng(2)
    size = 12
    contacts = symmetric(rng, size)
    truth = symmetric(rng, size) > 0.5
    known = np.arange(size) != 8
    picture = drawn(plots.contact_map, contacts, truth=truth, known=known)
    pairs = [
        (-contacts[i, j], i, j)
        for i in range(size)
        for j in range(i + 6, size)
        if known[i] and known[j]
    ]
    top = {(i, j) for _, i, j in sorted(pairs)[:size]}
    counts = {HIT: 0, WRONG: 0, MISSED: 0}
    for i in range(size):
        for j in range(i + 1, size):
            place = picture.column(str(j + 1)), picture.row(str(i + 1))
            if not (known[i] and known[j]):
                assert 0.7 < picture.at(*place)[0] < 0.95, (i, j)  # a grey stripe
                continue
            want = set()
            if (i, j) in top:
                want = {HIT if truth[i, j] else WRONG}
            elif truth[i, j] and j - i >= 6:
                want = {MISSED}
            assert {colour for colour in counts if picture.has(colour, *place)} == want, (i, j)
            for colour in want:
                counts[colour] += 1
    assert counts[HIT]
    assert counts[WRONG]
    assert counts[MISSED]
    words = picture.words()
    assert f"contact, among the L most probable pairs ({counts[HIT]})" in words
    assert f"no contact, among the L most probable pairs ({counts[WRONG]})" in words
    assert f"contact that was missed ({counts[MISSED]})" in words
    assert "not in the structure" in words
    shades = [
        picture.at(picture.column(str(j + 1)), picture.row(str(i + 1))).mean()
        for i, j in zip(*np.tril_indices(size, -2), strict=True)
    ]
    order = np.argsort(contacts[np.tril_indices(size, -2)])
    assert (np.diff(np.array(shades)[order]) < 0.02).all()  # the more probable, the darker


# --- attention map -----------------------------------------------------------------------------


def test_attention_is_by_layer_and_residue_counted_from_1(drawn):
    attentions = np.random.default_rng(3).random((6, 9), dtype=np.float32)
    picture = drawn(plots.attention_map, attentions)
    for layer in range(6):
        for index in range(9):
            place = picture.column(str(index + 1)), picture.row(str(layer + 1))
            want = colormaps["viridis"](float(attentions[layer, index] / attentions.max()))
            same(picture.at(*place), want[:3])
    assert {"layer", "residue"} <= set(picture.words())


def test_every_residue_of_a_long_protein_has_a_pixel_of_its_own(drawn):
    attentions = np.zeros((2, 2048), dtype=np.float32)
    attentions[0, ::2] = 1
    picture = drawn(plots.attention_map, attentions)
    line = picture.pixels[round(picture.row("1") * DPI / POINTS)]
    yellow = np.abs(line - colormaps["viridis"](1.0)[:3]).max(axis=1) < 0.01
    assert np.diff(yellow.astype(int)).clip(0).sum() >= 1023  # the first is at the frame


# --- scan --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
def test_a_mutation_has_its_colour_where_its_letter_and_its_position_cross(drawn, dark):
    rng = np.random.default_rng(4)
    sequence = "ACDEFGHIKLMN"  # each letter once: it is the label of its position
    scores = rng.uniform(-8, 4, (20, 12)).astype(np.float32)
    scores[0, 0] = -8
    picture = drawn(plots.scan_heatmap, sequence, scores, dark=dark)
    for row, letter in enumerate(AMINO_ACIDS):
        for column, own in enumerate(sequence):
            place = picture.column(own, top=True), picture.row(letter)
            if letter == own:
                dot = picture.at(*place)
                assert dot.mean() > 0.8 if dark else dot.mean() < 0.25, own
            elif not dark:
                same(picture.at(*place), colormaps["RdBu"](scores[row, column] / 16 + 0.5)[:3])
            elif abs(scores[row, column]) > 1:
                red, _, blue = picture.at(*place)
                assert (red > blue) == (scores[row, column] < 0)
    words = set(picture.words())
    assert {"aliphatic", "aromatic", "polar", "positive", "negative", "special", "mean"} <= words
    assert any(word.startswith("log-odds, nats: red damaging, blue tolerated") for word in words)


def test_the_strip_below_is_the_mean_without_the_residue_that_is_there(drawn):
    sequence = "ACD"
    scores = np.zeros((20, 3), dtype=np.float32)
    scores[:, 1] = -8
    scores[AMINO_ACIDS.index("C"), 1] = 8  # of the wild type: must not count
    picture = drawn(plots.scan_heatmap, sequence, scores)
    y = picture.row("mean")
    same(picture.at(picture.column("C", top=True), y), colormaps["RdBu"](0.0)[:3])
    same(picture.at(picture.column("A", top=True), y), colormaps["RdBu"](0.5)[:3])


def test_a_long_protein_is_wrapped_into_rows_of_100_positions_counted_on(drawn):
    sequence = (SEQUENCE * 9)[:250]
    scores = np.random.default_rng(5).normal(size=(20, 250)).astype(np.float32)
    picture = drawn(plots.scan_heatmap, sequence, scores)
    assert picture.words().count("mean") == 3
    ticks = [label for label in picture.words() if label.isdigit() and int(label) > 10]
    assert ticks[:9] == ["20", "30", "40", "50", "60", "70", "80", "90", "100"]
    assert {"101", "201", "250"} <= set(ticks)
    letters = [t for t in picture.texts if t.anchor == "middle" and t.text in AMINO_ACIDS]
    assert "".join(t.text for t in letters) == sequence


# --- logo --------------------------------------------------------------------------------------


def test_the_most_probable_letter_is_on_top_and_as_high_as_it_is_probable(drawn):
    probabilities = np.zeros((2, 20), dtype=np.float32)
    probabilities[0, AMINO_ACIDS.index("D")] = 0.75  # negative: red
    probabilities[0, AMINO_ACIDS.index("K")] = 0.25  # positive: blue
    probabilities[1, AMINO_ACIDS.index("I")] = 1.0  # aliphatic: green
    picture = drawn(plots.logo, probabilities, [4, 17])
    bottom, top = picture.row("0.0"), picture.row("1.0")

    def colours(x):
        """The colours of a column in thin rows, from 0 to 1, where there are any."""
        rows = []
        for share in np.linspace(0.03, 0.97, 48):
            y = round((bottom + share * (top - bottom)) * DPI / POINTS)
            left = round((x - 12) * DPI / POINTS)
            span = picture.pixels[y, left : left + round(24 * DPI / POINTS)]
            ink = span[np.abs(span - 1).max(axis=1) > 0.3]
            rows.append(np.median(ink, axis=0) if len(ink) else None)
        return rows

    negative, positive, aliphatic = rgb("#c0262d"), rgb("#1f5fbf"), rgb("#2d6a4f")
    first = colours(picture.column("4"))
    for share, colour in zip(np.linspace(0.03, 0.97, 48), first, strict=True):
        if abs(share - 0.25) > 0.03:
            same(colour, negative if share > 0.25 else positive)
    for colour in colours(picture.column("17")):
        same(colour, aliphatic)
    assert {"probability", "residue", "4", "17", "aliphatic", "negative"} <= set(picture.words())


def test_many_masks_are_wrapped_and_all_named(drawn):
    probabilities = np.full((60, 20), 0.05, dtype=np.float32)
    positions = list(range(101, 161))
    picture = drawn(plots.logo, probabilities, positions, dark=True)
    assert picture.words().count("probability") == 3
    assert [t.text for t in picture.texts if t.text.isdigit()] == [str(p) for p in positions]


# --- every picture -----------------------------------------------------------------------------


def everything(size):
    rng = np.random.default_rng(size)
    sequence = (SEQUENCE * 9)[:size]
    contacts = symmetric(rng, size)
    masks = rng.dirichlet(np.ones(20), 30).astype(np.float32)
    return {
        "contacts": (plots.contact_map, (contacts,), {}),
        "structure": (
            *(plots.contact_map, (contacts,)),
            {"truth": contacts > 0.9, "known": rng.random(size) < 0.9},
        ),
        "attention": (plots.attention_map, (rng.random((33, size), dtype=np.float32),), {}),
        "scan": (
            *(plots.scan_heatmap, (sequence, rng.normal(size=(20, size)).astype(np.float32))),
            {},
        ),
        "logo": (plots.logo, (masks, [size * k + 1 for k in range(30)]), {}),
    }


KINDS = ["contacts", "structure", "attention", "scan", "logo"]


@pytest.mark.parametrize("size", [1, 60, 600])
@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_cut_off_and_no_two_lie_on_one_another(drawn, kind, size):
    draw, arguments, keywords = everything(size)[kind]
    picture = drawn(draw, *arguments, **keywords)
    boxes = []
    upright = ("contact probability", "attention received", "(share", "residue", "layer", "probab")
    for t in picture.texts:
        if not t.text.startswith(upright):
            width = TextPath((0, 0), t.text, size=t.size).get_extents().width
            left = t.x - {"start": 0, "middle": width / 2, "end": width}[t.anchor]
            boxes.append((left, t.y - 0.7 * t.size, left + width, t.y, t.text))
    assert boxes
    for left, top, right, bottom, label in boxes:
        assert left >= 0, label
        assert top >= 0, label
        assert right <= picture.width, label
        assert bottom <= picture.height, label
    for one, box in enumerate(boxes):
        for other in boxes[one + 1 :]:
            apart = (
                box[0] >= other[2] - 0.5
                or other[0] >= box[2] - 0.5
                or box[1] >= other[3]
                or other[1] >= box[3]
            )
            assert apart, (box, other)


@pytest.mark.parametrize("ending", ["png", "svg"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_numbers_give_the_same_bytes_in_any_thread_under_any_settings(
    tmp_path, kind, ending
):
    draw, arguments, keywords = everything(20)[kind]

    def bytes_of(number):
        path = tmp_path / f"{number}.{ending}"
        draw(*arguments, path, title="A title", **keywords)
        return path.read_bytes()

    first = bytes_of("first")
    settings = {"font.size": 30.0, "axes.facecolor": "red", "svg.hashsalt": "mine"}
    with mpl.rc_context(settings):
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(bytes_of, range(4))) == {first}
        assert {name: mpl.rcParams[name] for name in settings} == settings
    assert b"<dc:date>" not in first


def test_a_title_is_written_as_it_is_and_cut_if_it_is_long(tmp_path):
    contacts = np.eye(3, dtype=np.float32)
    path = tmp_path / "x.svg"
    for title, shown in (("$x^2$ & <b>", ">$x^2$ &amp; &lt;b&gt;<"), ("x" * 200, f">{'x' * 89}…<")):
        plots.contact_map(contacts, path, title=title)
        assert shown in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("draw", "arguments"),
    [
        (plots.contact_map, (np.zeros((3, 4), np.float32),)),
        (plots.contact_map, (np.zeros((0, 0), np.float32),)),
        (plots.attention_map, (np.zeros(4, np.float32),)),
        (plots.scan_heatmap, ("MKT", np.zeros((20, 4), np.float32))),
        (plots.scan_heatmap, ("MKT", np.zeros((3, 20), np.float32))),
        (plots.logo, (np.zeros((2, 20), np.float32), [1])),
    ],
)
def test_arrays_of_a_wrong_shape_are_refused(tmp_path, draw, arguments):
    with pytest.raises(ValueError, match="has shape"):
        draw(*arguments, tmp_path / "x.png", title="")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_cannot_be_written_or_has_another_ending_is_refused(tmp_path):
    contacts = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match=r"x\.pdf does not end in \.png or \.svg"):
        plots.contact_map(contacts, tmp_path / "x.pdf", title="")
    with pytest.raises(FileError, match=r"cannot write .*none.x\.png: No such file"):
        plots.contact_map(contacts, tmp_path / "none" / "x.png", title="")


def test_without_matplotlib_the_extra_is_named():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from esm2.errors import MissingExtra\n"
        "try: import esm2.plots\n"
        "except MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'logomaker>=0.8.6' 'matplotlib>=3.9'" in done.stdout
