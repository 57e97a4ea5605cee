/** <esm2-app>: the page. What is asked, and what went wrong where. */

import { html, LitElement, nothing, type TemplateResult } from "lit";
import * as api from "./api";
import { asked, remember, type Asked } from "./asked";
import { EXAMPLES } from "./examples";
import { pasted, tidied } from "./fasta";
import { modelsView } from "./models";
import "./protein-view";
import { residues } from "./science";
import { look, type View } from "./view";
import { size } from "./words";

const EVERY = 2000; // milliseconds between two looks at the queues

/** Where an error belongs. */
type Place = "server" | "token" | "sequence";

class App extends LitElement {
  static properties = Object.fromEntries(
    ["info", "text", "record", "slug", "busy", "problem", "guarded", "view", "dark", "now"].map(
      (name) => [name, { state: true }],
    ),
  );

  declare info?: api.Info;
  declare text: string;
  declare record: number;
  declare slug: string;
  declare busy: boolean;
  declare problem?: { place: Place; message: string };
  declare guarded: boolean;
  declare view?: View;
  declare dark: boolean;
  declare now: Map<string, api.Now>;

  private asking = new AbortController();
  private next?: number;
  private readonly showsModels = location.pathname.endsWith("/models");

  constructor() {
    super();
    this.text = this.slug = "";
    this.record = 0;
    this.busy = this.guarded = false;
    this.now = new Map();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark = dark.matches;
    dark.addEventListener("change", () => (this.dark = dark.matches));
  }

  override createRenderRoot(): this {
    this.replaceChildren(); // what is there for browsers without JavaScript
    return this;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    void this.start();
    if (!this.showsModels) addEventListener("popstate", () => this.restore(asked()));
  }

  /** Ask what there is; a server with tokens wants one for that, too. */
  private start(): Promise<void> {
    return this.trying("server", async () => {
      this.info = await api.info();
      this.slug = this.info.models[0].slug;
      if (this.showsModels) void this.watch();
      else this.restore(asked());
    });
  }

  // --- asking ----------------------------------------------------------------------------------

  private get model(): api.Model | undefined {
    return this.info?.models.find((model) => model.slug === this.slug);
  }

  /** Do something that the server may refuse; its sentence is shown where it belongs. */
  private async trying(place: Place, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.asking.abort();
    const asking = (this.asking = new AbortController());
    this.problem = undefined;
    this.busy = place === "sequence";
    try {
      await work(asking.signal);
    } catch (error) {
      if (asking.signal.aborted) return;
      if (!(error instanceof api.Refused)) throw error;
      await this.refused(error, place);
    } finally {
      if (this.asking === asking) this.busy = false;
    }
  }

  private async refused(error: api.Refused, place: Place): Promise<void> {
    const aboutToken = error.code.startsWith("auth.");
    const aboutSequence = place === "sequence" && error.code.startsWith("request.");
    const belongs = aboutToken ? "token" : aboutSequence ? "sequence" : "server";
    this.guarded ||= aboutToken;
    const message =
      aboutToken && !api.hasToken() ? "Enter the token that you were given." : error.message;
    this.problem = { place: belongs, message };
    await this.updateComplete;
    this.querySelector<HTMLElement>(".problem")?.scrollIntoView({ block: "nearest" });
    if (aboutToken) this.querySelector<HTMLInputElement>("#token")?.focus();
  }

  private async run(): Promise<void> {
    const records = pasted(this.text);
    const own = records[this.record] ?? records[0];
    const model = this.model;
    if (!model) return;
    if (!own?.sequence) {
      const message =
        records.length > 1
          ? `Record ${own.id} has no residues; choose another, or complete it.`
          : "Paste a protein, or pick an example.";
      this.problem = { place: "sequence", message };
      return;
    }
    const { text, record, slug } = this;
    await this.trying("sequence", async (signal) => {
      this.view = await look(model, own.id, own.sequence, signal);
      remember({ text, record, slug });
    });
    if (this.problem?.place === "sequence") this.markLetter(own.sequence, own.places);
  }

  /** What was asked before a reload or in another entry of the history, or is asked by a link. */
  private restore(before?: Asked): void {
    if (!before) return;
    this.text = before.text;
    this.record = before.record;
    const known = this.info?.models.some((model) => model.slug === before.slug);
    if (known) this.slug = before.slug;
    if (known || !before.slug) void this.run();
    else {
      const message = `This was looked at with ${before.slug}, which this server does not have; Look asks ${this.slug}.`;
      this.problem = { place: "sequence", message };
    }
  }

  /** Select the letter that the server's sentence is about. */
  private markLetter(sequence: string, places: number[]): void {
    const position = Number(/residue (\d+) is/.exec(this.problem!.message)?.[1]);
    if (!position) return;
    const before = residues(sequence).slice(0, position - 1).join("").length;
    const area = this.querySelector<HTMLTextAreaElement>("#sequence")!;
    area.focus();
    area.setSelectionRange(places[before], places[before] + 1);
  }

  /** Look at the queues again and again, also when the server was away; not for a hidden page. */
  private async watch(): Promise<void> {
    clearTimeout(this.next);
    if (!document.hidden) {
      try {
        this.now = new Map((await api.now()).map((own) => [own.slug, own]));
        this.problem = undefined;
      } catch (error) {
        if (!(error instanceof api.Refused)) throw error;
        this.now = new Map();
        if (this.problem?.message !== error.message) await this.refused(error, "server");
        if (error.code.startsWith("auth.")) return;
      }
    }
    this.next = window.setTimeout(() => void this.watch(), EVERY);
  }

  private take(text: string): void {
    this.text = text;
    this.record = 0;
    void this.run();
  }

  private choose(event: Event): void {
    this.slug = (event.target as HTMLSelectElement).value;
    if (this.view) void this.run();
  }

  // --- drawing ---------------------------------------------------------------------------------

  override render() {
    return html`<header class="top">
        <a class="brand" href=".">esm2</a>
        <nav aria-label="Pages">
          <a href="." aria-current=${this.showsModels ? nothing : "page"}>Look at a protein</a>
          <a href="models" aria-current=${this.showsModels ? "page" : nothing}>Models</a>
          <a href="docs">API</a>
        </nav>
      </header>
      <main>
        ${this.banner()} ${this.problemAt("server")}
        ${this.info ? this.main(this.info) : this.guarded ? this.closed() : nothing}
      </main>`;
  }

  private closed(): TemplateResult {
    return html`<h1>${this.showsModels ? "Models" : "Look at a protein"}</h1>
      ${this.tokenForm()}`;
  }

  private main(info: api.Info): TemplateResult {
    const token = this.guarded ? this.tokenForm() : nothing;
    if (this.showsModels) return html`${token} ${modelsView(info, this.now)}`;
    return html`${this.askForm(info)} ${token}
    ${this.view
      ? html`<protein-view
          .view=${this.view}
          .dark=${this.dark}
          @refused=${({ detail }: CustomEvent<api.Refused>) => {
            if (detail.code.startsWith("auth.")) void this.refused(detail, "token");
          }}
        ></protein-view>`
      : nothing}`;
  }

  private banner(): TemplateResult | typeof nothing {
    const shown = this.showsModels ? this.info?.models : [this.model];
    if (!shown?.some((model) => model?.weights_kind === "demo")) return nothing;
    return html`<p class="banner" role="note">
      <strong>esm2-demo</strong> is a small model for trying things out. Its numbers are not for
      science; serve a published model for that: <code>esm2 serve --model esm2-650m</code>
    </p>`;
  }

  private problemAt(place: Place): TemplateResult | typeof nothing {
    if (this.problem?.place !== place) return nothing;
    return html`<p class="problem" role="alert" id="problem-${place}">${this.problem.message}</p>`;
  }

  /** A way out of a refused sequence, where it is one of writing only. */
  private tidyButton(): TemplateResult | typeof nothing {
    const tidy = tidied(this.text);
    if (this.problem?.place !== "sequence" || tidy === this.text) return nothing;
    return html`<button type="button" class="small" @click=${() => this.take(tidy)}>
      Write it in upper case, without numbers and final *
    </button>`;
  }

  private askForm(info: api.Info): TemplateResult {
    const records = pasted(this.text);
    const wrong = this.problem?.place === "sequence";
    return html`<h1>Look at a protein</h1>
      <p class="lead">
        What does a protein language model see in it? How sure it is of each residue, which
        substitutions it would accept, which residues it expects to touch.
      </p>
      <form
        class="ask"
        @submit=${(event: Event) => {
          event.preventDefault();
          void this.run();
        }}
      >
        <div class="label">
          <label for="sequence">Protein sequence, or FASTA</label>
          <span class="examples">
            <span class="hint">Examples:</span>
            ${EXAMPLES.map(
              (own) =>
                html`<button type="button" class="link" @click=${() => this.take(own.text)}>
                  ${own.name}
                </button>`,
            )}
          </span>
        </div>
        <textarea
          id="sequence"
          rows="5"
          spellcheck="false"
          autocomplete="off"
          autocapitalize="characters"
          placeholder="MTEYKLVVVGAGGVGKSALTIQ…"
          aria-invalid=${wrong}
          aria-describedby=${wrong ? "problem-sequence" : nothing}
          .value=${this.text}
          @input=${(event: Event) => {
            this.text = (event.target as HTMLTextAreaElement).value;
            this.record = 0;
          }}
          @keydown=${(event: KeyboardEvent) => {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void this.run();
          }}
        ></textarea>
        ${this.problemAt("sequence")} ${this.tidyButton()}
        <div class="row">
          ${records.length > 1 ? this.recordField(records.map((own) => own.id)) : nothing}
          <label
            >Model
            <select id="model" @change=${this.choose}>
              ${info.models.map(
                (model) =>
                  html`<option value=${model.slug} ?selected=${model.slug === this.slug}>
                    ${model.slug} (${size(model.parameters)})
                  </option>`,
              )}
            </select></label
          >
          <button type="submit" class="primary" ?disabled=${this.busy}>
            ${this.busy ? "Computing…" : "Look"}
          </button>
          ${this.busy
            ? html`<button type="button" class="stop" @click=${() => this.asking.abort()}>
                Stop
              </button>`
            : nothing}
        </div>
      </form>`;
  }

  private recordField(ids: string[]): TemplateResult {
    const chosen = (event: Event) => {
      this.record = (event.target as HTMLSelectElement).selectedIndex;
      void this.run();
    };
    return html`<label
      >Record
      <select @change=${chosen}>
        ${ids.map((id, index) => html`<option ?selected=${index === this.record}>${id}</option>`)}
      </select></label
    >`;
  }

  private tokenForm(): TemplateResult {
    return html`<form
      class="row"
      @submit=${(event: Event) => {
        event.preventDefault();
        void (!this.info ? this.start() : this.showsModels ? this.watch() : this.run());
      }}
    >
      <label
        >Token
        <input
          id="token"
          type="password"
          autocomplete="off"
          @input=${(event: Event) => api.useToken((event.target as HTMLInputElement).value)}
      /></label>
      <button class="small">Use</button>
      <span class="hint">This server asks for a token. It is kept in memory until you leave.</span>
      ${this.problemAt("token")}
    </form>`;
  }
}

customElements.define("esm2-app", App);
