/**
 * What is asked, kept by the browser's history for reload, back and forward; and as a link.
 *
 *     http://server/#model=esm2-650m&id=P0CG48&sequence=MQIFVKTLTG
 *
 * What is after "#" is sent to no server. No address has it but the one that a person copies.
 */

export interface Asked {
  text: string;
  record: number;
  slug: string;
}

/** What this entry of the history, or its link, asks for. */
export function asked(): Asked | undefined {
  const link = new URLSearchParams(location.hash.slice(1));
  const sequence = link.get("sequence");
  if (!sequence) return (history.state as Asked | null) ?? undefined;
  const id = link.get("id");
  const text = id ? `>${id}\n${sequence}` : sequence;
  return { text, record: 0, slug: link.get("model") ?? "" };
}

/** Make what is asked the present entry: a new one, unless it is what the present one has. */
export function remember(own: Asked): void {
  const before = asked();
  if (before && Object.keys(own).every((key) => own[key as keyof Asked] === before[key as keyof Asked])) return;
  history[before ? "pushState" : "replaceState"](own, "", location.pathname);
}

export function link(model: string, id: string, sequence: string): string {
  const own = new URLSearchParams({ model, id, sequence });
  return `${location.origin}${location.pathname}#${own}`;
}
