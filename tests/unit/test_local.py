"""`esm2.load`: arrays of the right shape, order and type, and refusals that name what is wrong."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import esm2
from esm2.alphabet import tokenize
from esm2.catalog import DEMO_SLUG
from esm2.errors import (
    CheckpointError,
    ContactsUnavailable,
    InvalidRequest,
    LayerOutOfRange,
    UnknownModel,
)
from esm2.numerics import FAIR_ESM
from esm2.science import scoring
from tests.checkpoints import save_fair_esm
from tests.near import assert_near, assert_same, assert_scores
from tests.oracles import fair_esm_outputs

SEQUENCES = ["MKTAYIAKQR", "G", "AC<mask>DEFGHIK"]
UNMASKED = ["MKTAYIAKQR", "G", "ACXDEFGHIK"]
LENGTHS = [10, 1, 10]
LAYERS, DIM, AMINO_ACIDS = 2, 32, slice(4, 24)
EVERYTHING = ("mean", "per_token", "bos", "logits", "contacts", "attentions")


@pytest.fixture(scope="module")
def directory(reference):
    return reference("tiny").directory


@pytest.fixture(scope="module")
def model(directory):
    with esm2.load(directory, device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def truth(reference):
    """fair-esm's outputs of a sequence."""
    theirs = reference("tiny").model
    return lambda sequence: fair_esm_outputs(theirs, sequence)


@pytest.fixture(scope="module")
def headless(reference, tmp_path_factory):
    """The same checkpoint as fair-esm writes it, without its contact head."""
    path = tmp_path_factory.mktemp("headless") / "esm2_headless.pt"
    save_fair_esm(reference("tiny").model, path, contacts=False)
    with esm2.load(path, device="cpu") as loaded:
        yield loaded


def close(array, expected, kind="array"):
    assert_near(array, expected, FAIR_ESM, kind)


# --- embed -------------------------------------------------------------------------------------


def test_embed_gives_the_mean_of_the_last_layer(model, truth):
    array = model.embed(SEQUENCES)
    assert (array.shape, array.dtype) == ((3, DIM), np.float32)
    for row, sequence in zip(array, SEQUENCES, strict=True):
        close(row, truth(sequence)[f"mean {LAYERS}"])


def test_embed_gives_the_bos_token(model, truth):
    array = model.embed(SEQUENCES, layers=[1], pool="bos")
    assert (array.shape, array.dtype) == ((3, DIM), np.float32)
    for row, sequence in zip(array, SEQUENCES, strict=True):
        close(row, truth(sequence)["bos 1"])


def test_embed_gives_every_residue_without_pooling(model, truth):
    arrays = model.embed(SEQUENCES, pool=None)
    assert [array.shape for array in arrays] == [(length, DIM) for length in LENGTHS]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
    for array, sequence in zip(arrays, SEQUENCES, strict=True):
        close(array, truth(sequence)[f"per_token {LAYERS}"])


@pytest.mark.parametrize("pool", ["mean", "max", "bos", None])
@pytest.mark.parametrize("layers", [(2, 0), (0, 1, 2), (-1, 0, 2, -3, 0), (1, 1)])
def test_layers_come_in_the_order_in_which_they_were_asked_for_repeats_too(model, pool, layers):
    arrays = model.embed(SEQUENCES, layers=layers, pool=pool)
    single = {layer: model.embed(SEQUENCES, layers=[layer], pool=pool) for layer in layers}
    for number, length in enumerate(LENGTHS):
        rows = () if pool else (length,)
        assert arrays[number].shape == (*rows, len(layers), DIM)
        for place, layer in enumerate(layers):
            assert_same(arrays[number][..., place, :], single[layer][number])


def test_sequences_may_come_from_an_iterator(model):
    np.testing.assert_array_equal(model.embed(iter(SEQUENCES)), model.embed(tuple(SEQUENCES)))


def test_more_sequences_than_are_in_flight_come_in_order(model):
    sequences = ["M" * (1 + number % 7) for number in range(300)] + ["MKT" * 4000]
    arrays = model.embed(sequences, pool=None)
    assert [len(array) for array in arrays] == [len(sequence) for sequence in sequences]


def test_no_sequences_have_no_embeddings(model):
    assert model.embed([]).shape == (0, DIM)
    assert model.embed([]).dtype == np.float32
    assert model.embed([], layers=(0, 1, 1)).shape == (0, 3, DIM)
    assert model.embed([], pool="bos").shape == (0, DIM)
    assert model.embed([], pool=None) == []
    assert model.encode([]) == []
    assert model.predict([]) == []


# --- encode and predict ------------------------------------------------------------------------


def test_encode_gives_the_mean_alone_when_not_asked_for_more(model, truth):
    for outputs, sequence in zip(model.encode(UNMASKED), UNMASKED, strict=True):
        assert list(outputs.mean) == [LAYERS]
        close(outputs.mean[LAYERS], truth(sequence)[f"mean {LAYERS}"])
        assert (outputs.per_token, outputs.bos) == ({}, {})
        assert (outputs.logits, outputs.contacts, outputs.attentions) == (None, None, None)


def test_encode_gives_everything_that_was_asked_for(model, truth):
    outputs = model.encode(UNMASKED, include=EVERYTHING, layers=(0, -1))
    for own, sequence, length in zip(outputs, UNMASKED, LENGTHS, strict=True):
        expected = truth(sequence)
        assert list(own.mean) == list(own.per_token) == list(own.bos) == [0, LAYERS]
        for layer in (0, LAYERS):
            close(own.mean[layer], expected[f"mean {layer}"])
            close(own.per_token[layer], expected[f"per_token {layer}"])
            close(own.bos[layer], expected[f"bos {layer}"])
        close(own.logits, expected["logits"][:, AMINO_ACIDS])
        close(own.contacts, expected["contacts"], "contacts")
        close(own.attentions, expected["attentions"])
        shapes = [array.shape for array in (own.logits, own.contacts, own.attentions)]
        assert shapes == [(length, 20), (length, length), (LAYERS, length)]
        arrays = (*own.mean.values(), *own.per_token.values(), *own.bos.values())
        arrays += (own.logits, own.contacts, own.attentions)
        assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


def test_predict_gives_logits_of_the_20_amino_acids(model, truth):
    masked = ["M<mask>", "<mask>" * 3, "AC<mask>DEFGHIK"]
    arrays = model.predict(masked)
    assert [array.shape for array in arrays] == [(2, 20), (3, 20), (10, 20)]
    for array, sequence in zip(arrays, masked, strict=True):
        assert array.dtype == np.float32
        close(array, truth(sequence)["logits"][:, AMINO_ACIDS])


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["embed", "encode", "predict"])
def test_one_str_is_not_a_list_of_sequences(model, method):
    with pytest.raises(TypeError, match="pass a list of sequences"):
        getattr(model, method)("M<mask>")


@pytest.mark.parametrize("method", ["embed", "encode", "predict"])
def test_every_sequence_that_cannot_be_used_is_named_with_its_place(model, method):
    fine = "M<mask>" if method == "predict" else "MK"
    with pytest.raises(InvalidRequest) as caught:
        getattr(model, method)([fine, "", "MKJ", fine, "mk"])
    assert list(caught.value.faults) == ["sequences[1]", "sequences[2]", "sequences[4]"]
    assert "empty" in caught.value.faults["sequences[1]"][0]
    assert "residue 3 is 'J'" in caught.value.faults["sequences[2]"][0]
    assert "upper case" in caught.value.faults["sequences[4]"][0]
    for place in caught.value.faults:
        assert place in str(caught.value)


def test_a_mask_is_for_embed_and_predict_and_not_for_encode(model):
    assert model.embed(["M<mask>"]).shape == (1, DIM)
    with pytest.raises(InvalidRequest) as caught:
        model.encode(["MK", "M<mask>"])
    assert list(caught.value.faults) == ["sequences[1]"]
    assert "use predict" in str(caught.value)


def test_predict_needs_a_mask_in_each_sequence(model):
    with pytest.raises(InvalidRequest) as caught:
        model.predict(["M<mask>", "MK"])
    assert list(caught.value.faults) == ["sequences[1]"]
    assert "has no <mask>" in str(caught.value)


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_the_model_has_not_is_refused(model, layer):
    for ask in (model.embed, model.encode):
        with pytest.raises(LayerOutOfRange) as caught:
            ask(["MK"], layers=(0, layer))
        assert (caught.value.layer, caught.value.layers) == (layer, LAYERS)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("embed", {"pool": "sum"}, "pool is 'sum'; use 'mean', 'max', 'min', 'bos' or None"),
        ("embed", {"layers": ()}, "layers is empty"),
        ("encode", {"include": ["mean", "loss"]}, "loss"),
        ("encode", {"include": "mean"}, "use a list"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(model, method, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(["MK"], **arguments)


def test_without_a_contact_head_contacts_are_refused_and_nothing_else(headless, truth):
    assert headless.decided.contacts is False
    with pytest.raises(ContactsUnavailable, match="esm2_headless has no contact head"):
        headless.encode(["MK"], include=["mean", "contacts"])
    with pytest.raises(ContactsUnavailable):  # whatever the sequences are
        headless.encode([], include=["contacts"])
    rest = [kind for kind in EVERYTHING if kind != "contacts"]
    (outputs,) = headless.encode(["MKTAYIAKQR"], include=rest)
    assert outputs.contacts is None
    close(outputs.attentions, truth("MKTAYIAKQR")["attentions"])
    close(outputs.mean[LAYERS], truth("MKTAYIAKQR")[f"mean {LAYERS}"])


def test_one_layer_is_asked_for_by_its_number_alone(model):
    np.testing.assert_array_equal(model.embed(["MK"], layers=1), model.embed(["MK"], layers=[1]))
    [outputs] = model.encode(["MK"], include=["mean", "bos"], layers=-1)
    np.testing.assert_array_equal(outputs.mean[-1], outputs.mean[LAYERS])
    np.testing.assert_array_equal(outputs.mean[-1], model.embed(["MK"], layers=-1)[0])
    with pytest.raises(KeyError, match="layer 0 was not asked for; there are: 2"):
        outputs.mean[0]


def test_a_mapping_is_not_taken_for_the_list_of_its_names(model):
    named = {"SPIKE": "MKT"}
    for ask in (model.embed, model.encode, model.contacts, model.attentions, model.logits):
        with pytest.raises(TypeError, match="sequences is a mapping"):
            ask(named)
    for ask in (model.predict, model.log_prob, model.pll):
        with pytest.raises(TypeError, match="sequences is a mapping"):
            ask(named)
    for ask in (model.fill_mask, model.scan):
        with pytest.raises(TypeError, match="sequence is dict; pass one str"):
            ask(named)
    with pytest.raises(TypeError, match="variants is a mapping"):
        model.score_variants("MKT", {"M1A": 0.5})


def test_the_logits_of_a_caller_are_not_taken_for_an_executors(model):
    [outputs] = model.encode(["MKT"], include=["logits"])
    with pytest.raises(ValueError, match="use the log_prob, scan or pll of the model"):
        scoring.log_prob(outputs.logits, tokenize("MKT"))


def test_progress_is_shown_on_standard_error_when_it_is_asked_for(model, capsys):
    quiet = model.embed(SEQUENCES)
    assert capsys.readouterr() == ("", "")
    np.testing.assert_array_equal(model.embed(SEQUENCES, progress=True), quiet)
    said = capsys.readouterr()
    assert "3/3" in said.err
    assert said.out == ""


# --- what is loaded ----------------------------------------------------------------------------


def test_a_slug_is_loaded_under_any_spelling():
    with esm2.load("ESM2-Demo", device="cpu") as demo:
        assert (demo.decided.slug, demo.decided.weights_kind) == (DEMO_SLUG, "demo")
        assert demo.embed(["MK"]).shape == (1, demo.decided.shape.dim)


def test_the_small_model_of_the_package_says_once_what_its_weights_are(directory, capsys):
    with esm2.load(DEMO_SLUG, device="cpu") as demo:
        demo.embed(["MK"])
        said = capsys.readouterr().err
        assert said.count("esm2-demo is a tiny model") == 1
        assert "not for science" in said
        assert repr(demo).startswith("<esm2.Model esm2-demo: demo weights ")
    with esm2.load(directory, device="cpu") as own:
        assert capsys.readouterr().err == ""
        decided = own.decided
        for part in (
            "tiny",
            "custom",
            decided.weights_sha256[:12],
            "cpu",
            "float32",
            decided.kernel,
        ):
            assert part in repr(own)
    assert repr(own).endswith(", closed>")


@pytest.mark.parametrize("write", [Path, str, lambda path: f"tiny={path}"])
def test_a_checkpoint_is_loaded_by_path_and_named_after_it(directory, model, write):
    with esm2.load(write(directory), device="cpu") as own:
        assert own.decided.slug == directory.name == "tiny"
        assert own.decided.weights_sha256 == model.decided.weights_sha256
        np.testing.assert_array_equal(own.embed(["MK"]), model.embed(["MK"]))


@pytest.mark.parametrize("write", [Path, str])
def test_a_path_may_be_relative(directory, monkeypatch, write):
    monkeypatch.chdir(directory.parent)
    with esm2.load(write("tiny"), device="cpu") as own:
        assert own.decided.slug == "tiny"


def test_a_path_may_hold_an_equals_sign(directory, tmp_path):
    odd = tmp_path / "run=7" / "tiny"
    shutil.copytree(directory, odd)
    with esm2.load(odd, device="cpu") as own:
        assert own.decided.slug == "tiny"


def test_a_name_that_is_neither_a_model_nor_a_path_is_refused(tmp_path):
    with pytest.raises(UnknownModel, match="no model is called 'protbert'"):
        esm2.load("protbert")
    with pytest.raises(CheckpointError, match="no such file or directory"):
        esm2.load(tmp_path / "nowhere")


def test_a_closed_model_computes_no_more(directory):
    own = esm2.load(directory, device="cpu")
    with own as entered:
        assert entered is own
    own.close()
    with pytest.raises(ValueError, match="the model is closed"):
        own.embed(["MK"])


def test_what_is_not_text_is_refused_with_its_place(model):
    with pytest.raises(TypeError, match=r"sequences\[1\] is int"):
        model.embed(["MK", 5])


def test_faults_of_one_kind_keep_their_code(model):
    with pytest.raises(InvalidRequest) as caught:
        model.embed(["MK", "", ""])
    assert caught.value.code == "request.empty_sequence"


@pytest.mark.parametrize("name", ["run=7", "esm2.v1", "With Space"])
def test_a_directory_of_any_name_is_loaded(directory, tmp_path, name):
    (tmp_path / name).symlink_to(directory)
    for path in (tmp_path / name, str(tmp_path / name)):
        with esm2.load(path, device="cpu") as own:
            assert own.decided.slug == {"With Space": "with-space", "run=7": "run-7"}.get(
                name, name
            )


def test_two_models_live_side_by_side(directory, model):
    other = esm2.load(DEMO_SLUG, device="cpu")
    own = esm2.load(directory, device="cpu")
    before = own.embed(SEQUENCES)
    assert other.embed(SEQUENCES).shape != before.shape
    other.close()
    np.testing.assert_array_equal(own.embed(SEQUENCES), before)
    np.testing.assert_array_equal(model.embed(SEQUENCES), before)
    own.close()


def test_models_can_be_loaded_and_asked_by_several_threads_at_once(directory, model):
    def load_and_embed(_):
        with esm2.load(directory, device="cpu") as own:
            return own.embed(SEQUENCES)

    with ThreadPoolExecutor(4) as threads:
        loaded = list(threads.map(load_and_embed, range(4)))
        shared = list(threads.map(lambda _: model.embed(SEQUENCES), range(4)))
    for array in loaded + shared:
        assert_same(array, model.embed(SEQUENCES))


def test_log_prob_is_the_sum_over_the_residues_of_one_unmasked_pass(model):
    [outputs] = model.encode(["MKTX"], include=["logits"])
    logits = outputs.logits.astype(np.float64)
    columns = ["LAGVSERTIDPKQNFYMHWC".index(letter) for letter in "MKT"]
    rows = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    want = sum(rows[i, column] for i, column in enumerate(columns))
    got = model.log_prob(["MKTX", "G"])
    assert got.shape == (2,)
    assert got.dtype == np.float32
    assert_scores(got[0], want)
    with pytest.raises(InvalidRequest):
        model.log_prob(["MK<mask>"])
