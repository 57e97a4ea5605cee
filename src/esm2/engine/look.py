"""What a file or a directory is, from its first bytes and its names, before any loader opens it.

    first bytes        what it is then                     what is said
    version https://g  a Git LFS pointer                   run `git lfs pull`
    <!doctype          a web page, of a failed download    download it again
    PK                 a zip: torch's, or another one      cut short; not torch's
    0x80               a pickle: torch's old form, or not  save a state dict
    u64, {             safetensors: how long it should be  cut short

Loaders say of all these that a header is too large, or advise to unpickle what may hold code.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any, Literal

from esm2.errors import CheckpointError

Container = Literal["safetensors", "torch"]

_HEAD = 512  # bytes that are looked at
_ZIP = b"PK\x03\x04"
_OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number before the rest
_MOST_HEADER = 100_000_000  # bytes, as safetensors has it

_SAVE = "where it was made, call model.save_pretrained(DIR) and name that directory"
_AGAIN = "download or copy it again"

# How files begin that are put in the place of weights, and what they are.
_BEGINNINGS = (
    (
        b"version https://git-lfs",
        "is a Git LFS pointer and not the weights themselves: run `git lfs pull` in its repository"
        " (git-lfs has to be installed), or download the file",
    ),
    (b"GGUF", f"is a GGUF file, which this program does not read: {_SAVE}"),
    (b"\x89HDF", f"is an HDF5 file (TensorFlow or Keras): {_SAVE}"),
    (b"\x93NUMPY", f"is a numpy array, not a checkpoint: {_SAVE}"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it"),
    (b"BZh", "is compressed with bzip2: unpack it"),
    (b"\xfd7zXZ", "is compressed with xz: unpack it"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it"),
)

# Files of other programs, by the ends of their names.
_FOREIGN = (
    (".gguf", "GGUF"),
    (".onnx", "ONNX"),
    (".h5", "TensorFlow"),
    (".msgpack", "Flax"),
    ("saved_model.pb", "TensorFlow"),
    (".mlmodel", "Core ML"),
    (".distcp", "torch's distributed checkpoint"),
    ("_model_states.pt", "DeepSpeed (its zero_to_fp32.py makes one file of them)"),
)


# --- one file ----------------------------------------------------------------------------------


def refuse_foreign_file(file: Path, container: Container) -> None:
    """Refuse a file that is not what its name says, or not all of it.

    Raises:
        CheckpointError: it names the file, says what it is, and what to do.
        OSError: it cannot be read.
    """
    if lost := _lost_link(file):
        raise CheckpointError(file, lost)
    if file.is_dir():
        raise CheckpointError(file, "is a directory, and should be a file of weights")
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(_HEAD)
    if fault := _fault(file, head, size, container):
        raise CheckpointError(file, fault)


def _fault(file: Path, head: bytes, size: int, container: Container) -> str:
    """What is wrong with a file that begins so; "" if nothing that can be seen."""
    fault = f"is empty: {_AGAIN}" if not size else _foreign_beginning(head) or _text(head, size)
    if fault:
        return fault
    return (
        _not_safetensors(file, head, size) if container == "safetensors" else _not_torch(file, head)
    )


def _foreign_beginning(head: bytes) -> str:
    if head[257:262] == b"ustar":
        return "is a tar archive: unpack it"
    return next((what for beginning, what in _BEGINNINGS if head.startswith(beginning)), "")


def _text(head: bytes, size: int) -> str:
    if any(byte < 9 or 13 < byte < 32 for byte in head) or b"\x7f" in head:
        return ""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return f"is a web page and not weights, as a failed download leaves it: {_AGAIN}"
    kind = "JSON" if start.startswith((b"{", b"[")) else "text"
    return f"is {kind} and not weights ({size:,} bytes): {_AGAIN}"


def _not_torch(file: Path, head: bytes) -> str:
    if head.startswith(_ZIP):
        return _zip_fault(file)
    if head.startswith(_OLD_TORCH):
        return ""
    if _is_safetensors(head):
        return "is a safetensors file under another name: name it model.safetensors"
    if head[:1] == b"\x80":
        return f"is a pickle that torch did not write; it may hold code and is not read: {_SAVE}"
    return f"does not begin as any file of weights does: {_AGAIN}"


def _is_safetensors(head: bytes) -> bool:
    return head[8:9] == b"{" and head[7:8] == b"\0"


def _not_safetensors(file: Path, head: bytes, size: int) -> str:
    """8 bytes that say how long the header is, the header, the bytes that it speaks of."""
    length = int.from_bytes(head[:8], "little")
    if not _is_safetensors(head) or length > _MOST_HEADER:
        torchs = head.startswith((_ZIP, _OLD_TORCH))
        advice = "torch wrote it, so name it pytorch_model.bin" if torchs else _AGAIN
        return f"does not begin as a safetensors file does: {advice}"
    if size < 8 + length:
        return f"is cut short: {size:,} bytes, and its header alone has {8 + length:,}; {_AGAIN}"
    with file.open("rb") as opened:
        opened.seek(8)
        header = opened.read(length)
    try:
        tensors: dict[str, Any] = json.loads(header)
        ends = [own["data_offsets"][1] for name, own in tensors.items() if name != "__metadata__"]
        whole = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return f"is damaged: its header cannot be read; {_AGAIN}"
    if size < whole:
        return f"is cut short: {size:,} of {whole:,} bytes; {_AGAIN}"
    return ""


def _zip_fault(file: Path) -> str:
    try:
        with zipfile.ZipFile(file) as opened:
            names = opened.namelist()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError):
        return f"is cut short or damaged: it begins as torch's files do and has no end; {_AGAIN}"
    if any(name.endswith("/constants.pkl") for name in names):
        return f"is a program of TorchScript, not weights: {_SAVE}"
    if not any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        return "is a zip archive that torch did not write: unpack it"
    return ""


def refused_by_torch(error: Exception) -> str:
    """What is wrong with a file that begins well and that torch refused, in our own words.

    Torch advises to load with `weights_only=False`, which runs what the file says.
    """
    said = str(error)
    if "weights_only" in said or "Unsupported" in said:
        named = re.search(r"GLOBAL ([\w.]+)", said)
        which = f" ({named[1]})" if named else ""
        return (
            f"holds objects of a program{which} and not only tensors; reading them could run code,"
            f" which is never done here: {_SAVE}, or torch.save(model.state_dict(), FILE)"
        )
    return f"is cut short or damaged: torch cannot read it; {_AGAIN}"


# --- a path that is no checkpoint --------------------------------------------------------------


def what_is_missing(path: Path) -> str:
    """Why there is nothing at a path."""
    return _lost_link(path) or "no such file or directory"


def what_file(path: Path) -> str:
    """What a file is that is no checkpoint by itself, and what to name instead."""
    for end, program in _FOREIGN:
        if path.name.endswith(end):
            return f"is a file of {program}, which this program does not read: {_SAVE}"
    if (path.parent / "config.json").is_file():
        return f"is one file of a checkpoint: name its directory, {path.parent}"
    return "is neither a Hugging Face directory nor a fair-esm .pt"


def what_directory(path: Path) -> str:
    """What a directory without a config.json is, and what to do."""
    names = sorted(own.name for own in path.iterdir())
    lost = _lost_link(path / "config.json")
    return (
        (f"config.json {lost}" if lost else "")
        or adapter_fault(path)
        or _holds_checkpoints(path)
        or _lacks_config(names)
    )


def _holds_checkpoints(path: Path) -> str:
    """What a directory is that has checkpoints somewhere below it."""
    for root in (path, path / "hub"):
        if repositories := sorted(root.glob("models--*")):
            own = [snapshot for repo in repositories for snapshot in _checkpoints(repo)]
            return f"is a Hugging Face cache, not a checkpoint{_name_one(own)}"
    if (path / "snapshots").is_dir():
        return f"is a repository in a Hugging Face cache{_name_one(_checkpoints(path))}"
    inside = _checkpoints(path)
    return f"is not a checkpoint but holds {len(inside)}{_name_one(inside)}" if inside else ""


def _lacks_config(names: list[str]) -> str:
    if not names:
        return "is empty: there is no checkpoint in it"
    if foreign := _foreign(names):
        return f"{foreign}, and has no config.json: {_SAVE}"
    copy = "copy the config.json of the model that it was made from to there"
    for end, how in (
        (".ckpt", f"{copy}, and name the file"),
        (".pt", "name the file"),
        (".safetensors", copy),
        (".bin", copy),
    ):
        if own := [name for name in names if name.endswith(end)]:
            return f"has no config.json beside {own[0]}: {how}"
    return "has no config.json: not a Hugging Face checkpoint"


def what_weights(path: Path) -> str:
    """What a directory with a config.json and no weights of ours has instead, and what to do."""
    names = sorted(own.name for own in path.iterdir())
    for name in names:
        if name.endswith((".safetensors", ".bin")) and (lost := _lost_link(path / name)):
            return f"{name} {lost}"
    if shards := [name for name in names if re.search(r"-\d{5}-of-\d{5}\.", name)]:
        return f"has {len(shards)} shards ({shards[0]}, ...) without their index: copy it to there"
    if foreign := _foreign(names):
        return f"{foreign}: {_SAVE}"
    if own := [name for name in names if name.endswith((".ckpt", ".pt", ".pth"))]:
        return f"holds neither model.safetensors nor pytorch_model.bin; name the file, {own[0]}"
    return "holds neither model.safetensors nor pytorch_model.bin, nor an index"


def adapter_fault(path: Path) -> str:
    """What to do with the adapter of a directory; "" where there is none."""
    file = path / "adapter_config.json"
    if not file.is_file():
        return ""
    try:
        base = json.loads(file.read_bytes()).get("base_model_name_or_path")
    except (ValueError, AttributeError, RecursionError):
        base = None
    return (
        f"is a PEFT adapter{f' of {base}' if isinstance(base, str) else ''}, not a whole model:"
        " merge it with peft, PeftModel.from_pretrained(...).merge_and_unload(), call"
        " save_pretrained(DIR) of what that gives, and name that directory"
    )


def _lost_link(path: Path) -> str:
    """What to say of a link to a file that is gone; "" of anything else."""
    if not path.is_symlink() or path.exists():
        return ""
    return (
        f"is a link to {path.readlink()}, which is not there: the blobs of this Hugging Face cache"
        " were removed or not copied with it; fetch the model again, or copy it with `cp -rL`"
    )


def _foreign(names: list[str]) -> str:
    for name in names:
        for end, program in _FOREIGN:
            if name.endswith(end):
                return f"holds only weights of {program} ({name})"
    return ""


def _checkpoints(path: Path) -> list[Path]:
    """The checkpoints inside a directory, the one of the last training step at the end."""
    found = [file.parent for pattern in ("*", "snapshots/*") for file in path.glob(f"{pattern}/*")]
    own = {
        parent
        for parent in found
        if (parent / "config.json").is_file() or (parent / "adapter_config.json").is_file()
    }
    return sorted(
        own, key=lambda own: [int(n) if n else 0 for n in re.findall(r"-(\d+)$", own.name)]
    )


def _name_one(checkpoints: list[Path]) -> str:
    return f": name one of those in it, such as {checkpoints[-1]}" if checkpoints else ""
