/** The little arithmetic that the page does itself; the definitions are those of docs/scoring.md. */

import type { Matrix } from "./safetensors";

/** The columns of logits, in the order of the API. */
export const AMINO_ACIDS = "LAGVSERTIDPKQNFYMHWC";
/** The rows of the scan, by chemistry. */
export const GROUPS = [
  ["aliphatic", "AVILM"],
  ["aromatic", "FWY"],
  ["polar", "STNQ"],
  ["positive", "KRH"],
  ["negative", "DE"],
  ["special", "CGP"],
] as const;
export const ROWS = GROUPS.map((group) => group[1]).join("");
export const MASK = "<mask>";
/** Pairs that are nearer than this along the chain are in contact anyway. */
export const SEPARATION = 6;

/** A sequence as residues; `<mask>` is one. */
export function residues(sequence: string): string[] {
  return sequence.match(/<mask>|[^]/gu) ?? [];
}

/** Probabilities of the 20 amino acids, row by row: softmax over the 20 columns. */
export function probabilities(logits: Matrix): Matrix {
  const values = new Float32Array(logits.values.length);
  for (let row = 0; row < logits.rows; row++) {
    const begin = row * logits.columns;
    const own = logits.values.subarray(begin, begin + logits.columns);
    const highest = Math.max(...own);
    const weights = Array.from(own, (logit) => Math.exp(logit - highest));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    weights.forEach((weight, column) => (values[begin + column] = weight / sum));
  }
  return { ...logits, values };
}

/** Entropy of each row of probabilities in nats: 0 is certain, ln 20 = 3.0 is no idea. */
export function entropies(p: Matrix): number[] {
  return Array.from({ length: p.rows }, (_, row) => {
    const own = p.values.subarray(row * p.columns, (row + 1) * p.columns);
    return -own.reduce((sum, value) => sum + (value > 0 ? value * Math.log(value) : 0), 0);
  });
}

/** The amino acids of a row of probabilities, the most probable first. */
export function ranked(p: Matrix, row: number): { letter: string; p: number }[] {
  const own = p.values.subarray(row * p.columns, (row + 1) * p.columns);
  return Array.from(own, (value, column) => ({ letter: AMINO_ACIDS[column], p: value })).sort(
    (one, other) => other.p - one.p,
  );
}

/**
 * wt-marginals of every substitution: 20 x L, rows as `ROWS`, log p(mt) - log p(wt) in nats.
 *
 * Both come from the same softmax, so the difference is that of the logits. NaN where the residue is
 * none of the 20.
 */
export function scan(logits: Matrix, own: string[]): Matrix {
  return table(
    own,
    (position, letter) => at(logits, position, letter) - at(logits, position, own[position]),
  );
}

/** The same matrix out of the API's scan, L x 20, columns as of logits. */
export function scanOf(scores: Matrix, own: string[]): Matrix {
  return table(own, (position, letter) => at(scores, position, letter));
}

function at(matrix: Matrix, position: number, letter: string): number {
  return matrix.values[position * matrix.columns + AMINO_ACIDS.indexOf(letter)];
}

function table(own: string[], score: (position: number, letter: string) => number): Matrix {
  const values = new Float32Array(20 * own.length).fill(NaN);
  own.forEach((residue, position) => {
    if (!isAminoAcid(residue)) return;
    [...ROWS].forEach((letter, row) => {
      values[row * own.length + position] = score(position, letter);
    });
  });
  return { rows: 20, columns: own.length, values };
}

export function isAminoAcid(residue: string): boolean {
  return residue.length === 1 && AMINO_ACIDS.includes(residue);
}

/** The value that a share of all values is below. */
export function quantile(values: Float32Array, share: number): number {
  return values.slice().sort()[Math.floor(share * (values.length - 1))];
}

/** The greatest magnitude, for a scale that is symmetric around 0. */
export function magnitude(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value) || 0), 0) || 1;
}

/** The highest probability of a pair that is not near along the chain. */
export function mostProbableContact({ columns, values }: Matrix): number {
  let most = 0;
  for (let i = 0; i < columns; i++) {
    for (let j = i + SEPARATION; j < columns; j++) most = Math.max(most, values[i * columns + j]);
  }
  return most;
}
