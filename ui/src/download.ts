/** Files out of figures: CSV of the numbers, PNG of what is seen. */

import { ink } from "./paint";
import type { Rows } from "./tables";

const EDGE = 16;

export function saveCsv(rows: Rows, name: string): void {
  const text = rows.map((row) => row.map(cell).join(",")).join("\n");
  save(new Blob([`${text}\n`], { type: "text/csv" }), `${name}.csv`);
}

/** RFC 4180; what a spreadsheet would run as a formula is not in our tables. */
function cell(value: string | number): string {
  const text = `${value}`;
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The figure at twice its size: of what, title, canvases, drawings, legend; nothing pointed at. */
export async function savePng(figure: HTMLElement, name: string, caption: string): Promise<void> {
  const manager = figure.closest("nightingale-manager");
  manager?.dispatchEvent(new CustomEvent("change", { detail: { highlight: null } }));
  const ours = figure.querySelectorAll("dense-matrix, position-axis");
  for (const own of ours) own.toggleAttribute("fine", true);
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)));
  const area = figure.getBoundingClientRect();
  const shown = [...figure.querySelectorAll<HTMLElement>("[data-picture]")];
  const bottom = Math.max(...shown.map((own) => own.getBoundingClientRect().bottom));
  const canvas = document.createElement("canvas");
  canvas.width = 2 * (area.width + 2 * EDGE);
  canvas.height = 2 * (bottom - area.top + 2 * EDGE);
  const context = canvas.getContext("2d")!;
  context.scale(2, 2);
  context.fillStyle = ink("--paper");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = ink("--muted");
  context.font = "12px system-ui, sans-serif";
  context.fillText(caption, EDGE, EDGE + 4);
  context.translate(EDGE - area.left, EDGE - area.top);
  const all = (kind: string) => shown.flatMap((part) => [...part.querySelectorAll(kind)]);
  for (const own of all("canvas, svg")) {
    const { left, top, width, height } = own.getBoundingClientRect();
    if (!width || !height) continue;
    const image = own instanceof HTMLCanvasElement ? own : await drawn(own, width, height);
    context.drawImage(image, left, top, width, height);
  }
  for (const own of ours) own.toggleAttribute("fine", false);
  for (const own of all("[data-text]")) write(context, own as HTMLElement);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done));
  if (blob) save(blob, `${name}.png`);
}

/** Text where it stands; lines that wrap are written as they wrap. */
function write(context: CanvasRenderingContext2D, element: HTMLElement): void {
  const style = getComputedStyle(element);
  context.fillStyle = style.color;
  context.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  context.textBaseline = "top";
  const range = document.createRange();
  const nodes = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (nodes.nextNode()) {
    const node = nodes.currentNode;
    for (const word of (node.textContent ?? "").matchAll(/\S+/g)) {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const { left, top } = range.getBoundingClientRect();
      context.fillText(word[0], left, top + 2);
    }
  }
}

/** An image of a drawing whose styles, which the style sheet gives, are written into it. */
async function drawn(svg: Element, width: number, height: number): Promise<HTMLImageElement> {
  const copy = svg.cloneNode(true) as Element;
  const originals = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((own, index) => {
    const style = getComputedStyle(originals[index]);
    for (const name of ["fill", "fill-opacity", "stroke", "stroke-width", "opacity", "display", "clip-path"]) {
      own.setAttribute(name, style.getPropertyValue(name));
    }
    own.setAttribute("font-family", style.fontFamily);
    own.setAttribute("font-size", style.fontSize);
    own.removeAttribute("style");
  });
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", `${width}`);
  copy.setAttribute("height", `${height}`);
  const image = new Image();
  const text = new XMLSerializer().serializeToString(copy);
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  return image;
}

function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
