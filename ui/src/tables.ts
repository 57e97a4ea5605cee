/** The numbers of each figure as rows: for CSV files and for tables that are read aloud. */

import { AMINO_ACIDS, isAminoAcid, ranked, ROWS, SEPARATION } from "./science";
import type { Filled, View } from "./view";
import { percent } from "./words";

export type Rows = (string | number)[][];

const digits = (value: number): string => `${Number(value.toPrecision(8))}`;

/** Position, residue, entropy, and the probability of each amino acid. */
export function distributions(view: View): Rows {
  const head = ["position", "residue", "entropy_nats", ...AMINO_ACIDS];
  const body = view.own.map((residue, index) => [
    index + 1,
    residue,
    digits(view.entropy[index]),
    ...Array.from(view.p.values.subarray(20 * index, 20 * index + 20), digits),
  ]);
  return [head, ...body];
}

/** The same for reading: the three most probable. */
export function mostProbable(view: View): Rows {
  const body = view.own.map((residue, index) => [
    index + 1,
    residue,
    view.entropy[index].toFixed(3),
    ...ranked(view.p, index)
      .slice(0, 3)
      .map(({ letter, p }) => `${letter} ${percent(p)}`),
  ]);
  return [["position", "residue", "entropy, nats", "first", "second", "third"], ...body];
}

/** As `esm2 scan -o scan.csv`. */
export function substitutions(view: View): Rows {
  const rows: Rows = [["mutant", "position", "wt", "mt", "score"]];
  view.own.forEach((wt, column) => {
    for (const mt of isAminoAcid(wt) ? AMINO_ACIDS : "") {
      if (mt === wt) continue;
      const score = view.scan.scores.values[ROWS.indexOf(mt) * view.own.length + column];
      rows.push([`${wt}${column + 1}${mt}`, column + 1, wt, mt, digits(score)]);
    }
  });
  return rows;
}

/** A row for each residue, a column for each amino acid. */
export function scores(view: View): Rows {
  const columns = view.own.length;
  const body = view.own.map((residue, column) => [
    `${residue}${column + 1}`,
    ...[...ROWS].map((_, row) => view.scan.scores.values[row * columns + column].toFixed(2)),
  ]);
  return [["residue", ...ROWS], ...body];
}

/** The cells above the diagonal of pairs that are not near along the chain, row by row. */
function* farPairs(length: number): Generator<number> {
  for (let i = 0; i < length; i++) {
    for (let j = i + SEPARATION; j < length; j++) yield i * length + j;
  }
}

/** Pairs i < j, the most probable first, as `esm2 contacts -o pairs.tsv`; L of them for reading. */
export function pairs(view: View, most = Infinity): Rows {
  const { columns: length, values } = view.contacts!;
  const cells = Uint32Array.from(farPairs(length)); // two million of 2,000 residues
  cells.sort((one, other) => values[other] - values[one] || one - other);
  const body = Array.from(cells.subarray(0, most), (cell) => [
    Math.floor(cell / length) + 1,
    (cell % length) + 1,
    digits(values[cell]),
  ]);
  body.unshift(["i", "j", "p"]);
  return body;
}

/** As `esm2 attentions -o attentions.csv`: a row for each layer. */
export function attentions(view: View): Rows {
  const { rows, columns, values } = view.attentions!;
  const body = Array.from({ length: rows }, (_, row) => [
    row + 1,
    ...Array.from(values.subarray(row * columns, (row + 1) * columns), digits),
  ]);
  return [["layer", ...view.own.map((_, index) => index + 1)], ...body];
}

/** The other way round, for reading: a row for each residue. */
export function attentionsByResidue(view: View): Rows {
  const { rows, columns, values } = view.attentions!;
  const layers = Array.from({ length: rows }, (_, row) => row);
  const body = view.own.map((residue, column) => [
    `${residue}${column + 1}`,
    ...layers.map((row) => values[row * columns + column].toFixed(4)),
  ]);
  return [["residue", ...layers.map((row) => `layer ${row + 1}`)], ...body];
}

export function filled(view: View, own: Filled): Rows {
  const body = own.positions.flatMap((position, row) =>
    ranked(own.p, row).map(({ letter, p }) => [position, view.own[position - 1], letter, digits(p)]),
  );
  return [["position", "residue", "amino_acid", "p"], ...body];
}
