/** The server's API: what the page asks, and nothing else than what any client may ask. */

import { readSafetensors, type Matrix } from "./safetensors";

/** A model as /info tells it. */
export interface Model {
  slug: string;
  shape: { layers: number; dim: number; heads: number };
  parameters: number;
  device: string;
  dtype: string;
  kernel: string;
  weights_sha256: string;
  weights_kind: "official" | "demo" | "custom";
  contacts: boolean;
  pack_tokens: number;
  threads: number;
  /** Whether the company in a batch changes not one bit; older servers do not say. */
  batch_invariant?: boolean;
}

/** What the server decided when it started. */
export interface Info {
  version: string;
  limits: { max_items: number; max_residues: number; max_body_bytes: number; queue_tokens: number };
  models: Model[];
}

/** What a model is doing now. */
export interface Now {
  slug: string;
  waiting_tokens: number;
  oldest_seconds: number;
  busy_workers: number;
  tokens_per_second: number;
}

/** A request that is on the screen: what to send where. */
export interface Call {
  slug: string;
  action: "encode" | "predict" | "scan";
  body: { items: Record<string, unknown>[]; params?: Record<string, unknown> };
}

/** The server refused; `message` is its sentence. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Kept in memory only, and sent to this server only. */
let token = "";

export function useToken(given: string): void {
  token = given.trim();
}

export function hasToken(): boolean {
  return token !== "";
}

/** The address of this server as others may use it. */
export function base(): string {
  return new URL(".", document.baseURI).href.replace(/\/$/, "");
}

export async function info(): Promise<Info> {
  const told = await ask("info", (reply) => reply.json());
  for (const model of told.models) model.parameters = told.parameters[model.slug];
  return told;
}

export async function now(): Promise<Now[]> {
  return (await ask("status", (reply) => reply.json())).models;
}

export async function arrays(call: Call, signal?: AbortSignal): Promise<Map<string, Matrix>> {
  const bytes = await ask(address(call), (reply) => reply.arrayBuffer(), {
    method: "POST",
    body: JSON.stringify(call.body),
    headers: { "Content-Type": "application/json", Accept: "application/vnd.safetensors" },
    signal,
  });
  return readSafetensors(bytes);
}

export function address(call: Call): string {
  return `api/v3/${call.slug}/${call.action}/`;
}

/** Ask and read the whole answer; a server may also go away between its first byte and its last. */
async function ask<T>(
  path: string,
  read: (reply: Response) => Promise<T>,
  how: RequestInit = {},
): Promise<T> {
  const headers = new Headers(how.headers);
  if (token) headers.set("Authorization", `Token ${token}`);
  try {
    const reply = await fetch(path, { ...how, headers, credentials: "same-origin" });
    if (reply.ok) return await read(reply);
    throw refusal(reply.status, await reply.json().catch(() => ({})));
  } catch (error) {
    if (error instanceof Refused || how.signal?.aborted) throw error;
    throw new Refused(0, "page.unreachable", "The server does not answer. Is it still running?");
  }
}

/** One sentence out of a refusal, whose `error` may name places. */
function refusal(status: number, body: { error?: unknown; code?: string }): Refused {
  const sentences =
    typeof body.error === "object" && body.error
      ? Object.values(body.error as Record<string, string[]>).flat()
      : [body.error ?? `The server answered with status ${status}.`];
  return new Refused(status, body.code ?? "", sentences.join(" "));
}
