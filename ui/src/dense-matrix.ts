/**
 * <dense-matrix>: a matrix as colours on a canvas, one column a residue, on the shared axis.
 *
 *     .matrix     rows x L; of a square one, rows are residues too
 *     .describe   (row, column) -> what to say of a cell
 *
 * It is a child of nightingale-manager, which sets `length`, `display-start`, `display-end` and
 * `highlight`, and is told of zoom and highlight by "change" events. "point" says which cell is
 * pointed at, "pick" which residue was clicked. 1,000 x 1,000 cells take some 20 ms, once; zooming
 * draws a part of the same image.
 */

import { html } from "lit";
import { GUTTER, moved, ticks, zoomed, type Shown } from "./axis";
import { OnAxis } from "./on-axis";
import { ink, paint, peaks } from "./paint";
import type { Scale } from "./palettes";
import type { Matrix } from "./safetensors";

const TOP = 2;
const BOTTOM = 18;
const DRAGGED = 4; // pixels
const BELOW_BARS = 110; // pixels; the toolbar stays at the top of the window

/** A cell pointed at. */
export interface Point {
  text: string;
  position: number;
  x: number;
  y: number;
  keyboard: boolean;
}

export class DenseMatrix extends OnAxis {
  static override properties = {
    ...OnAxis.properties,
    matrix: { attribute: false },
    scale: { attribute: false },
    low: { attribute: false },
    high: { attribute: false },
    labels: { attribute: false },
    groups: { attribute: false },
    marks: { attribute: false },
    describe: { attribute: false },
    name: { attribute: false },
    square: { type: Boolean },
    rowheight: { type: Number },
  };

  declare matrix: Matrix;
  declare scale: Scale;
  declare low: number;
  declare high: number;
  declare labels: string[];
  declare groups: readonly (readonly [string, string])[];
  declare marks: number[];
  declare describe: (row: number, column: number) => string;
  declare name: string;
  declare square: boolean;
  declare rowheight: number;

  private image?: HTMLCanvasElement;
  private shows: unknown[] = [];
  private cursor?: { row: number; column: number; keyboard: boolean };
  private drag?: { x: number; shown: Shown; moved: boolean };

  constructor() {
    super();
    this.labels = [];
    this.groups = [];
    this.marks = [];
    this.rowheight = 14;
  }

  override render() {
    return html`<canvas
      tabindex="0"
      role="application"
      aria-roledescription="heat map"
      aria-label="${this.name}. Arrow keys move, Enter masks the residue, plus and minus zoom."
      @pointermove=${this.onMove}
      @pointerleave=${this.onOut}
      @pointerdown=${this.onDown}
      @pointerup=${this.onUp}
      @wheel=${this.onWheel}
      @keydown=${this.onKey}
      @blur=${this.leave}
    ></canvas>`;
  }

  // --- drawing ---------------------------------------------------------------------------------

  /** Pixels of the plot without its margins. */
  private get size(): { width: number; height: number } {
    const width = this.width;
    return { width, height: this.square ? width : this.matrix.rows * this.rowheight };
  }

  /** The rows that are shown: all of them, or of a square matrix those of the columns. */
  private get rows(): { first: number; count: number } {
    const { start, end } = this.shown;
    return this.square
      ? { first: start - 1, count: end + 1 - start }
      : { first: 0, count: this.matrix.rows };
  }

  /** The whole matrix as an image of blocks of cells, anew when what it shows has changed. */
  private painted(block: number): HTMLCanvasElement {
    const shows = [this.matrix, this.scale, this.low, this.high, this.dark, block];
    if (!this.image || shows.some((own, index) => own !== this.shows[index])) {
      const matrix = block > 1 ? peaks(this.matrix, block) : this.matrix;
      this.image = paint(matrix, this.scale, [this.low, this.high], this.dark);
      this.shows = shows;
    }
    return this.image;
  }

  protected override draw(): void {
    const { width, height } = this.size;
    const context = this.blank(height + TOP + BOTTOM);
    const { start, end } = this.shown;
    const { first, count } = this.rows;
    const across = width / (end + 1 - start);
    // Of pairs that share a pixel the highest is seen; a mean would hide a lone contact.
    const block = this.square ? Math.ceil(1 / (across * devicePixelRatio)) : 1;
    const [x, y, wide, high] = [start - 1, first, end + 1 - start, count].map((n) => n / block);
    context.imageSmoothingEnabled = across < 1 && !this.square;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.painted(block), x, y, wide, high, GUTTER, TOP, width, height);
    this.drawMarks(context, across);
    this.drawCrosshair(context, across);
    this.writePositions(context, TOP + height + 4);
    this.drawLabels(context);
  }

  private drawMarks(context: CanvasRenderingContext2D, across: number): void {
    const { start, end } = this.shown;
    context.fillStyle = ink("--text");
    const radius = Math.max(0.6, Math.min(across, this.rowheight) / 5);
    for (let column = Math.floor(start) - 1; column < Math.min(end, this.marks.length); column++) {
      const x = GUTTER + (column + 1.5 - start) * across;
      if (this.marks[column] < 0 || x < GUTTER) continue;
      context.beginPath();
      context.arc(x, TOP + (this.marks[column] + 0.5) * this.rowheight, radius, 0, 2 * Math.PI);
      context.fill();
    }
  }

  /** Lines beside the highlighted column, and of the cursor's row; white on a shadow, seen on all. */
  private drawCrosshair(context: CanvasRenderingContext2D, across: number): void {
    const { width, height } = this.size;
    const { first, count } = this.rows;
    const down = height / count;
    const position = parseInt(this.highlight ?? "", 10);
    const lines = new Path2D();
    if (position) {
      const x = GUTTER + (position - this.shown.start) * across;
      lines.rect(x - 0.5, TOP - 2, Math.max(2, across + 1), height + 4);
    }
    const row = this.cursor?.row ?? (this.square && position ? position - 1 : undefined);
    if (row !== undefined) {
      const y = TOP + (row - first) * down;
      lines.rect(GUTTER - 2, y - 0.5, width + 4, Math.max(2, down + 1));
    }
    context.save();
    context.beginPath();
    context.rect(GUTTER, TOP, width, height);
    context.clip();
    for (const [colour, wide] of [["rgb(0 0 0 / 60%)", 3], ["#ffffff", 1.25]] as const) {
      context.strokeStyle = colour;
      context.lineWidth = wide;
      context.stroke(lines);
    }
    context.restore();
  }

  private drawLabels(context: CanvasRenderingContext2D): void {
    const { height } = this.size;
    const { first, count } = this.rows;
    context.textAlign = "right";
    context.textBaseline = "middle";
    const right = GUTTER - 6;
    if (this.square) {
      for (const position of ticks(this.shown, height)) {
        const y = TOP + ((position - 0.5 - first) * height) / count;
        context.fillText(`${position}`, right, y);
      }
      return;
    }
    const every = Math.ceil(11 / this.rowheight);
    this.labels.forEach((label, row) => {
      if (row % every === 0) context.fillText(label, right, TOP + (row + 0.5) * this.rowheight);
    });
    let above = 0;
    context.textAlign = "left";
    context.font = "10px system-ui, sans-serif";
    for (const [name, letters] of this.groups) {
      context.fillText(name, 0, TOP + (above + letters.length / 2) * this.rowheight);
      above += letters.length;
      context.fillRect(0, TOP + above * this.rowheight, GUTTER - 4, 0.5);
    }
  }

  // --- pointing --------------------------------------------------------------------------------

  private cell(event: MouseEvent): { row: number; column: number } | undefined {
    const { width, height } = this.size;
    const { first, count } = this.rows;
    const x = event.offsetX - GUTTER;
    const y = event.offsetY - TOP;
    if (x < 0 || y < 0 || x >= width || y >= height) return undefined;
    const { start, end } = this.shown;
    const column = Math.floor(start - 1 + (x / width) * (end + 1 - start));
    return { row: Math.floor(first + (y / height) * count), column };
  }

  private onMove(event: PointerEvent): void {
    if (this.drag && event.buttons) {
      const pixels = event.clientX - this.drag.x;
      this.drag.moved ||= Math.abs(pixels) > DRAGGED;
      const { start, end } = this.drag.shown;
      const by = (-pixels * (end + 1 - start)) / this.size.width;
      if (this.drag.moved) this.show(moved(this.drag.shown, by, this.matrix.columns));
      return;
    }
    // The page may have been scrolled below a mouse that rests, by keyboard.
    if (this.cursor?.keyboard && !event.movementX && !event.movementY) return;
    const cell = this.cell(event);
    if (cell) this.point(cell, event.clientX, event.clientY, false);
    else this.leave();
  }

  private onOut(): void {
    if (!this.cursor?.keyboard) this.leave();
  }

  private onDown(event: PointerEvent): void {
    if (event.pointerType === "mouse" && event.button) return;
    this.drag = { x: event.clientX, shown: this.shown, moved: false };
  }

  private onUp(event: PointerEvent): void {
    const cell = this.cell(event);
    if (this.drag && !this.drag.moved && cell) this.pick(cell.column + 1);
    this.drag = undefined;
  }

  private onWheel(event: WheelEvent): void {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const cell = this.cell(event);
    const around = cell ? cell.column + 1 : this.shown.start;
    this.show(zoomed(this.shown, event.deltaY > 0 ? 1.25 : 0.8, around, this.matrix.columns));
  }

  private onKey(event: KeyboardEvent): void {
    const { columns, rows } = this.matrix;
    const now = this.cursor ?? { row: 0, column: Math.floor(this.shown.start) - 1 };
    const steps: Record<string, [number, number]> = {
      ArrowLeft: [0, -1],
      ArrowRight: [0, 1],
      ArrowUp: [-1, 0],
      ArrowDown: [1, 0],
      PageUp: [0, -10],
      PageDown: [0, 10],
      Home: [0, -columns],
      End: [0, columns],
    };
    const zooms: Record<string, number> = { "+": 0.8, "=": 0.8, "-": 1.25 };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") this.pick(now.column + 1);
    else if (event.key === "Escape") this.leave();
    else if (zooms[event.key]) {
      this.show(zoomed(this.shown, zooms[event.key], now.column + 1, columns));
    } else if (steps[event.key]) {
      const [down, right] = this.cursor ? steps[event.key] : [0, 0];
      const column = Math.max(0, Math.min(columns - 1, now.column + right));
      const row = Math.max(0, Math.min(rows - 1, now.row + down));
      this.bringIntoView(column + 1);
      const { x, y } = this.onScreen(row, column);
      this.point({ row, column }, x, y, true);
    } else return;
    event.preventDefault();
  }

  private bringIntoView(position: number): void {
    const { start, end } = this.shown;
    if (position < start) this.show(moved(this.shown, position - start, this.matrix.columns));
    else if (position > end) this.show(moved(this.shown, position - end, this.matrix.columns));
  }

  /** The same, the page scrolled when the cell would be outside of the window. */
  private onScreen(row: number, column: number): { x: number; y: number } {
    const { y } = this.place(row, column);
    const lowest = innerHeight - BELOW_BARS;
    if (y < BELOW_BARS) scrollBy({ top: y - BELOW_BARS, behavior: "instant" });
    else if (y > lowest) scrollBy({ top: y - lowest, behavior: "instant" });
    return this.place(row, column);
  }

  /** The middle of a cell in the window. */
  private place(row: number, column: number): { x: number; y: number } {
    const { left, top } = this.canvas.getBoundingClientRect();
    const { width, height } = this.size;
    const { start, end } = this.shown;
    const { first, count } = this.rows;
    return {
      x: left + GUTTER + ((column + 1.5 - start) / (end + 1 - start)) * width,
      y: top + TOP + ((row + 0.5 - first) / count) * height,
    };
  }

  private point(cell: { row: number; column: number }, x: number, y: number, keyboard: boolean) {
    this.cursor = { ...cell, keyboard };
    const position = cell.column + 1;
    const text = this.describe(cell.row, cell.column);
    this.tell("change", { highlight: `${position}:${position}` });
    this.tell("point", { text, position, x, y, keyboard } satisfies Point);
    this.requestUpdate();
  }

  private leave(): void {
    if (!this.cursor) return;
    this.cursor = undefined;
    this.tell("point", undefined);
    this.requestUpdate();
  }

  private pick(position: number): void {
    this.tell("pick", { position });
  }

  private show(shown: Shown): void {
    this.start = shown.start;
    this.end = shown.end;
    this.tell("change", { "display-start": shown.start, "display-end": shown.end });
  }

  private tell(type: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true }));
  }
}

customElements.define("dense-matrix", DenseMatrix);
