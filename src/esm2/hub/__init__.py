"""Weights: find, download, verify.

    $HF_HOME/hub/models--facebook--esm2_t6_8M_UR50D/
        blobs/ETAG                       the bytes; ETAG.incomplete while they arrive
        snapshots/REVISION/config.json   links to the blobs; this directory is what a loader opens

    ask the hub -> ETAG.incomplete -> digest as pinned? -> blobs/ETAG -> link in the snapshot
                   (a cut goes on      no: removed,
                    from here)         HashMismatch

It is the ordinary Hugging Face cache, so other programs find our files and we find theirs. A file
gets its name in the cache only after its digest was found right. The body is plain HTTP, also
where the hub offers Xet: huggingface_hub 2 drops what it has of a file when a transfer ends early,
a plain body of our own can be continued by the next run. HF_HOME, HF_HUB_CACHE, HF_ENDPOINT,
HF_TOKEN and HF_HUB_OFFLINE are read by huggingface_hub. Importing this module imports neither
that library nor torch.

Source: the cache layout is documented at huggingface.co/docs/huggingface_hub/guides/manage-cache;
the hub states an ETag of a git blob sha1 (small files) or X-Linked-Etag of a sha256 (large files).
"""

from __future__ import annotations

from esm2.hub.cache import cache_directory, locate, refuse_changed, sha256, weights_missing
from esm2.hub.download import fetch

__all__ = [
    "cache_directory",
    "fetch",
    "locate",
    "refuse_changed",
    "sha256",
    "weights_missing",
]
