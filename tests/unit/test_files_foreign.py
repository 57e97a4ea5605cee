"""Files that are not FASTA: each is refused by its name, with what to do."""

import gzip
import io
import pickle
import zipfile

import numpy as np
import pytest

from esm2.errors import InvalidFasta
from esm2.files import fasta

FASTQ = b"@r1\nACGT\n+\nIIII\n"


def archive(*names, compression=zipfile.ZIP_DEFLATED, at=(2026, 11, 29, 1, 1, 1)):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as out:
        for name in names:
            text = b"application/x" if name == "mimetype" else b"x" * 9
            out.writestr(zipfile.ZipInfo(name, at), text, compression)
    return content.getvalue()


def saved(save, **arrays):
    content = io.BytesIO()
    save(content, **arrays)
    return content.getvalue()


def safetensors(size):
    return size.to_bytes(8, "little") + b'{"a":' + b" " * (size - 6) + b"}"


TAR = b"x.fasta".ljust(257, b"\0") + b"ustar\x0000" + bytes(248) + b">a\nMKT\n"
FILES = {
    "PIR": (b">P1;CRAB_ANAPL\nALPHA CRYSTALLIN B CHAIN\nMDITIHNPLI*\n", "PIR"),
    "NBRF of modeller": (b">P1;5fd1\nstructureX:5fd1:1:A:106:A::::\nAFVVTD*\n", "PIR"),
    "PIR behind FASTA": (b">a\nMKT\n>F1;B\nA FRAGMENT\nMKT*\n", "PIR"),
    "GenBank": (b"LOCUS       AB000001  100 bp  DNA\nORIGIN\n", "GenBank"),
    "EMBL": (b"ID   X56734; SV 1; linear; mRNA; STD; PLN; 1859 BP.\n", "EMBL"),
    "UniProt": (b"ID   HBA_HUMAN  Reviewed;  142 AA.\nAC   P69905;\n", "UniProt text"),
    "Stockholm": (b"# STOCKHOLM 1.0\na MKT\n//\n", "Stockholm"),
    "Clustal": (b"CLUSTAL W (1.82) multiple sequence alignment\n\na  MKT\n", "Clustal"),
    "PHYLIP": (b" 2 3\na         MKT\nb         MKV\n", "PHYLIP"),
    "PDB": (b"HEADER    OXYGEN TRANSPORT\n", "PDB structure"),
    "PDB without a header": (b"ATOM      1  N   MET A   1\n", "PDB structure"),
    "mmCIF": (b"data_4HHB\n#\n_entry.id 4HHB\n", "mmCIF"),
    "FASTQ": (FASTQ, "FASTQ"),
    "FASTQ in gzip": (gzip.compress(FASTQ), "FASTQ"),
    "SAM": (b"@HD\tVN:1.6\n", "SAM"),
    "BAM": (gzip.compress(b"BAM\x01\x00\x00"), "BAM"),
    "UTF-16": (">a\nMKT\n".encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": (">ab\nMKT\n".encode("utf-16-le"), "UTF-16"),
    "UTF-16, the other end first": (">ab\nMKT\n".encode("utf-16-be"), "UTF-16"),
    "zip": (archive("x.fasta"), "zip archive"),
    "xlsx": (archive("xl/workbook.xml", "[Content_Types].xml"), "Excel"),
    # The time of day of a zip archive, the size in a safetensors file: any byte, a line's end too.
    "xlsx, packed at 8:00:20": (archive("xl/workbook.xml", at=(2026, 1, 1, 8, 0, 20)), "Excel"),
    "xlsx, packed at 8:00:26": (archive("xl/workbook.xml", at=(2026, 1, 1, 8, 0, 26)), "Excel"),
    "xlsx, packed at 1:16:26": (archive("xl/workbook.xml", at=(2026, 1, 1, 1, 16, 26)), "Excel"),
    "safetensors": (safetensors(200), "safetensors"),
    "safetensors with a line's end in its size": (safetensors(10 * 256 + 200), "safetensors"),
    "two letters": (b"MK\nTAYIAKQR\n", "without a header"),
    "npz": (saved(np.savez, embeddings=np.zeros(3)), "numpy archive"),
    "npy": (saved(np.save, arr=np.zeros(3)), "numpy array"),
    "pickle": (pickle.dumps({"a": "MKT"}), "pickle"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "Arrow": (b"ARROW1\x00\x00", "Arrow"),
    "tar": (TAR, "tar archive"),
    "tar.gz": (gzip.compress(TAR), "tar archive"),
    "gzip twice": (gzip.compress(gzip.compress(b">a\nMKT\n")), "compressed twice"),
    "PDF": (b"%PDF-1.7\n", "PDF"),
    "old Word": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Word"),
    "RTF": (b"{\\rtf1\\ansi >a\\par MKT}", "Rich Text"),
    "Nexus": (b"#NEXUS\nBEGIN DATA;\n", "Nexus"),
    "MSF": (b"!!AA_MULTIPLE_ALIGNMENT 1.0\n", "MSF"),
    "MSF of PileUp": (b"PileUp\n\n MSF: 3 Type: P Check: 1 ..\n", "MSF"),
    "A3M's first line": (b"#A3M#\n>a\nMKT\n", "A3M"),
    "JSON": (b'[{"id": "a", "sequence": "MKT"}]', "JSON"),
    "CSV": (b"id,length,sequence\na,3,MKT\n", "table"),
    "TSV": (b"a\tMKT\n", "table"),
    "HTML": (b"<!DOCTYPE html>\n<title>404</title>\n", "HTML"),
    "XML": (b'<?xml version="1.0"?>\n<uniprot>', "XML"),
    "Newick": (b"(a:0.1,b:0.2);\n", "Newick"),
    "GFF": (b"##gff-version 3\n", "GFF"),
    "HMM": (b"HMMER3/f [3.1b2]\n", "profile HMM"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "a raw sequence": (b"MKTAYIAKQR\nQISFVK\n", "without a header"),
    "a numbered sequence": (b"MKTAYIAKQR QISFVKSHFS 20\n", "without a header"),
    "bytes": (bytes(range(1, 9)), "binary file"),
    "three lines a record": (b">a\n" + b"MKTAY" * 5 + b"\n" + b"HHHEC" * 5 + b"\n", "structure"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_not_fasta_is_refused_by_its_name_with_what_to_do(tmp_path, kind):
    content, name = FILES[kind]
    path = tmp_path / "input.fasta"
    path.write_bytes(content)
    with pytest.raises(InvalidFasta) as caught:
        list(fasta.read(path))
    assert name in caught.value.reason
    assert ";" in caught.value.reason or "(" in caught.value.reason  # what to do
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b">sp|P1;X\nMKT*\n",
        b">P1 ; a name\nMKT\n",
        b">a\n" + b"G" * 30 + b"\n" + b"S" * 30 + b"\n",
        b">a\n" + b"MKTAY" * 5 + b"\n" + b"GGGSG" * 5 + b"\n",
    ],
)
def test_fasta_that_only_resembles_another_format_is_read(tmp_path, content):
    path = tmp_path / "input.fasta"
    path.write_bytes(content)
    assert len(list(fasta.read(path))) == 1
