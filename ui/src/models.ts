/** /models: what is loaded, what it may be asked, what it is doing. */

import { html, nothing, type TemplateResult } from "lit";
import type { Info, Model, Now } from "./api";
import { count, size } from "./words";

const KINDS = {
  official: "published weights",
  custom: "weights of your own",
  demo: "demo weights, not for science",
};

/** Does what else is in a batch change an answer? */
const COMPANY = {
  true: "the same bits as alone",
  false: "last bits may differ from alone",
};

export function modelsView(info: Info, now: Map<string, Now>): TemplateResult {
  const { max_items, max_residues, max_body_bytes, queue_tokens } = info.limits;
  return html`<h1>Models</h1>
    <div class="cards">
      ${info.models.map((model) => card(model, queue_tokens, now.get(model.slug)))}
    </div>
    <h2>Limits of this server</h2>
    <dl class="facts">
      ${fact("residues in a sequence", count(max_residues))}
      ${fact("items in a request", count(max_items))}
      ${fact("size of a request", `${count(max_body_bytes / 2 ** 20)} MiB`)}
      ${fact("tokens that may wait", count(queue_tokens))}
    </dl>
    <p>
      Every field of the API, to read and to try: <a href="docs">/docs</a>. The same facts as JSON:
      <a href="info">/info</a>.
    </p>`;
}

function card(model: Model, queue: number, now?: Now): TemplateResult {
  const { layers, dim, heads } = model.shape;
  return html`<section class="card" aria-label=${model.slug}>
    <h2>${model.slug}</h2>
    <dl class="facts">
      ${fact("parameters", `${size(model.parameters)} (${count(model.parameters)})`)}
      ${fact("shape", `${layers} layers, ${dim} dimensions, ${heads} heads`)}
      ${fact("weights", KINDS[model.weights_kind])}
      ${fact("sha256", html`<code>${model.weights_sha256.slice(0, 16)}…</code>`)}
      ${fact("device", model.device)}
      ${model.device === "cpu" ? fact("threads", count(model.threads)) : nothing}
      ${fact("arithmetic", `${model.dtype}, ${model.kernel}`)}
      ${fact("batch", `up to ${count(model.pack_tokens)} tokens`)}
      ${model.batch_invariant === undefined ? nothing : fact("answers in a batch", COMPANY[`${model.batch_invariant}`])}
      ${fact("contacts", model.contacts ? "yes" : "no contact head")}
    </dl>
    ${now ? live(now, queue) : nothing}
  </section>`;
}

function live(now: Now, queue: number): TemplateResult {
  const speed = now.tokens_per_second;
  return html`<dl class="facts live" aria-label="now">
    ${fact("waiting", `${count(now.waiting_tokens)} of ${count(queue)} tokens`)}
    ${fact("longest wait", now.waiting_tokens ? `${now.oldest_seconds.toFixed(1)} s` : "nothing waits")}
    ${fact("computing", now.busy_workers ? `${now.busy_workers} at once` : "nothing now")}
    ${fact("speed", speed ? `${count(speed)} tokens/s while computing` : "not measured yet")}
  </dl>`;
}

function fact(name: string, value: unknown): TemplateResult {
  return html`<div>
    <dt>${name}</dt>
    <dd>${value}</dd>
  </div>`;
}
