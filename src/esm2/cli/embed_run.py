"""The work of `esm2 embed`: what is asked of the model, what is kept, what is told.

records ── Journal.replay: done before ──> bulk.embed ──> Journal.add / reject ──> commit
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from esm2 import __version__
from esm2.cli import options, progress
from esm2.cli.options import counted, say
from esm2.cli.records import Refusals, place, tell_repeated
from esm2.errors import CannotResume, RequestError
from esm2.oddities import Oddities

if TYPE_CHECKING:
    from esm2.bulk import Embedded
    from esm2.client.remote import Remote
    from esm2.files import Entry, Journal, Run
    from esm2.files.fasta import Position
    from esm2.files.regions import Regions
    from esm2.files.shards import OwnRecords
    from esm2.runtime import Served
    from esm2.types import Outputs, Record, Want

# Packs' worth of records in flight for each engine: it always finds a full pack waiting.
_PACKS_IN_FLIGHT = 8
# Bytes of finished outputs that may wait for an older record; two packs are allowed in any case.
_BYTES_IN_FLIGHT = 1 << 30

_STRANGERS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Job:
    """A run on its input.

    Attributes:
        source: name of the input, or of all its files.
        position: how far it has been read.
        force: a finished file may be written over.
        own: its records, those that are this run's, where others have the rest.
        regions: the residues of each record that are pooled; None is all of them.
        oddities: of the records, counted as they are read.
    """

    served: Served | Remote
    run: Run
    source: str
    position: Position
    strict: bool
    quiet: bool
    force: bool = False
    own: OwnRecords | None = None
    regions: Regions | None = None
    oddities: Oddities = field(default_factory=Oddities)

    def to_file(self, output: Path, records: Iterator[Record], restart: bool) -> int:
        """Embed into a file, going on with what an earlier run kept."""
        from esm2 import files

        records = self.oddities.watch(records)
        with files.Journal(output, self.run, restart=restart) as journal:
            with kept(journal):
                deque(self.replay(journal, records), maxlen=0)
                speed = self.work(journal, records, lambda _item, _outputs: None)
                nothing = not journal.count and self.run.shard is None
                if nothing:
                    files.commit_rejects(output, journal)
                else:
                    duplicates = files.duplicates(journal)
                    shortened = self.shortened(journal)
                    notes = files.commit(output, journal, self._meta(), force=self.force)
            if nothing:
                journal.discard()
                raise RequestError(
                    f"no record of {self.source} could be embedded ({journal.rejected} rejected,"
                    f" see {files.rejects_path(output)}); {output} was not written"
                )
        tell_repeated(duplicates)
        for note in (*shortened, *notes):
            say(f"{output}: {note}")
        strangers = self._strangers()
        return self.end(output, journal, speed) or strangers

    def work(
        self,
        journal: Journal,
        records: Iterator[Record],
        keep: Callable[[Embedded, Outputs], None],
    ) -> str:
        """Embed the records and keep what comes of each.

        Args:
            keep: called with each record that was embedded, before the journal has it; what it
                raises as a RequestError makes it a reject.

        Returns:
            the time that this run took, and its speed, to stand behind the number of residues.
        """
        done = progress.Embedding(self.position, self.position.done)
        refusals = Refusals(self.source, strict=self.strict)
        started = time.perf_counter()
        with progress.shown(self.quiet) as advance:
            for item in self._results(records):
                result = item.result
                try:
                    if isinstance(result, RequestError):
                        raise result
                    keep(item, result)
                except RequestError as error:
                    refusals.tell(item.record, error)
                    reason = options.sentence(error)
                    journal.reject(item.record, reason, length=item.residues)
                else:
                    journal.add(item.record, result, **_numbers(item))
                done.records += 1
                done.residues += item.used
                advance(done.line)
        refusals.tell_the_rest()
        seconds = time.perf_counter() - started
        speed = f"{seconds:.1f} s ({done.residues / max(seconds, 1e-9):,.0f} residues/s)"
        if journal.resumed:
            return f"; {counted(done.residues, 'residue')} of them in {speed}"
        return f" in {speed}"

    def to_standard_output(self, records: Iterator[Record]) -> int:
        """A line of JSON for each record that can be embedded, as soon as it is done."""
        from esm2.files import text

        refusals = Refusals(self.source, strict=self.strict)
        written = 0
        out = sys.stdout.buffer
        for item in self._results(self.oddities.watch(records)):
            if isinstance(item.result, RequestError):
                refusals.tell(item.record, item.result)
            else:
                written += 1
                out.write(text.json_line(self.run, item.record.id, _numbers(item), item.result))
                out.flush()  # whoever reads it waits for each
        refusals.tell_the_rest()
        if not written:
            raise RequestError(f"no record of {self.source} could be embedded")
        if odd := self.oddities.told():
            say(f"standard output: {counted(written, 'record')}{odd}")
        strangers = self._strangers()
        return options.LEFT_OUT if refusals.count else strangers

    def _results(self, records: Iterator[Record]) -> Iterator[Embedded]:
        from esm2 import bulk, pooling

        kinds, regions = self.run.include, self.regions
        want = pooling.asked(kinds, self.run.layers, regional=regions is not None)
        with ExitStack() as stack:
            results = bulk.embed(
                records,
                want,
                self.served.submit,
                max_residues=self.run.max_residues,
                in_flight_tokens=_in_flight_tokens(self.served, want, self.run.long),
                long=self.run.long,
                region=regions.of if regions else None,
            )
            for item in stack.enter_context(closing(results)):
                if isinstance(item.result, RequestError):
                    yield item
                else:
                    yield replace(item, result=pooling.read(item.result, kinds, item.region))

    def replay(self, journal: Journal, records: Iterator[Record]) -> Iterator[Entry]:
        """What an earlier run has done, each held against its record; to be taken to the end."""
        for entry in journal.replay(records):
            if entry.reason and self.strict:
                raise RequestError(f"{place(self.source, entry)}: {entry.reason}")
            yield entry
        if journal.resumed:
            rejects = f", {counted(journal.rejected, 'reject')}" if journal.rejected else ""
            say(f"going on after {counted(journal.resumed, 'record')} done before{rejects}")

    def _meta(self) -> dict[str, object]:
        from esm2.files import spelled

        decided, run = self.served.decided, self.run
        long = {"long": run.long, "max_residues": run.max_residues} if run.long != "error" else {}
        return {
            "esm2": __version__,
            "model": decided.slug,
            "weights_sha256": decided.weights_sha256,
            "weights_kind": decided.weights_kind,
            "device": decided.device,
            "dtype": decided.dtype,
            "include": list(run.include),
            "layers": list(run.layers),
            "pooling": run.pooling,
            **({"region": run.region} if run.region is not None else {}),
            **long,
            "source": spelled(self.source),
            **(self.own.described() if self.own else {}),
        }

    def _strangers(self) -> int:
        """Tell the first ids of a table of regions that no record has; the exit status for them."""
        told = self.regions.strangers() if self.regions else []
        for line in told[:_STRANGERS_SHOWN]:
            say(line)
        if (more := len(told) - _STRANGERS_SHOWN) > 0:
            say(f"{counted(more, 'more id')} of the regions that no record has")
        return options.LEFT_OUT if told else 0

    def shortened(self, journal: Journal) -> list[str]:
        """What was done to records that were too long, if there were any."""
        entries = [entry for entry in journal.entries() if entry.length > self.run.max_residues]
        if not entries:
            return []
        what = "truncated to their first" if self.run.long == "truncate" else "seen in windows of"
        return [
            f"{counted(len(entries), 'record')} of more than {self.run.max_residues} residues"
            f" {what} {self.run.max_residues}"
        ]

    def end(self, output: Path, journal: Journal, speed: str) -> int:
        """Tell what was done; the exit status of the command."""
        from esm2 import files

        decided = self.served.decided
        note = f"; {decided.caveat}" if decided.caveat else ""
        if journal.rejected:
            rejects = files.rejects_path(output)
            note += f"; {counted(journal.rejected, 'record')} left out, see {rejects}"
        odd = self.oddities.told()
        engines = self.served.executors
        where = decided.device if engines == 1 else f"{engines} x {decided.device}"
        if journal.rejected or odd or not self.quiet:
            what = "residue" if self.run.region is None else "pooled residue"
            say(
                f"{output}: {counted(journal.count, 'record')},"
                f" {counted(journal.residues, what)}{speed},"
                f" {decided.slug} on {where}, {decided.dtype}{note}{odd}"
            )
        if not journal.rejected:
            return 0
        return options.LEFT_OUT if journal.count or self.run.shard else 1


@contextmanager
def kept(journal: Journal) -> Iterator[None]:
    """When the work does not come to its end, say where what was done is."""
    try:
        yield
    except CannotResume:
        raise
    except BaseException:
        kept = counted(journal.count, "record")
        if not journal.count:
            kept = counted(journal.rejected, "reject")
        if number := journal.count or journal.rejected:
            say(
                f"{kept} {'is' if number == 1 else 'are'} kept in {journal.directory};"
                " the same command goes on from there"
            )
        raise


def _in_flight_tokens(served: Served | Remote, want: Want, long: str) -> int:
    decided = served.decided
    per_token = want.per_token or long == "window"
    token_bytes = 4 * decided.shape.dim * len(want.layers) if per_token else 1
    room = _BYTES_IN_FLIGHT // (token_bytes * decided.pack_tokens)
    packs = min(_PACKS_IN_FLIGHT * served.executors, room)
    return max(packs, 2 * served.executors) * decided.pack_tokens


class _Numbers(TypedDict):
    length: int
    used: int
    windows: int
    region: str


def _numbers(item: Embedded) -> _Numbers:
    """What the embedding of a record is of, by its names in Entry."""
    region = item.region
    return {
        "length": item.residues,
        "used": item.used if region is None else len(region.rows),
        "windows": item.windows,
        "region": str(region or ""),
    }
