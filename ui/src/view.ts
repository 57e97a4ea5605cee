/** What is on the screen, computed once for each answer. */

import { arrays, type Call, type Model } from "./api";
import type { Matrix } from "./safetensors";
import * as science from "./science";

export type Strategy = "wt-marginals" | "masked-marginals";

/** A sequence and what a model made of it. */
export interface View {
  model: Model;
  id: string;
  own: string[];
  call: Call;
  seconds: number;
  logits: Matrix;
  p: Matrix;
  entropy: number[];
  contacts?: Matrix;
  attentions?: Matrix;
  scan: Scan;
}

/** Scores of every substitution, 20 x L. */
export interface Scan {
  strategy: Strategy;
  scores: Matrix;
  limit: number;
}

/** Positions that were masked together, and what the model puts there: a row for each position. */
export interface Filled {
  positions: number[];
  call: Call;
  p: Matrix;
}

/** Ask for everything; a sequence with `<mask>` has logits only, which is what the API gives. */
export async function look(
  model: Model,
  id: string,
  sequence: string,
  signal: AbortSignal,
): Promise<View> {
  const begun = performance.now();
  const own = science.residues(sequence);
  const include = ["logits", "attentions", ...(model.contacts ? ["contacts"] : [])];
  const masked = own.includes(science.MASK);
  const call: Call = masked
    ? { slug: model.slug, action: "predict", body: { items: [{ sequence }] } }
    : { slug: model.slug, action: "encode", body: { items: [{ sequence }], params: { include } } };
  const found = await arrays(call, signal);
  const logits = found.get("0.logits")!;
  const p = science.probabilities(logits);
  const scores = science.scan(logits, own);
  return {
    model,
    id,
    own,
    call,
    seconds: (performance.now() - begun) / 1000,
    logits,
    p,
    entropy: science.entropies(p),
    contacts: found.get("0.contacts"),
    attentions: found.get("0.attentions"),
    scan: { strategy: "wt-marginals", scores, limit: science.magnitude(scores.values) },
  };
}

/** The call that scores every substitution with each residue masked in its turn. */
export function scanCall(view: View): Call {
  const body = {
    items: [{ sequence: view.own.join("") }],
    params: { strategy: "masked-marginals" },
  };
  return { slug: view.model.slug, action: "scan", body };
}

export async function scan(view: View, strategy: Strategy, signal: AbortSignal): Promise<Scan> {
  const scores =
    strategy === "wt-marginals"
      ? science.scan(view.logits, view.own)
      : science.scanOf((await arrays(scanCall(view), signal)).get("0.scores")!, view.own);
  return { strategy, scores, limit: science.magnitude(scores.values) };
}

/** Mask residues (positions from 1) and see what the model puts there. */
export async function fill(view: View, positions: number[], signal: AbortSignal): Promise<Filled> {
  const masked = view.own.map((own, index) => (positions.includes(index + 1) ? science.MASK : own));
  const call: Call = {
    slug: view.model.slug,
    action: "predict",
    body: { items: [{ sequence: masked.join("") }] },
  };
  const logits = (await arrays(call, signal)).get("0.logits")!;
  const rows = positions.flatMap((position) =>
    Array.from(logits.values.subarray(20 * (position - 1), 20 * position)),
  );
  const chosen = { rows: positions.length, columns: 20, values: Float32Array.from(rows) };
  return { positions, call, p: science.probabilities(chosen) };
}
