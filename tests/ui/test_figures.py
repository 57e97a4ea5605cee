"""What the figures show is what the API answers."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest

from esm2.alphabet import AMINO_ACIDS
from esm2.science.scoring import log_softmax

# The start of human H-Ras.
HRAS = "MTEYKLVVVGAGGVGKSALTIQLIQNHFVDEYDPTIEDSYRKQVVIDGETCLLDILDTAGQ"
ROWS = "AVILMFWYSTNQKRHDECGP"
FIGURES = ["entropy", "logo", "scan", "attention", "contacts"]


@pytest.fixture
def looking(screen):
    screen.look(HRAS, model="esm2-demo")
    return screen


@pytest.fixture(scope="module")
def answer(server):
    """The same from the API, as JSON."""
    include = ["logits", "contacts", "attentions"]
    [result] = server.results("esm2-demo", "encode", HRAS, include=include)
    return {kind: np.array(result[kind]) for kind in include}


def probabilities(logits):
    return np.exp(log_softmax(np.asarray(logits)))


def number(text: str, pattern: str) -> float:
    """The number behind some words of a sentence."""
    found = re.search(rf"{pattern} (\S+)", text)
    assert found, text
    return float(found[1].replace("−", "-"))


def test_a_pasted_protein_shows_every_figure(looking):
    for name in FIGURES:
        assert looking.page.locator(f"#{name}").is_visible()
    assert (
        f"{len(HRAS)} residues, esm2-demo, float32 on cpu"
        in looking.page.locator(".summary").inner_text()
    )


def test_nightingales_elements_are_there_and_have_drawn(looking):
    for name in ("manager", "navigation", "sequence", "linegraph-track", "conservation-track"):
        assert looking.page.evaluate(f"!!customElements.get('nightingale-{name}')")
    line = looking.page.locator("nightingale-linegraph-track path.graph").get_attribute("d")
    assert line.count("L") == 2 * len(HRAS) - 1  # there along the values, back along 0


@pytest.mark.parametrize(("row", "column"), [(0, 0), (9, 40), (59, 3)])
def test_the_tooltip_of_a_contact_is_the_answers_probability(looking, answer, row, column):
    said = looking.point("contacts", row, column)
    assert said.startswith(f"{HRAS[row]}{row + 1} – {HRAS[column]}{column + 1}: ")
    assert number(said, "probability") == round(answer["contacts"][row, column], 4)


def test_the_tooltip_of_a_substitution_is_the_difference_of_logits(looking, answer):
    row, column = ROWS.index("W"), 11
    said = looking.point("scan", row, column)
    logits = dict(zip(AMINO_ACIDS, answer["logits"][column], strict=True))
    assert said.startswith(f"{HRAS[column]}12W: ")
    assert number(said, "12W:") == pytest.approx(logits["W"] - logits[HRAS[column]], abs=6e-4)


def test_the_cell_of_the_wild_type_says_so(looking):
    assert looking.point("scan", ROWS.index("G"), 11) == "G12: the residue that is there"


def test_the_tooltip_of_attention_is_the_answers_weight(looking, answer):
    said = looking.point("attention", 4, 20)
    assert said.startswith(f"layer 5, {HRAS[20]}21: ")
    assert number(said, "attention") == round(answer["attentions"][4, 20], 5)


def test_the_tooltip_of_a_track_is_entropy_and_the_most_probable(looking, answer):
    track = looking.page.locator("nightingale-conservation-track")
    box = track.bounding_box()
    position = 15
    x = 68 + (position - 0.5) / len(HRAS) * (box["width"] - 68 - 14)
    track.hover(position={"x": x, "y": 60})
    p = probabilities(answer["logits"][position - 1])
    said = looking.tooltip
    assert said.startswith(f"{HRAS[position - 1]}{position}: ")
    assert number(said, "entropy") == pytest.approx(-(p * np.log(p)).sum(), abs=6e-4)
    best = AMINO_ACIDS[int(p.argmax())]
    assert f"{best} {100 * p.max():.0f} %" in said


def test_one_axis_is_shared_by_all(looking):
    looking.page.get_by_label("from").fill("11")
    looking.page.get_by_label("from").press("Enter")
    looking.page.get_by_label("to", exact=True).fill("30")
    looking.page.get_by_label("to", exact=True).press("Enter")
    looking.settle()
    names = (
        "dense-matrix, nightingale-sequence, nightingale-linegraph-track, nightingale-navigation"
    )
    shown = looking.page.evaluate(
        f"[...document.querySelectorAll('{names}')].map(own =>"
        " [own.getAttribute('display-start'), own.getAttribute('display-end')])"
    )
    assert len(shown) == 6
    assert {tuple(map(float, own)) for own in shown} == {(11.0, 30.0)}
    letters = looking.page.locator("nightingale-sequence text.base").all_text_contents()
    assert "".join(letters) == HRAS[10:30]


def test_pointing_at_one_figure_highlights_the_residue_in_all(looking):
    looking.point("contacts", 5, 33)
    highlights = "[...document.querySelectorAll('dense-matrix, nightingale-sequence')]"
    assert set(looking.page.evaluate(f"{highlights}.map(o => o.getAttribute('highlight'))")) == {
        "34:34"
    }


def test_a_clicked_residue_is_masked_and_filled_in(looking, server):
    looking.click("contacts", 30, 12)
    looking.page.wait_for_selector("#filled")
    masked = f"{HRAS[:12]}<mask>{HRAS[13:]}"
    [result] = server.results("esm2-demo", "predict", masked)
    want = probabilities(result["logits"][12])
    got = {row["amino_acid"]: float(row["p"]) for row in looking.csv("filled")}
    np.testing.assert_allclose([got[own] for own in AMINO_ACIDS], want, rtol=0, atol=1e-6)
    drawn = looking.page.locator("#filled svg").get_attribute("aria-label")
    assert drawn.startswith(f"{HRAS[12]}13 masked: {AMINO_ACIDS[int(want.argmax())]} ")
    own = want[AMINO_ACIDS.index(HRAS[12])]
    said = looking.page.locator("#filled .distribution p").inner_text()
    assert said.startswith(f"{HRAS[12]} is number {1 + (want > own).sum()} of 20, ")
    assert number(said, "entropy") == pytest.approx(-(want * np.log(want)).sum(), abs=6e-3)


def test_several_residues_are_masked_together_and_unmasked(looking, server):
    for position in (3, 9):
        looking.click("scan", 0, position - 1)
        looking.page.wait_for_selector(f"#filled h3:has-text('{HRAS[position - 1]}{position}')")
    masked = f"{HRAS[:2]}<mask>{HRAS[3:8]}<mask>{HRAS[9:]}"
    [result] = server.results("esm2-demo", "predict", masked)
    got = [float(row["p"]) for row in looking.csv("filled") if row["position"] == "9"]
    want = sorted(probabilities(result["logits"][8]), reverse=True)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
    looking.page.get_by_role("button", name="Unmask").click()
    looking.page.wait_for_selector("#filled", state="detached")


def test_the_masked_scan_is_that_of_the_api(looking, server):
    looking.page.get_by_label("How substitutions are scored").select_option("masked-marginals")
    looking.page.wait_for_selector("#scan .legend:has-text('masked-marginals')")
    rows = looking.csv("scan")
    assert len(rows) == 19 * len(HRAS)
    body = {
        "items": [{"sequence": HRAS, "variants": [row["mutant"] for row in rows]}],
        "params": {"strategy": "masked-marginals"},
    }
    [result] = server.post("/api/v3/esm2-demo/score/", body).json()["results"]
    want = [own["score"] for own in result["scores"]]
    np.testing.assert_allclose([float(row["score"]) for row in rows], want, rtol=0, atol=1e-6)


def test_a_click_does_not_end_a_scan(looking):
    looking.page.route("**/scan/", lambda route: None)
    scored = looking.page.get_by_label("How substitutions are scored")
    scored.select_option("masked-marginals")
    looking.click("scan", 0, 3)
    looking.page.wait_for_selector("#filled")
    assert looking.page.get_by_text("computing…").is_visible()
    scored.select_option("wt-marginals")
    looking.page.get_by_text("computing…").wait_for(state="detached")


# --- files and tables --------------------------------------------------------------------------


def test_the_csv_of_each_figure_has_the_answers_numbers(looking, answer):
    rows = looking.csv("entropy")
    got = [[float(row[own]) for own in AMINO_ACIDS] for row in rows]
    np.testing.assert_allclose(got, probabilities(answer["logits"]), rtol=0, atol=1e-6)
    pairs = {(int(row["i"]), int(row["j"])): float(row["p"]) for row in looking.csv("contacts")}
    assert len(pairs) == (len(HRAS) - 6) * (len(HRAS) - 5) // 2
    for (i, j), p in pairs.items():
        assert p == pytest.approx(answer["contacts"][i - 1, j - 1], abs=1e-6)
    layers = looking.csv("attention")
    got = [[float(row[str(place + 1)]) for place in range(len(HRAS))] for row in layers]
    np.testing.assert_allclose(got, answer["attentions"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("figure", FIGURES)
def test_the_picture_of_each_figure_is_a_png_with_something_on_it(looking, figure):
    name, content = looking.downloaded(figure, "PNG")
    assert name.startswith("sequence-")
    assert name.endswith(".png")
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert width > 1500
    assert height > 150
    assert len(content) > 8000  # an empty one of that size is smaller


def test_each_figure_has_its_numbers_as_a_table(looking, answer):
    for figure, rows in {"entropy": 61, "logo": 61, "scan": 61, "attention": 61}.items():
        assert len(looking.table(figure)) == rows + 1, figure
    head, first, *rest = looking.table("contacts")
    assert (head, len(rest)) == (["i", "j", "p"], len(HRAS) - 1)
    far = np.triu(answer["contacts"], 6)
    assert float(first[2]) == pytest.approx(far.max(), abs=1e-6)


def colours(looking, *cells: tuple[int, int]) -> list[list[int]]:
    """The pixels in the middle of some cells of the contact map."""
    found: list[list[int]] = looking.page.evaluate(
        """places => {
          const own = document.querySelector('#contacts dense-matrix canvas');
          const { width, data } =
            own.getContext('2d').getImageData(0, 0, own.width, own.height);
          return places.map(({ x, y }) => {
            const begin = 4 * (Math.trunc(y) * width + Math.trunc(x));
            return [...data.slice(begin, begin + 3)];
          });
        }""",
        [looking.place("contacts", *cell) for cell in cells],
    )
    return found


def test_a_matrix_has_the_colours_of_its_numbers(looking):
    """Pixels of a made matrix: lowest, middle, highest, and no number."""
    looking.page.evaluate(
        """async () => {
          const own = document.querySelector('#contacts dense-matrix');
          const values = new Float32Array(61 * 61).fill(0);
          values[0] = 1; values[60] = 0.5; values[60 * 61] = NaN;
          own.high = 1;
          own.matrix = { rows: 61, columns: 61, values };
          await own.updateComplete;
        }"""
    )
    high, low, middle, none = colours(looking, (0, 0), (30, 30), (0, 60), (60, 0))
    assert high == [253, 231, 37]  # viridis
    assert low == [68, 1, 84]
    np.testing.assert_allclose(middle, [33, 145, 140], rtol=0, atol=6)
    assert len(set(none)) == 1  # grey


def test_a_lone_contact_is_not_lost_where_pairs_are_smaller_than_pixels(screen):
    screen.look("MKTAYIAKQR" * 120, model="esm2-demo")
    screen.page.evaluate(
        """async () => {
          const own = document.querySelector('#contacts dense-matrix');
          const values = new Float32Array(1200 * 1200).fill(0);
          values[123 * 1200 + 877] = 1;
          own.high = 1;
          own.matrix = { rows: 1200, columns: 1200, values };
          await own.updateComplete;
        }"""
    )
    *around, beside = colours(screen, *((r, c) for r in (122, 123) for c in (876, 877)), (123, 882))
    assert [253, 231, 37] in around
    assert beside == [68, 1, 84]
