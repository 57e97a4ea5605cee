"""The checkpoints we know: names, shapes, where their weights are, and what they hash to.

    slug         fair-esm name           hub repository                    layers  dim   heads
    esm2-8m      esm2_t6_8M_UR50D        facebook/esm2_t6_8M_UR50D              6   320     20
    ...
    esm2-demo    the small checkpoint inside this package

Every spelling in use is accepted (slug in any case, fair-esm's name, the hub repository, "650m",
"esm2_650m"); the slug is what is echoed. Adding a checkpoint is adding a row here.

Revisions and digests: tests/goldens of Synthyra/FastPLMs (Apache-2.0) at 1f78282, which recorded
them from the official repositories.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from esm2.errors import HeadOutOfRange, LayerOutOfRange, UnknownModel

DEMO_SLUG = "esm2-demo"
#: Of its weights; a test holds it against the file.
DEMO_SHA256 = "b1080c66cc2f0b0010f8bf019a595c127076334e4b21338cb6adf1121d04fb23"

#: What has to be said of a model wherever its numbers are shown, by kind of weights.
CAVEATS = {
    "official": "",
    "demo": "a tiny model, trained for two hours: to try things, not for science",
    "custom": "not the published weights",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The three numbers that make an ESM-2: N layers, dimension D, H heads."""

    layers: int
    dim: int
    heads: int

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def parameters(self) -> int:
        """How many parameters a model of this shape has, contact head included.

        Source:
            the modules of ESM2 in facebookresearch/esm, esm/model/esm2.py: embeddings and the
            logits head share their matrix of 33 tokens.
        """
        tokens, norm = 33, 2 * self.dim
        square = self.dim * self.dim
        attention = 4 * (square + self.dim)
        feed_forward = 8 * square + 5 * self.dim
        trunk = tokens * self.dim + self.layers * (attention + feed_forward + 2 * norm) + norm
        logits_head = square + self.dim + norm + tokens
        contact_head = self.layers * self.heads + 1
        return trunk + logits_head + contact_head

    def layer(self, index: int) -> int:
        """Resolve a layer index as the wire and Python write it.

        Args:
            index: 0 (embedding) .. N (last), or -1 (last) .. -(N+1) from the end.

        Returns:
            the same layer as 0..N.

        Raises:
            LayerOutOfRange: there is no such layer.
        """
        if not -(self.layers + 1) <= index <= self.layers:
            raise LayerOutOfRange(index, self.layers)
        return index % (self.layers + 1)

    def head(self, index: int) -> int:
        """Resolve a head of an attention layer.

        Args:
            index: 0..H - 1, or -1 (last) .. -H from the end.

        Returns:
            the same head as 0..H - 1.

        Raises:
            HeadOutOfRange: there is no such head.
        """
        if not -self.heads <= index < self.heads:
            raise HeadOutOfRange(index, self.heads)
        return index % self.heads


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a hub repository and its digest, "sha256:..." or "git-sha1:..."."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An official checkpoint.

    Attributes:
        slug: BioLM's name of the model.
        name: fair-esm's name of the model.
        repo: hub repository.
        revision: the pinned commit of the repository.
        files: the files that are fetched, config first. A file of the index of a sharded
            checkpoint has no published digest: it is checked against what the hub states.
    """

    slug: str
    name: str
    repo: str
    shape: Shape
    revision: str
    files: tuple[HubFile, ...]


def _official(
    slug: str, name: str, shape: Shape, revision: str, *files: tuple[str, str]
) -> Checkpoint:
    hub_files = tuple(HubFile(*file) for file in files)
    return Checkpoint(slug, name, f"facebook/{name}", shape, revision, hub_files)


CHECKPOINTS: tuple[Checkpoint, ...] = (
    _official(
        "esm2-8m",
        "esm2_t6_8M_UR50D",
        Shape(6, 320, 20),
        "c731040fcd8d73dceaa04b0a8e6329b345b0f5df",
        ("config.json", "git-sha1:c2c6e65a87d9d20d47699ae236d605b80c741dd3"),
        (
            "model.safetensors",
            "sha256:24c5fa474c48f3b754b86efe752d5f189d2bcd88190fa2270fc92b2ef3034189",
        ),
    ),
    _official(
        "esm2-35m",
        "esm2_t12_35M_UR50D",
        Shape(12, 480, 20),
        "6fbf070e65b0b7291e7bbcd451118c216cff79d8",
        ("config.json", "git-sha1:3f64131bb610ed1ce482c4b5421fc358c785278f"),
        (
            "model.safetensors",
            "sha256:e35647818e0e064351d4531ed480d225a002567b4b2b93ad3a9246d753150fc0",
        ),
    ),
    _official(
        "esm2-150m",
        "esm2_t30_150M_UR50D",
        Shape(30, 640, 20),
        "a695f6045e2e32885fa60af20c13cb35398ce30c",
        ("config.json", "git-sha1:52e04179e6fbad6663a94ea5cc44f09d764c5cd4"),
        (
            "model.safetensors",
            "sha256:c3f1da8aea53bddd32c246c86168c23b9fd72341fb9db9a94436f855f5053566",
        ),
    ),
    _official(
        "esm2-650m",
        "esm2_t33_650M_UR50D",
        Shape(33, 1280, 20),
        "08e4846e537177426273712802403f7ba8261b6c",
        ("config.json", "git-sha1:a956a25d277f30bd870d3760b9a116f19ead885e"),
        (
            "model.safetensors",
            "sha256:a08adabb949fa67ad3c14b509d04fd60368b35007b0095e3358f81200c4f4db0",
        ),
    ),
    _official(
        "esm2-3b",
        "esm2_t36_3B_UR50D",
        Shape(36, 2560, 40),
        "476b639933c8baad5ad09a60ac1a87f987b656fc",
        ("config.json", "git-sha1:69e7563923f87d2d7439bfb83e5a19b44b46d71b"),
        # The index that names the shard of each tensor; its digest is not known to us.
        ("pytorch_model.bin.index.json", ""),
        (
            "pytorch_model-00001-of-00002.bin",
            "sha256:0f971f11c449d21422aa982b791619c10351972992c735f4c3cd43fe09790412",
        ),
        (
            "pytorch_model-00002-of-00002.bin",
            "sha256:7560b46fc383c691fb74b915b7d4bcef40d3df181447f16ba4b298845e308d0c",
        ),
    ),
)

SLUGS: tuple[str, ...] = tuple(checkpoint.slug for checkpoint in CHECKPOINTS)


def _spellings(checkpoint: Checkpoint) -> Iterable[str]:
    size = checkpoint.slug.removeprefix("esm2-")
    # UR50S is a common slip for UR50D; no ESM-2 of that name was ever published.
    slip = checkpoint.name.replace("UR50D", "UR50S")
    for name in (checkpoint.slug, f"esm2_{size}", size, checkpoint.name, checkpoint.repo, slip):
        yield name.lower()


_BY_SPELLING = {name: known for known in CHECKPOINTS for name in _spellings(known)}


def find(name: str) -> Checkpoint | None:
    """The official checkpoint of that name, in any known spelling, or None."""
    return _BY_SPELLING.get(name.strip().lower())


def weights_kind(slug: str, sha256: Sequence[str]) -> str:
    """What weights are, by their hashes alone: "official", "demo" or "custom".

    Args:
        slug: the name that they shall answer under.
        sha256: of each weight file.
    """
    if sha256 == (DEMO_SHA256,):
        return "demo"
    official = find(slug)
    published = {file.digest for file in official.files} if official else set()
    return "official" if published.issuperset(f"sha256:{own}" for own in sha256) else "custom"


def canonical(name: str, others: Iterable[str] = ()) -> str:
    """The slug of any known spelling.

    Args:
        name: what a person or a program wrote.
        others: further slugs to accept (custom checkpoints); they match in any case.

    Returns:
        the slug: official, `esm2-demo`, or one of `others`.

    Raises:
        UnknownModel: naming the nearest known names.
    """
    own = {slug.lower(): slug for slug in (DEMO_SLUG, *others)}
    key = name.strip().lower()
    if key in own:
        return own[key]
    if checkpoint := find(name):
        return checkpoint.slug
    names = [*own, *_BY_SPELLING]
    close = difflib.get_close_matches(key, names, n=3, cutoff=0.6)
    nearest = [own[c] if c in own else _BY_SPELLING[c].slug for c in close]
    known = dict.fromkeys((*own.values(), *SLUGS))
    raise UnknownModel(name, list(dict.fromkeys(nearest)), list(known))
