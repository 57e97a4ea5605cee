/** How numbers and residues are written. */

import { isAminoAcid, MASK, ranked, ROWS } from "./science";
import type { View } from "./view";

export const nats = (value: number): string => value.toFixed(3).replace("-", "−");
export const percent = (p: number): string =>
  p >= 0.1 ? `${(100 * p).toFixed(0)} %` : `${(100 * p).toPrecision(2)} %`;
export const count = (value: number): string => Math.round(value).toLocaleString("en");

/** "G12"; a masked residue is "<mask>12". */
export const residueAt = (view: View, position: number): string =>
  `${view.own[position - 1]}${position}`;

export function sayResidue(view: View, position: number): string {
  const best = ranked(view.p, position - 1).slice(0, 3);
  const entropy = view.entropy[position - 1].toFixed(3);
  const letters = best.map(({ letter, p }) => `${letter} ${percent(p)}`).join(", ");
  return `${residueAt(view, position)}: entropy ${entropy} nats; ${letters}`;
}

/** Where the residue that is there stands among those that the model would put there. */
export function sayFilled(there: string, best: { letter: string; p: number }[]): string {
  const entropy = -best.reduce((sum, { p }) => sum + (p > 0 ? p * Math.log(p) : 0), 0);
  const rank = best.findIndex(({ letter }) => letter === there);
  const sure = `entropy ${entropy.toFixed(2)} nats`;
  return rank < 0 ? sure : `${there} is number ${rank + 1} of 20, ${percent(best[rank].p)}; ${sure}`;
}

export function sayScore(view: View, row: number, column: number): string {
  const [own, mutant] = [view.own[column], ROWS[row]];
  if (!isAminoAcid(own)) {
    return `${residueAt(view, column + 1)}: ${own === MASK ? "masked" : "no natural amino acid"}`;
  }
  if (own === mutant) return `${residueAt(view, column + 1)}: the residue that is there`;
  const score = view.scan.scores.values[row * view.own.length + column];
  return `${residueAt(view, column + 1)}${mutant}: ${nats(score)} nats`;
}

export function sayContact(view: View, row: number, column: number): string {
  const p = view.contacts!.values[row * view.own.length + column];
  return `${residueAt(view, row + 1)} – ${residueAt(view, column + 1)}: contact probability ${p.toFixed(4)}`;
}

export function sayAttention(view: View, row: number, column: number): string {
  const weight = view.attentions!.values[row * view.own.length + column];
  return `layer ${row + 1}, ${residueAt(view, column + 1)}: mean attention ${weight.toFixed(5)}`;
}

/** Parameters as models are named: 2.7M, 650M, 3B. */
export function size(parameters: number): string {
  const [unit, letter] = parameters >= 1e9 ? [1e9, "B"] : [1e6, "M"];
  return `${(parameters / unit).toPrecision(parameters / unit >= 100 ? 3 : 2)}${letter}`;
}
