/** The figures of one answer, on one axis. */

import { html, svg, type TemplateResult } from "lit";
import { EDGE, GUTTER } from "./axis";
import { figure, legend } from "./figure";
import { AMINO_ACIDS, GROUPS, isAminoAcid, mostProbableContact, quantile, ranked, ROWS } from "./science";
import * as tables from "./tables";
import type { Filled, Strategy, View } from "./view";
import * as words from "./words";

/** Colours that Nightingale's elements want as values. */
export interface Ink {
  dark: boolean;
  paper: string;
  accent: string;
  line: string;
  highlight: string;
}

/** Nightingale draws before it knows its width; its margins must fit into what it assumes. */
const NARROWEST = 120;
const HIGHEST_ENTROPY = Math.log(20);
/** The colours of nightingale-conservation-track. */
const CLUSTAL = [
  ["AVILMFW", "hydrophobic", "#80a0f0"],
  ["STNQ", "polar", "#15c015"],
  ["KR", "positive", "#f01505"],
  ["DE", "negative", "#c048c0"],
  ["HY", "aromatic", "#15a4a4"],
  ["G", "glycine", "#f09048"],
  ["P", "proline", "#c0c000"],
  ["C", "cysteine", "#f08080"],
];
/** A few weights are far above all others, and would leave nothing to see of those. */
const SHARE_BELOW_TOP = 0.99;
/** A scale of contacts ends no lower, or noise would look like contacts. */
const FAINTEST = 0.1;
const BAR = 18; // pixels a bar
const LONGEST_BAR = 300;

export function sequenceTrack(view: View, ink: Ink): TemplateResult {
  return html`<div class="figure axis" data-picture>
    <nightingale-navigation
      height="40"
      min-width=${NARROWEST}
      length=${view.own.length}
      margin-left=${GUTTER - 10}
      margin-right=${EDGE - 10}
      margin-color=${ink.paper}
    ></nightingale-navigation>
    <nightingale-sequence
      height="24"
      min-width=${NARROWEST}
      length=${view.own.length}
      .data=${view.own.map((own) => (own.length > 1 ? "?" : own)).join("")}
      margin-left=${GUTTER}
      margin-right=${EDGE}
      margin-color=${ink.paper}
      highlight-color=${ink.highlight}
      use-ctrl-to-zoom
    ></nightingale-sequence>
    <position-axis length=${view.own.length} .dark=${ink.dark}></position-axis>
  </div>`;
}

export function entropyFigure(view: View, ink: Ink): TemplateResult {
  const values = view.entropy.map((value, index) => ({ position: index + 1, value }));
  const colours = { color: ink.line, fill: ink.line };
  const line = { name: "entropy-line", range: [0, HIGHEST_ENTROPY], ...colours, values };
  return figure(view, {
    id: "entropy",
    title: "Entropy",
    file: "entropy",
    drawing: html`<div class="scaled">
      <span class="high" data-text>3.0 nats</span><span class="low" data-text>0</span>
      <nightingale-linegraph-track
        height="64"
        min-width=${NARROWEST}
        length=${view.own.length}
        .data=${[line]}
        margin-left=${GUTTER}
        margin-right=${EDGE}
        margin-color=${ink.paper}
        highlight-color=${ink.highlight}
        use-ctrl-to-zoom
      ></nightingale-linegraph-track>
      <position-axis length=${view.own.length} .dark=${ink.dark}></position-axis>
    </div>`,
    legend: html`<span data-text
      >of the probabilities of the 20 amino acids, in nats: 0 where the model is certain, ln 20 = 3.0
      where it has no idea</span
    >`,
    csv: () => tables.distributions(view),
    table: () => tables.mostProbable(view),
  });
}

export function logoFigure(view: View, ink: Ink): TemplateResult {
  const probabilities = Object.fromEntries(
    [...AMINO_ACIDS].map((letter, column) => [
      letter,
      view.own.map((_, row) => view.p.values[20 * row + column]),
    ]),
  );
  const data = { index: view.own.map((_, index) => index + 1), probabilities };
  return figure(view, {
    id: "logo",
    title: "What the model expects",
    file: "probabilities",
    drawing: html`<div class="scaled">
      <span class="high" data-text>100 %</span><span class="low" data-text>0</span>
      <nightingale-conservation-track
        height="130"
        min-width=${NARROWEST}
        length=${view.own.length}
        letter-order="probability"
        .data=${data}
        margin-left=${GUTTER}
        margin-right=${EDGE}
        margin-color=${ink.paper}
        highlight-color=${ink.highlight}
        use-ctrl-to-zoom
      ></nightingale-conservation-track>
      <position-axis length=${view.own.length} .dark=${ink.dark}></position-axis>
    </div>`,
    legend: html`<span class="key"
        >${CLUSTAL.map(
          ([letters, name, colour]) =>
            html`<span class="pair"
              ><span data-text style="color: ${colour}" aria-hidden="true">■</span>
              <span data-text>${letters} ${name}</span></span
            > `,
        )}</span
      >
      <span data-text
        >probability of each amino acid, nothing masked, the most probable above; letters appear
        when there is room: zoom in</span
      >`,
    csv: () => tables.distributions(view),
    table: () => tables.mostProbable(view),
  });
}

export function scanFigure(
  view: View,
  ink: Ink,
  busy: boolean,
  choose: (strategy: Strategy) => void,
): TemplateResult {
  const { scores, limit, strategy } = view.scan;
  const marks = view.own.map((own) => (isAminoAcid(own) ? ROWS.indexOf(own) : -1));
  const passes = `${view.own.length} passes`;
  return figure(view, {
    id: "scan",
    title: "Every substitution",
    file: `scan-${strategy}`,
    controls: html`<label
      >${busy ? html`<span class="busy" role="status">computing…</span>` : ""}
      <select
        aria-label="How substitutions are scored"
        .value=${strategy}
        ?disabled=${view.call.action === "predict"}
        @change=${(event: Event) => choose((event.target as HTMLSelectElement).value as Strategy)}
      >
        <option value="wt-marginals" ?selected=${strategy === "wt-marginals"}>
          nothing masked (1 pass)
        </option>
        <option value="masked-marginals" ?selected=${strategy === "masked-marginals"}>
          each residue masked (${passes})
        </option>
      </select></label
    >`,
    drawing: html`<dense-matrix
      length=${view.own.length}
      .matrix=${scores}
      .scale=${"diverging"}
      .low=${-limit}
      .high=${limit}
      .labels=${[...ROWS]}
      .groups=${GROUPS}
      .marks=${marks}
      .dark=${ink.dark}
      .describe=${(row: number, column: number) => words.sayScore(view, row, column)}
      .name=${"Scores of every substitution"}
      rowheight="14"
    ></dense-matrix>`,
    legend: legend(
      "diverging",
      ink.dark,
      [`−${limit.toFixed(1)}`, `+${limit.toFixed(1)} nats`],
      `log p(mutant) − log p(wild type), ${strategy}; red: less likely than the residue that is there, blue: more likely, 0 in the middle; • wild type`,
    ),
    csv: () => tables.substitutions(view),
    table: () => tables.scores(view),
  });
}

export function attentionFigure(view: View, ink: Ink): TemplateResult {
  const { rows, values } = view.attentions!;
  const high = quantile(values, SHARE_BELOW_TOP) || 1;
  return figure(view, {
    id: "attention",
    title: "Attention",
    file: "attention",
    drawing: html`<dense-matrix
      length=${view.own.length}
      .matrix=${view.attentions!}
      .scale=${"probability"}
      .low=${0}
      .high=${high}
      .labels=${Array.from({ length: rows }, (_, row) => `layer ${row + 1}`)}
      .dark=${ink.dark}
      .describe=${(row: number, column: number) => words.sayAttention(view, row, column)}
      .name=${"Attention by layer and residue"}
      rowheight=${rows > 12 ? 8 : 14}
    ></dense-matrix>`,
    legend: legend(
      "probability",
      ink.dark,
      ["0", `${high.toPrecision(2)} or more`],
      "weight that a residue receives: mean over heads and over all tokens that look, BOS and EOS among them; each token spends 1 in all",
    ),
    csv: () => tables.attentions(view),
    table: () => tables.attentionsByResidue(view),
  });
}

export function contactFigure(view: View, ink: Ink): TemplateResult {
  const highest = Math.max(FAINTEST, mostProbableContact(view.contacts!));
  return figure(view, {
    id: "contacts",
    title: "Contacts",
    file: "contacts",
    drawing: html`<dense-matrix
      square
      length=${view.own.length}
      .matrix=${view.contacts!}
      .scale=${"probability"}
      .low=${0}
      .high=${highest}
      .dark=${ink.dark}
      .describe=${(row: number, column: number) => words.sayContact(view, row, column)}
      .name=${"Contact probability of every pair of residues"}
    ></dense-matrix>`,
    legend: legend(
      "probability",
      ink.dark,
      ["0", highest.toFixed(2)],
      "probability that two residues touch (Cβ to Cβ less than 8 Å); the scale ends at the highest of pairs 6 or more apart in the chain; where pairs share a pixel, the highest is seen",
    ),
    csv: () => tables.pairs(view),
    table: () => tables.pairs(view, view.own.length),
  });
}

/** The distribution at each masked residue. */
export function filledFigure(view: View, own: Filled, ink: Ink, clear: () => void): TemplateResult {
  return figure(view, {
    id: "filled",
    title: "Masked residues",
    file: `masked-${own.positions.join("-")}`,
    controls: html`<button class="small" @click=${clear}>Unmask</button>`,
    drawing: html`<div class="distributions">
      ${own.positions.map((position, row) => distribution(view, own, position, row, ink))}
    </div>`,
    legend: html`<span data-text
      >probability of each amino acid where the residue cannot be seen; the outlined bar is the
      residue that is there</span
    >`,
    csv: () => tables.filled(view, own),
    table: () => tables.filled(view, own),
  });
}

function distribution(view: View, own: Filled, position: number, row: number, ink: Ink) {
  const there = view.own[position - 1];
  const best = ranked(own.p, row);
  const highest = best[0].p;
  const said = best.slice(0, 3).map(({ letter, p }) => `${letter} ${words.percent(p)}`);
  return html`<div class="distribution">
    <h3 data-text>${words.residueAt(view, position)}</h3>
    <p data-text>${words.sayFilled(there, best)}</p>
    <svg
      role="img"
      aria-label="${words.residueAt(view, position)} masked: ${said.join(", ")}"
      width=${LONGEST_BAR + 100}
      height=${BAR * best.length}
      viewBox="0 0 ${LONGEST_BAR + 100} ${BAR * best.length}"
    >
      ${best.map(({ letter, p }, index) => {
        const y = index * BAR;
        const width = Math.max(1, (p / highest) * LONGEST_BAR);
        return svg`<text class="letter" x="8" y=${y + 13}>${letter}</text>
          <rect x="24" y=${y + 3} height=${BAR - 5} width=${width} fill=${ink.line}
            stroke=${letter === there ? ink.accent : "none"} stroke-width="2.5"></rect>
          <text class="value" x=${30 + width} y=${y + 13}>${words.percent(p)}</text>`;
      })}
    </svg>
  </div>`;
}
