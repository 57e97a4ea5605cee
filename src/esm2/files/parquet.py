"""OUT.parquet: a row for each record, for pandas, polars, DuckDB and their like.

    id  description  length  [used  windows  region]  sequence_sha256  embedding

`embedding` is a fixed-size list of D float32; with several layers or kinds there is a column for
each, named mean_33 or bos_33. Compressed with zstd, the numbers split by byte. How it was made is
in the metadata of the schema, under `esm2`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from esm2.files.run import VECTORS, Kept, grouped
from esm2.files.stored import Stored, made
from esm2.types import Float

_GROUP_BYTES = 1 << 24


def write(path: Path, kept: Kept, meta: Mapping[str, object]) -> list[str]:
    """Write the file; nothing has to be said about it."""
    run = kept.run
    vectors = [(kind, layer) for kind in VECTORS if kind in run.include for layer in run.layers]
    names = ["embedding"] if len(vectors) == 1 else [f"{kind}_{layer}" for kind, layer in vectors]
    of_floats = pa.list_(pa.float32(), run.dim)
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("description", pa.string()),
            *((name, pa.string() if name == "region" else pa.int64()) for name in run.columns),
            ("sequence_sha256", pa.string()),
            *((name, of_floats) for name in names),
        ],
        metadata={"esm2": json.dumps(meta)},
    )
    group = max(1, _GROUP_BYTES // (4 * run.dim * len(names)))
    with (
        pa.OSFile(os.fsencode(path), "wb") as disk,
        pq.ParquetWriter(
            disk,
            schema,
            compression="zstd",
            use_dictionary=["description"],
            column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in names},
        ) as file,
    ):
        for entries, arrays in grouped(kept, group):
            flat = [
                pa.FixedSizeListArray.from_arrays(
                    pa.array(
                        np.ascontiguousarray(arrays[kind][:, run.layers.index(layer)]).ravel()
                    ),
                    run.dim,
                )
                for kind, layer in vectors
            ]
            columns = [
                pa.array([entry.id for entry in entries]),
                pa.array([entry.header for entry in entries]),
                *(pa.array([getattr(entry, name) for entry in entries]) for name in run.columns),
                pa.array([entry.sha256 for entry in entries]),
                *flat,
            ]
            file.write_table(pa.table(columns, schema=schema))
    return []


def read(path: Path) -> Stored:
    """An OUT.parquet with one vector a record; see `stored.guarded` for what it may raise."""
    with pa.OSFile(os.fsencode(path)) as disk, pq.ParquetFile(disk) as file:
        schema = file.schema_arrow
        meta = json.loads(schema.metadata[b"esm2"])
        dim = schema.field("embedding").type.list_size if "embedding" in schema.names else 0

    def blocks(size: int) -> Iterator[tuple[list[str], Float]]:
        with pa.OSFile(os.fsencode(path)) as disk, pq.ParquetFile(disk) as file:
            for batch in file.iter_batches(size, columns=["id", "embedding"]):
                numbers = batch.column("embedding").flatten().to_numpy()
                yield batch.column("id").to_pylist(), numbers.reshape(len(batch), dim)

    return made(path, meta, dim, blocks)
