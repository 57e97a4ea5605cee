/** What every figure has: a title, its drawing, a legend with units, downloads, a table. */

import { html, LitElement, nothing, type TemplateResult } from "lit";
import { ref } from "lit/directives/ref.js";
import { saveCsv, savePng } from "./download";
import { drawBar } from "./paint";
import type { Scale } from "./palettes";
import type { Rows } from "./tables";
import type { View } from "./view";

export interface Figure {
  id: string;
  title: string;
  file: string;
  drawing: TemplateResult;
  legend: TemplateResult;
  csv: () => Rows;
  table: () => Rows;
  controls?: TemplateResult;
}

/** A figure of what a model made of a protein; files are named by both, pictures say both. */
export function figure(view: View, own: Figure): TemplateResult {
  const file = `${view.id}-${own.file}`;
  const caption = `${view.id}, ${view.own.length} residues, ${view.model.slug}`;
  const element = (event: Event) => (event.target as Element).closest<HTMLElement>(".figure")!;
  return html`<section class="figure" id=${own.id} aria-labelledby="${own.id}-title">
    <header>
      <h2 data-picture id="${own.id}-title"><span data-text>${own.title}</span></h2>
      <div class="tools">
        ${own.controls ?? nothing}
        <button
          class="small"
          aria-label="Download ${own.title} as PNG"
          @click=${(event: Event) => savePng(element(event), file, caption)}
        >
          PNG
        </button>
        <button
          class="small"
          aria-label="Download ${own.title} as CSV"
          @click=${() => saveCsv(own.csv(), file)}
        >
          CSV
        </button>
      </div>
    </header>
    <div class="drawing" data-picture>${own.drawing}</div>
    <p class="legend" data-picture>${own.legend}</p>
    <number-table .make=${own.table} .name=${own.title}></number-table>
  </section>`;
}

/** A colour bar between its two ends, the higher with its unit, and what it shows. */
export function legend(
  scale: Scale,
  dark: boolean,
  ends: [string, string],
  sentence: string,
): TemplateResult {
  const bar = (canvas?: Element) => canvas && drawBar(canvas as HTMLCanvasElement, scale, dark);
  return html`<span class="scale"
      ><span data-text>${ends[0]}</span>
      <canvas class="bar" width="160" height="12" aria-hidden="true" ${ref(bar)}></canvas>
      <span data-text>${ends[1]}</span></span
    >
    <span data-text>${sentence}</span>`;
}

/** <number-table>: the rows are made when somebody wants to see them. */
class NumberTable extends LitElement {
  static properties = {
    make: { attribute: false },
    name: { attribute: false },
    open: { state: true },
  };

  declare make: () => Rows;
  declare name: string;
  declare open: boolean;

  override createRenderRoot(): this {
    return this;
  }

  override render() {
    return html`<details @toggle=${(event: Event) => (this.open = (event.target as HTMLDetailsElement).open)}>
      <summary>Numbers as a table</summary>
      ${this.open ? this.table() : nothing}
    </details>`;
  }

  private table(): TemplateResult {
    const [head, ...body] = this.make();
    return html`<div class="scrolling" tabindex="0" role="region" aria-label="${this.name}, table">
      <table>
        <thead>
          <tr>
            ${head.map((name) => html`<th scope="col">${name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${body.map(
            ([first, ...rest]) =>
              html`<tr>
                <th scope="row">${first}</th>
                ${rest.map((value) => html`<td>${value}</td>`)}
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
  }
}

customElements.define("number-table", NumberTable);
