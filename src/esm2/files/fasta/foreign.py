"""What a file is that is not FASTA, told by how it begins, and what to do about it.

But for a Parquet table whose columns say what they are (table.py), a file is never read as another
format than FASTA: which of its parts would be meant is the person's to say. `named` is a look at
the first line with anything on it, each byte a character, so that it tells binary formats too; in
those a line ends anywhere, so more lines are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

from esm2.errors import InvalidFasta

_CONVERT = (
    "convert it to FASTA, for example with Biopython:"
    ' Bio.SeqIO.convert("IN", "{}", "OUT.fasta", "fasta")'
)
_UNALIGNED = (
    "it is an alignment; convert it to FASTA without gaps, for example with HMMER's"
    " `esl-reformat fasta IN`"
)
_PROTEINS = (
    "take the proteins out of it (on NCBI's page of the entry: Send to, Coding Sequences, FASTA"
    " Protein)"
)
_UNPACK = "unpack it, and name the FASTA file that is inside"
_TABLE = "write each sequence as a line `>name` and a line of residues; `esm2 score` reads tables"
_EXPORT = "export its sequences as FASTA from the program that made it"
_READS = "it has reads of DNA; translate them into proteins first"
_WEB = "save the sequence itself: on most pages that is the link called FASTA"
_NUMBERS = "it has numbers and no sequences; name the FASTA file that they were made of"
_TEXT = "save the file as plain text (UTF-8)"

# The head of a zip archive's first file, before its name; two of its bytes may be a line's end.
_ZIP = r"PK\x03\x04.{20,26}"

#: (how the file begins, or its first line, what it is, what to do), the first that fits.
_FORMATS: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(begin, re.IGNORECASE | re.DOTALL), name, advice)
    for begin, name, advice in (
        # Binary.
        (_ZIP + r"(word/|\[Content_Types\].*word/)", "a Word document (.docx)", _TEXT),
        (_ZIP + r"(xl/|\[Content_Types\].*xl/)", "an Excel workbook (.xlsx)", _TABLE),
        (_ZIP + r"\[Content_Types\]", "an Office document (.xlsx or .docx)", _TEXT),
        (_ZIP + r"mimetype.*spreadsheet", "a spreadsheet (.ods)", _TABLE),
        (_ZIP + r"mimetype", "an OpenDocument text (.odt)", _TEXT),
        (_ZIP + r"[^/]*\.npy", "a numpy archive (.npz)", _NUMBERS),
        (_ZIP + r"[^/]*/(data\.pkl|\.format_version)", "a PyTorch file (.pt)", _NUMBERS),
        (r"PK(\x03\x04|\x05\x06|\x07\x08)", "a zip archive", _UNPACK),
        (r"7z\xbc\xaf", "a 7z archive", _UNPACK),
        (r"Rar!\x1a", "a RAR archive", _UNPACK),
        (r"[^\n]{257}ustar", "a tar archive", _UNPACK),
        (r"\x1f\x8b|\xfd7zXZ|BZh[1-9]|\x28\xb5\x2f\xfd", "compressed twice", "decompress it once"),
        (r"\x1f\x9d|\x04\x22\x4d\x18|LZIP", "compressed (.Z, .lz4 or .lz)", _UNPACK),
        (r"\xff\xfe|\xfe\xff|\x00*>\x00+|\x00+>", "in UTF-16 or UTF-32", _TEXT),
        (r"\x89HDF", "an HDF5 file (.h5)", _NUMBERS),
        (r"PAR1", "a Parquet table", "give its path: standard input is not read from both ends"),
        (r"ARROW1|ORC", "an Arrow or ORC table", _TABLE),
        (r"\x93NUMPY", "a numpy array (.npy)", _NUMBERS),
        (r"\x80[\x02-\x05]", "a Python pickle", _NUMBERS),
        (r"..[^\n]\x00{5}\{\"", "a safetensors file", _NUMBERS),
        (r"SQLite format 3", "an SQLite database", _EXPORT),
        (r"\xd0\xcf\x11\xe0", "an old Excel or Word document (.xls, .doc)", _TEXT),
        (r"%PDF", "a PDF", "copy its sequences into a text file, in FASTA"),
        (r"\{\\rtf", "a Rich Text document (.rtf)", _TEXT),
        (r"\x89PNG|\xff\xd8\xff|GIF8|II\*\x00|MM\x00\*", "a picture", _EXPORT),
        (r"BAM\x01|CRAM", "BAM or CRAM", _READS),
        (r"\.sff|ABIF", "a trace or read file of a sequencer", _READS),
        (r"\t\x00\x00\x00\x0eSnapGene", "a SnapGene file (.dna)", _EXPORT),
        (r"[\x80-\x8f\xde\xdf].{0,40}(encoder|dataBlocks|mmtf)", "BinaryCIF or MMTF",
         _CONVERT.format("cif-seqres") + " from its .cif"),
        # Text: sequences.
        (r"LOCUS\s", "GenBank or GenPept", _PROTEINS + "; of GenPept: "
         + _CONVERT.format("genbank")),
        (r"ID   \S.*(Reviewed|Unreviewed|PRELIMINARY|STANDARD; *PRT)", "UniProt text (Swiss-Prot)",
         _CONVERT.format("swiss")),
        (r"ID   \S", "EMBL", _PROTEINS),
        (r"(HEADER|TITLE|COMPND|SEQRES|CRYST1|REMARK|EXPDTA|MODEL|ATOM|HETATM|NUMMDL)\s",
         "a PDB structure", _CONVERT.format("pdb-atom")),
        (r"data_", "mmCIF", _CONVERT.format("cif-atom")),
        (r"@(HD|SQ|RG|PG|CO)\t", "SAM", _READS),
        (r"@<TRIPOS>", "a mol2 molecule", "take the FASTA file of the protein"),
        (r"@", "FASTQ", _READS),
        # Text: alignments.
        (r"#\s*STOCKHOLM", "a Stockholm alignment", _UNALIGNED),
        (r"(CLUSTAL|MUSCLE|PROBCONS|T-COFFEE|KALIGN|MSAPROBS)\b", "a Clustal alignment",
         _UNALIGNED),
        (r"\s*\d+\s+\d+\s*([A-Z]\s*)*$", "a PHYLIP alignment", _UNALIGNED),
        (r"#NEXUS", "Nexus", _CONVERT.format("nexus") + "; and take out the gaps"),
        (r"#MEGA", "a MEGA alignment", _UNALIGNED),
        (r"!!(AA|NA)_|PileUp|.*\bMSF:.*\.\.", "GCG or MSF", _UNALIGNED),
        (r"#A3M#", "an A3M alignment with a `#A3M#` line", _UNALIGNED),
        (r"HMMER\d|HHsearch|HHM\b", "a profile HMM", "take the sequences that it was made of"),
        # Text: the rest.
        (r"<!DOCTYPE html|<html|<head|<body", "an HTML page", _WEB),
        (r"<\?xml|<[a-z][a-z0-9:]*[ >]", "XML", _WEB),
        (r"[{\[]", "JSON", _TABLE),
        (r"\(.*[,:]", "a Newick tree", "name the FASTA file that it was made of"),
        (r"##(gff|gtf|fileformat=VCF)", "GFF or VCF", "it has no proteins; name a FASTA file"),
        (r"(T?BLAST[PNX]|PSIBLAST) \d", "a report of BLAST", _WEB),
        (r"version https://git-lfs", "a pointer of Git LFS", "fetch the file with `git lfs pull`"),
    )
)  # fmt: skip

_LOOKED_AT = 4096
# Letters that no line of text has; or two bytes of the size with which safetensors begins.
_MAYBE_BINARY = re.compile(r"[^\n]{0,2}\n|.*[\x00-\x08\x0e-\x1f]")
_PIR = re.compile(r"(P1|F1|D1|DL|DC|RL|RC|N1|N3|XX);")
_UTF16 = re.compile(r"(\x00[^\x00]){2}")
_RESIDUES = re.compile(r"[A-Za-z*.-]+")
# Letters of secondary structure and of topology, with one of those that no record is without.
_STRUCTURE = (("HECTSGBI-", "HE"), ("IMOSPB-", "M"))
_STRUCTURE_RESIDUES = 20


def named(line: str, following: Iterator[str]) -> str:
    """What a file is whose first line does not begin with `>`, and what to do.

    Args:
        line: as it was read, in Latin-1.
        following: the lines behind it, looked at where it may be binary.
    """
    line = beginning = line[:_LOOKED_AT]
    if _MAYBE_BINARY.match(line):
        with suppress(InvalidFasta):  # damaged further on, and this is what it is all the same
            while len(beginning) < _LOOKED_AT and (more := next(following, None)):
                beginning += more[:_LOOKED_AT]
    for begin, name, advice in _FORMATS:
        if begin.match(beginning):
            what = name if name.startswith(("in ", "compressed")) else f"{name}, not FASTA"
            return f"this is {what}; {advice}"
    text = line.strip()
    if _RESIDUES.fullmatch(text.replace(" ", "").rstrip("0123456789")):
        return (
            "this looks like residues without a header; put a line such as `>name` above them"
            " (commands for one protein take --sequence)"
        )
    if "\t" in text or text.count(",") > 1 or text.count(";") > 1:
        return f"this looks like a table (CSV or TSV), not FASTA; {_TABLE}"
    if any(letter < " " and letter != "\t" for letter in text):
        return "this is a binary file, not FASTA (FASTA may be compressed: gzip, xz, zstd, bzip2)"
    return (
        "text before the first record; FASTA begins with a line that starts with '>'"
        " (plain, or compressed with gzip, xz, zstd or bzip2)"
    )


def disguised(header: str, pieces: list[str]) -> str | None:
    """What a record is that looks like FASTA and is not; None for one that is.

    Args:
        header: without its `>`.
        pieces: the lines of residues.
    """
    if _UTF16.match(header):
        return f"this is in UTF-16; {_TEXT}"
    if _PIR.match(header):
        return (
            "this is PIR (NBRF), not FASTA: the line behind `>P1;...` is a description, and would"
            f" be read as residues; {_CONVERT.format('pir')}"
        )
    if len(pieces) == 2 and _is_structure(*pieces):
        return (
            "the second line of the record looks like its secondary structure or topology"
            " (three lines a record), and would be read as residues; leave those lines out"
        )
    return None


def _is_structure(residues: str, line: str) -> bool:
    return len(residues) == len(line) >= _STRUCTURE_RESIDUES and any(
        set(line) <= set(letters) and set(line) & set(some) and set(residues) - set(letters)
        for letters, some in _STRUCTURE
    )
