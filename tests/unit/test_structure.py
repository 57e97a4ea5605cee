"""Chains read from structure files, their place in a sequence, and the precision of contacts."""

import gzip
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from biotite.structure.io import pdb, pdbx

from esm2.errors import FileError, InvalidStructure
from esm2.science import structure
from tests.pdbfiles import ATOMS, SEQUENCE, THREE, chain_text, hairpin, residue

PUBLISHED = Path(__file__).parents[1] / "data" / "structures"
L = len(SEQUENCE)


@pytest.fixture
def chain(tmp_path):
    """Read a chain of some PDB text."""

    def read(text, name=None):
        path = tmp_path / "x.pdb"
        path.write_text(text + "END\n")
        return structure.read_chain(path, name)

    return read


# --- reading -----------------------------------------------------------------------------------


def test_a_chain_has_letters_numbers_and_c_beta_atoms_or_c_alpha_of_glycine(chain):
    read = chain(chain_text())
    assert read.name == "A"
    assert read.sequence == SEQUENCE
    assert read.numbers.tolist() == list(range(1, L + 1))
    assert read.coordinates.dtype == np.float32
    for index, letter in enumerate(SEQUENCE):
        atom = "CA" if letter == "G" else "CB"
        want = hairpin(index)[0] + ATOMS[atom]
        np.testing.assert_allclose(read.coordinates[index], want, atol=1e-3)


def test_selenomethionine_is_methionine_and_its_chain_goes_on(chain):
    text = residue(0, "MSE", hetero=True) + chain_text()[len(residue(0, "MET")) :]
    assert chain(text).sequence == SEQUENCE


def test_ligands_water_and_free_amino_acids_are_not_of_the_chain(chain):
    free = residue(0, "GLU", number="301", hetero=True, shift=40)
    water = "HETATM    1  O   HOH A 401      10.000  10.000  10.000  1.00  0.00           O\n"
    assert chain(chain_text() + free + water).sequence == SEQUENCE


def test_the_alternative_with_the_highest_occupancy_is_taken(chain):
    rare = residue(3, "ALA", altloc="A", occupancy=0.3, shift=5)
    usual = residue(3, "ALA", altloc="B", occupancy=0.7)
    rest = chain_text(missing=[3])
    before = sum(len(residue(index, THREE[SEQUENCE[index]])) for index in range(3))
    read = chain(rest[:before] + rare + usual + rest[before:])
    assert read.sequence == SEQUENCE
    np.testing.assert_allclose(read.coordinates[3], hairpin(3)[0] + ATOMS["CB"], atol=1e-3)


def test_of_two_kinds_of_residue_in_one_place_there_is_one(chain):
    both = residue(0, "MET", altloc="A", occupancy=0.5) + residue(
        0, "LEU", altloc="B", occupancy=0.5
    )
    read = chain(both + chain_text(missing=[0]))
    assert read.sequence == SEQUENCE


def test_a_residue_with_an_insertion_code_is_a_residue(chain):
    text = residue(0, "MET", number="27") + residue(1, "LYS", number="27A")
    text += residue(2, "THR", number="27B") + residue(3, "ALA", number="28")
    read = chain(text)
    assert read.sequence == "MKTA"
    assert read.numbers.tolist() == [27, 27, 27, 28]


def test_a_missing_c_beta_stands_where_the_backbone_would_have_it(chain):
    # Residue 1 of ubiquitin, PDB 1UBI.
    atoms = {
        "N": (27.343, 24.294, 2.683),
        "CA": (26.381, 25.361, 2.894),
        "C": (26.997, 26.557, 3.583),
    }
    text = "".join(
        f"ATOM      1  {name:<3} MET A   1    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"
        for name, (x, y, z) in atoms.items()
    )
    (rebuilt,) = chain(text).coordinates
    assert np.linalg.norm(rebuilt - [25.112, 24.879, 3.647]) < 0.15


def test_a_residue_without_backbone_and_c_beta_is_there_but_has_no_coordinates(chain):
    text = residue(0, "MET", atoms=["CA"]) + residue(1, "LYS") + residue(2, "GLY", atoms=["CA"])
    read = chain(text)
    assert read.sequence == "MKG"
    assert np.isnan(read.coordinates).any(axis=1).tolist() == [True, False, False]


def test_only_the_first_model_is_read(chain):
    second = chain_text("A" * L)
    text = f"MODEL        1\n{chain_text()}ENDMDL\nMODEL        2\n{second}ENDMDL\n"
    assert chain(text).sequence == SEQUENCE


@pytest.mark.parametrize("name", ["x.pdb", "x.ent", "x.cif", "x.mmcif", "x.bcif"])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_format_gives_the_same_chain_compressed_or_not(tmp_path, name, compressed):
    text = chain_text()
    atoms = pdb.PDBFile.read(io.StringIO(text)).get_structure(model=1)
    path = tmp_path / name
    if name.endswith("bcif"):
        file = pdbx.BinaryCIFFile()
        pdbx.set_structure(file, atoms)
        file.write(path)
    elif name.endswith("cif"):
        file = pdbx.CIFFile()
        pdbx.set_structure(file, atoms)
        file.write(path)
    else:
        path.write_text(text)
    if compressed:  # told by its first bytes: only one of the names says so
        data = gzip.compress(path.read_bytes())
        path = tmp_path / (f"{name}.gz" if name == "x.pdb" else name)
        path.write_bytes(data)
    read = structure.read_chain(path)
    assert (read.sequence, read.name) == (SEQUENCE, "A")
    assert np.isfinite(read.coordinates).all()


def test_a_chain_is_named_where_there_are_several(chain):
    text = chain_text() + chain_text("A" * L, chain="B")
    assert chain(text, "B").sequence == "A" * L
    with pytest.raises(InvalidStructure, match="it has chains A, B; name one of them"):
        chain(text)
    with pytest.raises(InvalidStructure, match="it has no protein chain C, only A, B"):
        chain(text, "C")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("x.pdb", b"HEADER    nothing\nEND\n", "it cannot be read as PDB"),
        ("x.cif", b"data_x\nloop_\n_a.b\n", "it cannot be read as mmCIF"),
        ("x.bcif", b"not this", "it cannot be read as BinaryCIF"),
        (
            "x.pdb.gz",
            gzip.compress(b"ATOM" * 999, mtime=0)[:-9],
            "the compressed data is damaged or cut",
        ),
        ("x.xyz", b"", "its ending is none of .pdb, .ent, .cif, .mmcif, .bcif"),
        (
            "x.pdb",
            b"HETATM    1  O   HOH A   1      10.000  10.000  10.000  1.00  0.00           O\n",
            "there is no protein in it",
        ),
    ],
)
def test_a_file_that_is_no_protein_structure_is_refused_in_one_sentence(
    tmp_path, name, data, reason
):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InvalidStructure, match=reason) as caught:
        structure.read_chain(path)
    assert str(caught.value).isprintable()
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_a_file_error(tmp_path):
    with pytest.raises(FileError, match=r"cannot read .*none\.pdb: No such file"):
        structure.read_chain(tmp_path / "none.pdb")


def test_without_biotite_the_extra_is_named(tmp_path):
    code = (
        "import sys; sys.modules['biotite'] = None\n"
        "from pathlib import Path\n"
        "from esm2.science import structure\n"
        "from esm2.errors import MissingExtra\n"
        "try: structure.read_chain(Path('x.pdb'))\n"
        "except MissingExtra as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "this needs biotite: pip install 'biotite>=1.2'\n"


# --- the place in a sequence -------------------------------------------------------------------


def test_an_equal_sequence_is_matched_one_to_one(chain):
    assert structure.align(chain(chain_text()), SEQUENCE).tolist() == list(range(L))


def test_a_loop_without_coordinates_is_left_out(chain):
    missing = [9, 10, 11]
    mapping = structure.align(chain(chain_text(missing=missing)), SEQUENCE)
    assert mapping[missing].tolist() == [-1, -1, -1]
    kept = [index for index in range(L) if index not in missing]
    assert mapping[kept].tolist() == list(range(L - 3))


def test_tags_on_either_side_do_not_matter(chain):
    read = chain(chain_text())
    tagged = structure.align(read, f"GSHHHHHH{SEQUENCE}UO")
    assert tagged.tolist() == [-1] * 8 + list(range(L)) + [-1] * 2
    assert structure.align(read, SEQUENCE[5:20]).tolist() == list(range(5, 20))


def test_a_mutant_is_still_the_protein(chain):
    mutant = f"{SEQUENCE[:8]}W{SEQUENCE[9:]}"
    assert structure.align(chain(chain_text()), mutant).tolist() == list(range(L))


def test_unknown_residues_are_neither_the_same_nor_another(chain):
    unknown = f"XXXX{SEQUENCE[4:]}"
    mapping = structure.align(chain(chain_text()), unknown)
    assert mapping[4:].tolist() == list(range(4, L))


@pytest.mark.parametrize(
    "other",
    [
        "DERPQNHWLCVIFSGDERPQNHWLC",
        "W" * L,
        SEQUENCE[::-1],
        SEQUENCE.replace("K", "R").replace("T", "S").replace("Y", "F"),  # a relative
        f"DERPQNHWLCVIFSGDERQ{SEQUENCE[:6]}",  # a few residues in common
    ],
)
def test_another_protein_is_refused(chain, other):
    with pytest.raises(InvalidStructure, match=r"chain A is not this protein: of 24 residues"):
        structure.align(chain(chain_text()), other)


# --- contacts ----------------------------------------------------------------------------------


def test_contacts_are_c_beta_atoms_closer_than_8_angstrom_of_residues_with_coordinates(chain):
    read = chain(chain_text(missing=[4]))
    mapping = structure.align(read, SEQUENCE)
    truth, known = structure.true_contacts(read, mapping)
    assert known.tolist() == [index != 4 for index in range(L)]
    for i in range(L):
        for j in range(L):
            there = 4 not in (i, j)
            if there:
                one, two = read.coordinates[mapping[i]], read.coordinates[mapping[j]]
                there = bool(np.linalg.norm(one - two) < 8)
            assert truth[i, j] == there, (i, j)
    assert truth[0, L - 1]
    assert not truth[0, 6]


def test_pairs_are_ranked_by_probability_and_equals_by_their_place():
    contacts = np.zeros((5, 5), dtype=np.float32)
    contacts[1, 4] = contacts[4, 1] = 0.9
    contacts[0, 2] = contacts[2, 0] = 0.4
    i, j = structure.ranked_pairs(contacts, 2)
    pairs = list(zip(i.tolist(), j.tolist(), strict=True))
    assert pairs == [(1, 4), (0, 2), (0, 3), (0, 4), (1, 3), (2, 4)]
    i, j = structure.ranked_pairs(contacts, 2, 2, np.array([True, True, True, True, False]))
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 2), (1, 3)]


def naive_precision(contacts, truth, known, *, first, last, k):
    size = len(contacts)
    pairs = [
        (-contacts[i, j], i, j)
        for i in range(size)
        for j in range(i + first, size)
        if (last is None or j - i <= last) and known[i] and known[j]
    ]
    best = sorted(pairs)[: size // k]
    return sum(truth[i, j] for _, i, j in best) / len(best) if best else None


@pytest.mark.parametrize("size", [3, 8, 13, 30, 61])
def test_precision_is_the_share_of_contacts_among_the_best_pairs_of_a_range(size):
    rng = np.random.default_rng(size)
    contacts = rng.random((size, size), dtype=np.float32)
    truth = rng.random((size, size)) < 0.3
    known = rng.random(size) < 0.8
    contacts, truth = np.maximum(contacts, contacts.T), truth | truth.T
    rows = structure.precisions(contacts, truth, known)
    assert [(row.name, row.first, row.last) for row in rows] == [
        ("long", 24, None),
        ("medium", 12, 23),
        ("short", 6, 11),
        ("all", 6, None),
    ]
    for row in rows:
        for share, k in zip(row.at, (1, 2, 5), strict=True):
            want = naive_precision(contacts, truth, known, first=row.first, last=row.last, k=k)
            assert share == (None if want is None else pytest.approx(want)), (row, k)
    assert rows[3].contacts == sum(row.contacts for row in rows[:3])


def test_contacts_of_six_structures_are_those_that_were_made_with_other_code():
    files = sorted(PUBLISHED.glob("*.npz"))
    assert len(files) == 6
    for file in files:
        with np.load(file) as arrays:
            sequence, packed = str(arrays["sequence"]), arrays["contacts"]
        read = structure.read_chain(file.with_suffix(".pdb.gz"))
        truth, known = structure.true_contacts(read, structure.align(read, sequence))
        pairs = np.triu_indices(len(sequence), 1)
        want = np.unpackbits(packed, count=len(pairs[0])).astype(bool)
        assert known.all(), file.stem
        np.testing.assert_array_equal(truth[pairs], want, err_msg=file.stem)
