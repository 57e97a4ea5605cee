/**
 * The one position axis that every figure shares, with Nightingale's own arithmetic.
 *
 *     | GUTTER |  start ........................ end  | EDGE |
 *
 * Positions count from 1; `start` and `end` are both shown, and may be fractions while zooming.
 */

export const GUTTER = 68;
export const EDGE = 14;
const FEWEST = 8; // positions

export interface Shown {
  start: number;
  end: number;
}

/** Zoom by a factor (> 1 shows more) around a position, within 1..length. */
export function zoomed(shown: Shown, factor: number, around: number, length: number): Shown {
  const span = shown.end + 1 - shown.start;
  const wanted = Math.min(length, Math.max(Math.min(FEWEST, length), span * factor));
  const share = (around - shown.start) / span;
  return within(around - share * wanted, wanted, length);
}

/** Move by some positions, within 1..length. */
export function moved(shown: Shown, by: number, length: number): Shown {
  return within(shown.start + by, shown.end + 1 - shown.start, length);
}

function within(start: number, span: number, length: number): Shown {
  const first = Math.max(1, Math.min(start, length + 1 - span));
  return { start: first, end: first + span - 1 };
}

/** Round positions to write beside an axis of so many pixels: 1, 20, 40, ... */
export function ticks(shown: Shown, pixels: number): number[] {
  const rough = ((shown.end - shown.start + 1) / pixels) * 55;
  const steps = [0, 1, 2, 3].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));
  const step = steps.find((own) => own >= rough) ?? 5000;
  const first = Math.ceil(shown.start / step) * step;
  const found: number[] = shown.start <= 1 && step > 1 ? [1] : [];
  for (let position = first; position <= shown.end; position += step) {
    if (position - (found.at(-1) ?? -step) > step / 2) found.push(position);
  }
  return found;
}
