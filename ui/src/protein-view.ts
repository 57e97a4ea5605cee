/** <protein-view>: what a model sees in one protein; pointing, zooming, masking, scanning. */

import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { guard } from "lit/directives/guard.js";
import { keyed } from "lit/directives/keyed.js";
import { Refused, type Call } from "./api";
import { zoomed, type Shown } from "./axis";
import { link } from "./asked";
import { LANGUAGES, written, type Language } from "./calls";
import type { Point } from "./dense-matrix";
import * as figures from "./figures";
import { ink } from "./paint";
import { fill, scan, scanCall, type Filled, type Strategy, type View } from "./view";
import * as words from "./words";

/** A track of Nightingale, which knows where its residues are. */
interface Track extends Element {
  getSeqPositionFromX(x: number): number | undefined;
}

class ProteinView extends LitElement {
  static properties = {
    view: { attribute: false },
    dark: { attribute: false },
    ...Object.fromEntries(
      ["scanned", "filled", "scanning", "filling", "shown", "language", "problem"].map((name) => [
        name,
        { state: true },
      ]),
    ),
  };

  declare view: View;
  declare dark: boolean;
  declare scanned: View;
  declare filled?: Filled;
  declare scanning: boolean;
  declare filling: boolean;
  declare shown: Shown;
  declare language: Language;
  declare problem?: string;

  /** What is being asked: neither ends the other. */
  private readonly asking = { scan: new AbortController(), fill: new AbortController() };
  private hovered = 0;

  constructor() {
    super();
    this.language = "curl";
    this.scanning = this.filling = false;
  }

  override createRenderRoot(): this {
    return this;
  }

  override willUpdate(changed: PropertyValues): void {
    if (!changed.has("view")) return;
    for (const own of Object.values(this.asking)) own.abort();
    this.scanned = this.view;
    this.filled = this.problem = undefined;
    this.scanning = this.filling = false;
    this.shown = { start: 1, end: this.view.own.length };
  }

  // --- asking ----------------------------------------------------------------------------------

  /** Ask the server; its refusal is shown above the figures, and told to the page. */
  private async asks(
    what: "scan" | "fill",
    work: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    this.asking[what].abort();
    const asking = (this.asking[what] = new AbortController());
    const busy = what === "scan" ? "scanning" : "filling";
    this.problem = undefined;
    this[busy] = true;
    try {
      await work(asking.signal);
    } catch (error) {
      if (asking.signal.aborted) return;
      if (!(error instanceof Refused)) throw error;
      this.problem = error.message;
      this.dispatchEvent(new CustomEvent("refused", { detail: error, bubbles: true }));
    } finally {
      if (this.asking[what] === asking) this[busy] = false;
    }
  }

  private async rescan(strategy: Strategy): Promise<void> {
    await this.asks("scan", async (signal) => {
      this.scanned = { ...this.view, scan: await scan(this.view, strategy, signal) };
    });
  }

  private async pick(position: number): Promise<void> {
    const before = this.filled?.positions ?? [];
    const after = before.includes(position)
      ? before.filter((own) => own !== position)
      : [...before, position].sort((one, other) => one - other);
    await this.asks("fill", async (signal) => {
      this.filled = after.length ? await fill(this.view, after, signal) : undefined;
      await this.updateComplete;
      this.querySelector("#filled")?.scrollIntoView({ block: "nearest" });
    });
  }

  // --- pointing and zooming --------------------------------------------------------------------

  private tell(point?: Point): void {
    const tip = this.querySelector<HTMLElement>("#tip")!;
    tip.hidden = !point;
    if (!point) return;
    tip.textContent = point.text;
    const right = innerWidth - tip.offsetWidth - 8;
    const below = point.y + 18;
    const fits = below + tip.offsetHeight < innerHeight;
    tip.style.left = `${Math.max(8, Math.min(point.x + 14, right))}px`;
    tip.style.top = `${fits ? below : point.y - tip.offsetHeight - 10}px`;
    if (point.keyboard) this.querySelector("#said")!.textContent = point.text;
  }

  /** Nightingale's elements and ours tell of zooming in the same way. */
  private onChange({ detail }: CustomEvent): void {
    if (detail?.["display-start"] === undefined) return;
    this.shown = { start: detail["display-start"], end: detail["display-end"] };
  }

  private onTrackMove(event: MouseEvent): void {
    const axis = this.querySelector("nightingale-sequence") as unknown as Track;
    const x = event.clientX - axis.getBoundingClientRect().left;
    const position = Math.floor(axis.getSeqPositionFromX(x) ?? 0);
    this.hovered = position >= 1 && position <= this.view.own.length ? position : 0;
    if (!this.hovered) {
      this.tell();
      return;
    }
    this.show({ highlight: `${position}:${position}` });
    const text = words.sayResidue(this.view, position);
    this.tell({ text, position, x: event.clientX, y: event.clientY, keyboard: false });
  }

  private onTrackClick(event: Event): void {
    const track = (event.target as Element).closest(
      "nightingale-sequence, nightingale-linegraph-track, nightingale-conservation-track",
    );
    if (track && this.hovered) void this.pick(this.hovered);
  }

  /** Tell all figures, as one of them would. */
  private show(detail: Record<string, unknown>): void {
    const manager = this.querySelector("nightingale-manager");
    manager?.dispatchEvent(new CustomEvent("change", { detail, bubbles: true }));
  }

  private showRange({ start, end }: Shown): void {
    this.show({ "display-start": start, "display-end": end });
  }

  private zoom(factor: number): void {
    const { start, end } = this.shown;
    this.showRange(zoomed(this.shown, factor, (start + end + 1) / 2, this.view.own.length));
  }

  private onBound(name: "start" | "end", event: Event): void {
    const value = Number((event.target as HTMLInputElement).value) || 1;
    const bounded = Math.max(1, Math.min(this.view.own.length, value));
    const shown = { ...this.shown, [name]: bounded };
    if (shown.start < shown.end) this.showRange(shown);
    else this.requestUpdate();
  }

  // --- drawing ---------------------------------------------------------------------------------

  override render() {
    const { view, dark } = this;
    const [paper, accent, line] = ["--paper", "--accent", "--line"].map(ink);
    const colours = { dark, paper, accent, line, highlight: `${accent}40` };
    const clear = () => (this.filled = undefined);
    return html`<section class="results" aria-label="Results">
        <div class="label told">
          <p class="summary" role="status">
            <strong>${view.id}</strong>: ${words.count(view.own.length)} residues,
            ${view.model.slug}, ${view.model.dtype} on ${view.model.device},
            ${view.seconds.toFixed(2)} s
          </p>
          <copy-button
            .text=${link(view.model.slug, view.id, view.own.join(""))}
            .label=${"Copy link"}
            .name=${"Copy link: it has the sequence in it"}
          ></copy-button>
        </div>
        ${this.toolbar()}
        ${this.problem ? html`<p class="problem" role="alert">${this.problem}</p>` : nothing}
        ${keyed(
          view,
          html`<nightingale-manager
            length=${view.own.length}
            @change=${this.onChange}
            @point=${(event: CustomEvent) => this.tell(event.detail)}
            @pick=${(event: CustomEvent) => this.pick(event.detail.position)}
          >
            ${guard([dark], () => this.tracks(colours))}
            ${guard([this.filled, dark], () =>
              this.filled ? figures.filledFigure(view, this.filled, colours, clear) : nothing,
            )}
            ${guard([this.scanned, this.scanning, dark], () =>
              figures.scanFigure(this.scanned, colours, this.scanning, (own) => this.rescan(own)),
            )}
            ${guard([dark], () => (view.attentions ? figures.attentionFigure(view, colours) : nothing))}
            ${guard([dark], () => (view.contacts ? figures.contactFigure(view, colours) : nothing))}
          </nightingale-manager>`,
        )}
        ${this.absent()} ${this.calls()}
      </section>
      <div id="tip" role="tooltip" hidden></div>
      <p id="said" class="unseen" aria-live="polite"></p>`;
  }

  private tracks(colours: figures.Ink): TemplateResult {
    return html`<div
      class="tracks"
      @mousemove=${this.onTrackMove}
      @mouseleave=${() => this.tell()}
      @click=${this.onTrackClick}
    >
      ${figures.sequenceTrack(this.view, colours)} ${figures.entropyFigure(this.view, colours)}
      ${figures.logoFigure(this.view, colours)}
    </div>`;
  }

  private toolbar(): TemplateResult {
    const length = this.view.own.length;
    const bound = (name: "start" | "end", label: string) =>
      html`<label
        >${label}
        <input
          type="number"
          min="1"
          max=${length}
          .value=${`${Math.round(this.shown[name])}`}
          @change=${(event: Event) => this.onBound(name, event)}
      /></label>`;
    return html`<div class="row toolbar" role="group" aria-label="Zoom and mask">
      ${bound("start", "from")} ${bound("end", "to")}
      <button class="small" aria-label="Zoom in" @click=${() => this.zoom(0.5)}>+</button>
      <button class="small" aria-label="Zoom out" @click=${() => this.zoom(2)}>−</button>
      <button class="small" @click=${() => this.showRange({ start: 1, end: length })}>whole</button>
      <form
        class="row"
        @submit=${(event: Event) => {
          event.preventDefault();
          const field = (event.target as HTMLFormElement).elements.namedItem("mask");
          void this.pick(Number((field as HTMLInputElement).value));
        }}
      >
        <label>residue <input type="number" name="mask" min="1" max=${length} required /></label>
        <button class="small">mask</button>
      </form>
      <span class="hint" role="status"
        >${this.filling
          ? "Computing what fits at the masked residues…"
          : "Click a residue to mask it; drag, or turn the wheel with Ctrl, to move and zoom."}</span
      >
    </div>`;
  }

  private absent(): TemplateResult | typeof nothing {
    const { call, contacts, model } = this.view;
    if (call.action === "predict") {
      return html`<p class="hint">
        A sequence with <code>&lt;mask&gt;</code> has logits only: contacts and attention are of
        whole sequences.
      </p>`;
    }
    if (contacts) return nothing;
    return html`<p class="hint">${model.slug} has no contact head, so there is no contact map.</p>`;
  }

  private calls(): TemplateResult {
    const calls: [string, Call][] = [["The figures", this.view.call]];
    if (this.filled) calls.push(["The masked residues", this.filled.call]);
    if (this.scanned.scan.strategy === "masked-marginals") {
      calls.push(["The scan", scanCall(this.view)]);
    }
    return html`<section class="figure calls" aria-labelledby="calls-title">
      <header>
        <h2 id="calls-title">The same by program</h2>
        <div class="tools" role="group" aria-label="Language">
          ${LANGUAGES.map(
            (own) =>
              html`<button
                class="small"
                aria-pressed=${own === this.language}
                @click=${() => (this.language = own)}
              >
                ${own}
              </button>`,
          )}
        </div>
      </header>
      ${calls.map(([name, call]) => {
        const text = written(call, this.language);
        return html`<div class="call">
          <div class="label">
            <span>${name}</span>
            <copy-button .text=${text} .label=${"Copy"} .name=${`Copy: ${name}`}></copy-button>
          </div>
          <pre tabindex="0" role="region" aria-label="${name}, ${this.language}">${text}</pre>
        </div>`;
      })}
    </section>`;
  }
}

customElements.define("protein-view", ProteinView);
