"""What people paste, what is refused, and where they are told."""

from __future__ import annotations

import json
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from tests.wire.server import PATIENCE

HRAS = "MTEYKLVVVGAGGVGKSALTIQLIQNHFVDEYDPTIEDSY"


def summary(screen) -> str:
    return screen.page.locator(".summary").inner_text()


def test_an_example_needs_one_click(screen):
    screen.page.get_by_role("button", name="Ubiquitin").click()
    screen.page.wait_for_selector("#contacts")
    assert summary(screen).startswith("P0CG48: 76 residues, esm2-demo")


def test_of_a_fasta_of_several_records_each_can_be_looked_at(screen):
    screen.look(f">first one\r\n{HRAS}\r\n>second\nMKT AYI\nAKQR\n")
    assert summary(screen).startswith("first: 40 residues")
    screen.page.get_by_label("Record").select_option("second")
    screen.page.wait_for_selector(".summary:has-text('second: 10 residues')")


def test_another_model_answers_when_it_is_chosen(screen, server):
    screen.look(HRAS, model="esm2-demo")
    demo = screen.csv("entropy")
    screen.choose("headless")
    screen.page.wait_for_selector(".summary:has-text('headless')")
    assert "headless has no contact head" in screen.page.locator(".results").inner_text()
    assert screen.page.locator("#contacts").count() == 0
    assert screen.csv("entropy") != demo
    [result] = server.results("headless", "encode", HRAS, include=["attentions"])
    said = screen.point("attention", 0, 7)
    assert said.endswith(f"mean attention {result['attentions'][0][7]:.5f}")


def test_the_banner_says_that_esm2_demo_is_not_for_science(screen):
    screen.choose("esm2-demo")
    banner = screen.page.get_by_role("note")
    assert "not for science" in banner.inner_text()
    screen.choose("headless")
    banner.wait_for(state="detached")


def test_a_sequence_with_a_mask_shows_what_the_model_puts_there(screen, server):
    screen.look(f"{HRAS[:9]}<mask>{HRAS[10:]}", model="esm2-demo")
    assert screen.page.locator("#entropy").is_visible()
    assert screen.page.locator("#contacts").count() == 0
    assert "has logits only" in screen.page.locator(".results").inner_text()
    assert screen.point("scan", 0, 9) == "<mask>10: masked"


def test_letters_that_are_no_natural_amino_acid_have_no_scores(screen):
    screen.look("MKTXAYBAKQR", model="esm2-demo")
    assert screen.point("scan", 3, 3) == "X4: no natural amino acid"
    assert {row["wt"] for row in screen.csv("scan")} == set("MKTAYQR")


# --- refusals ----------------------------------------------------------------------------------


def test_a_bad_letter_is_told_at_the_sequence_and_selected(screen):
    text = f">bad\n{HRAS[:20]}\n{HRAS[20:23]}J{HRAS[24:]}"
    screen.submit(text)
    assert screen.problem.startswith("residue 24 is 'J', which ESM-2 has no token for")
    area = screen.page.get_by_label("Protein sequence")
    assert area.get_attribute("aria-invalid") == "true"
    described = area.get_attribute("aria-describedby")
    assert screen.page.locator(f"#{described}").inner_text() == screen.problem
    own = "document.querySelector('#sequence')"
    begin, end = screen.page.evaluate(f"[{own}.selectionStart, {own}.selectionEnd]")
    assert text[begin:end] == "J"


def test_what_was_wrong_is_no_longer_said_when_it_is_right(screen):
    screen.submit("MKTJ")
    assert screen.problem
    screen.look("MKTA")
    assert screen.page.get_by_role("alert").count() == 0


@pytest.mark.parametrize(
    ("text", "tidy"),
    [
        ("mktayiakqr", "MKTAYIAKQR"),
        (">own id\nMKTAYI*\n>b2\nAKQR*\n", ">own id\nMKTAYI\n>b2\nAKQR\n"),
        ("  1 mktay<mask>akqr\n 11 qisfv*", "   MKTAY<mask>AKQR\n  QISFV"),
    ],
)
def test_what_is_only_written_in_another_way_is_put_right_by_a_button(screen, text, tidy):
    screen.submit(text)
    assert "which ESM-2 has no token for" in screen.problem
    screen.page.get_by_role("button", name="Write it in upper case").click()
    screen.page.wait_for_selector("protein-view .summary")
    assert screen.page.get_by_label("Protein sequence").input_value() == tidy


def test_a_stop_codon_within_is_for_the_person_to_decide(screen):
    screen.submit("MKT*AYI")
    assert "remove stop codons" in screen.problem
    assert screen.page.get_by_role("button", name="Write it in upper case").count() == 0


def test_too_long_a_sequence_is_refused_with_the_limit(screen):
    screen.submit("M" * 2049)
    assert re.search(r"2,?049.*2,?048", screen.problem)


@pytest.mark.parametrize("text", ["", "   \n", ">only a header\n"])
def test_nothing_is_asked_of_nobody(screen, text):
    screen.submit(text)
    assert screen.problem == "Paste a protein, or pick an example."


def test_of_several_records_an_empty_one_is_named(screen):
    screen.submit(f">empty\n\n>second\n{HRAS}\n")
    assert screen.problem == "Record empty has no residues; choose another, or complete it."
    screen.page.get_by_label("Record").select_option("second")
    screen.page.wait_for_selector(".summary:has-text('second: 40 residues')")


def test_a_server_that_has_gone_is_said_to_have_gone(open_page, server):
    screen = open_page(server)
    screen.page.route("**/api/**", lambda route: route.abort())
    screen.submit(HRAS)
    assert screen.problem == "The server does not answer. Is it still running?"
    assert all("net::ERR_FAILED" in complaint for complaint in screen.complaints)
    screen.complaints.clear()


def test_a_server_that_goes_away_within_its_answer_is_said_to_have_gone(open_page, server):
    screen = open_page(server)

    def leave(connection: socket.socket, *_: object) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it")

    with socketserver.TCPServer(("127.0.0.1", 0), leave) as leaver:
        threading.Thread(target=leaver.handle_request).start()
        address = "http://{}:{}/".format(*leaver.server_address)
        screen.page.route("**/api/**", lambda route: route.continue_(url=address))
        screen.submit(HRAS)
        said = screen.problem
    assert said == "The server does not answer. Is it still running?"
    assert screen.page.get_by_role("button", name="Look", exact=True).is_enabled()
    screen.complaints.clear()  # Chromium's words for it


def test_an_answer_that_takes_too_long_is_stopped(screen):
    screen.page.route("**/api/**", lambda route: None)
    screen.submit(HRAS)
    screen.page.get_by_role("button", name="Stop").click()
    look = screen.page.get_by_role("button", name="Look", exact=True)
    look.wait_for()
    screen.page.unroute("**/api/**")
    look.click()
    screen.page.wait_for_selector("#contacts")


def test_a_token_is_asked_for_when_the_server_does_and_kept_nowhere(open_page, guarded):
    screen = open_page(guarded)
    field = screen.page.get_by_label("Token")
    field.wait_for()
    assert screen.problem == "Enter the token that you were given."
    assert screen.page.get_by_label("Protein sequence").count() == 0
    field.fill("wrong")
    field.press("Enter")
    screen.page.wait_for_selector("#problem-token:has-text('Invalid token')")
    field.fill("let-me-in")
    field.press("Enter")
    screen.look(HRAS)
    screen.page.wait_for_selector("#contacts")
    assert screen.page.get_by_role("alert").count() == 0
    stored = "[localStorage.length, sessionStorage.length, document.cookie]"
    assert screen.page.evaluate(stored) == [0, 0, ""]
    assert "let-me-in" not in screen.page.content()
    assert "Authorization: Token YOUR_TOKEN" in screen.page.locator("pre").inner_text()


def test_a_refusal_while_masking_is_told_at_the_figures(open_page, server):
    screen = open_page(server)
    screen.look(HRAS, model="esm2-demo")
    refusal = {"error": "the queue is full; try again in 3 s", "code": "service.overloaded"}
    screen.page.route(
        "**/predict/", lambda route: route.fulfill(status=429, body=json.dumps(refusal))
    )
    screen.click("scan", 2, 2)
    assert screen.problem == "the queue is full; try again in 3 s"
    assert screen.page.locator("#contacts").is_visible()


# --- the calls to copy -------------------------------------------------------------------------


def copied(screen, language: str) -> str:
    screen.page.get_by_role("button", name=language, exact=True).click()
    return screen.page.locator("pre").first.inner_text()


def test_the_call_of_each_language_gives_what_is_on_the_screen(screen, server):
    screen.look(HRAS, model="esm2-demo")
    kinds = ["contacts", "logits", "attentions"]
    [want] = server.results("esm2-demo", "encode", HRAS, include=kinds)

    def check(result: dict[str, Any]) -> None:
        assert {kind: result[kind] for kind in kinds} == {kind: want[kind] for kind in kinds}

    check(json.loads(said_by("bash", "-c", copied(screen, "curl")))["results"][0])
    program = copied(screen, "Python") + "\nimport json; print(json.dumps(result))"
    check(json.loads(said_by(sys.executable, "-c", program).splitlines()[-1]))
    if shutil.which("Rscript") is None:
        pytest.skip("R is not installed; curl and Python were tried")
    check(json.loads(said_by("Rscript", "-e", copied(screen, "R")))["results"][0])


def said_by(*command: str) -> str:
    """What a program that must succeed prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_calls_of_a_mask_and_of_a_masked_scan_are_there_too(screen, server):
    screen.look("MKTAYIAKQR", model="esm2-demo")
    screen.click("scan", 0, 3)
    screen.page.wait_for_selector("#filled")
    screen.page.get_by_label("How substitutions are scored").select_option("masked-marginals")
    screen.page.wait_for_selector("#scan .legend:has-text('masked-marginals')")
    copied(screen, "curl")
    figures, mask, scan = screen.page.locator("pre").all_inner_texts()
    assert "/api/v3/esm2-demo/encode/" in figures
    assert "MKT<mask>YIAKQR" in mask
    body = json.loads(re.search(r"--data '(.*)'", scan)[1])
    [result] = server.post("/api/v3/esm2-demo/scan/", body).json()["results"]
    assert np.shape(result["scores"]) == (10, 20)
