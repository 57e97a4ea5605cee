/** What is drawn on the shared axis: told of it by nightingale-manager, drawn anew when it changes. */

import { LitElement } from "lit";
import { EDGE, GUTTER, ticks, type Shown } from "./axis";
import { ink } from "./paint";

type Manager = HTMLElement & { register(own: Element): void; unregister(own: Element): void };

export abstract class OnAxis extends LitElement {
  static properties: Record<string, object> = {
    length: { type: Number },
    start: { attribute: "display-start", type: Number },
    end: { attribute: "display-end", type: Number },
    highlight: { type: String },
    dark: { attribute: false },
    fine: { type: Boolean },
  };

  declare length: number;
  declare start: number;
  declare end: number;
  declare highlight: string | null;
  declare dark: boolean;
  /** Drawn at twice its size or more, to be saved. */
  declare fine: boolean;

  private readonly resized = new ResizeObserver(() => this.requestUpdate());

  /** Draw on the canvas; it is as wide as the element. */
  protected abstract draw(): void;

  override createRenderRoot(): this {
    return this;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.resized.observe(this);
    void customElements.whenDefined("nightingale-manager").then(() => this.manager?.register(this));
  }

  override disconnectedCallback(): void {
    this.resized.disconnect();
    this.manager?.unregister(this);
    super.disconnectedCallback();
  }

  override updated(): void {
    if (this.length && this.clientWidth) this.draw();
  }

  private get manager(): Manager | null {
    return this.closest("nightingale-manager");
  }

  protected get canvas(): HTMLCanvasElement {
    return this.querySelector("canvas")!;
  }

  protected get shown(): Shown {
    const end = this.end > 0 ? Math.min(this.end, this.length) : this.length;
    return { start: this.start || 1, end };
  }

  /** Pixels between the margins. */
  protected get width(): number {
    return Math.max(10, this.clientWidth - GUTTER - EDGE);
  }

  /** The canvas at a height in pixels of the style sheet, empty. */
  protected blank(height: number): CanvasRenderingContext2D {
    const ratio = Math.max(window.devicePixelRatio || 1, this.fine ? 2 : 0);
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(this.clientWidth * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext("2d")!;
    context.scale(ratio, ratio);
    return context;
  }

  /** Round positions, below what is drawn. */
  protected writePositions(context: CanvasRenderingContext2D, top: number): void {
    const { start, end } = this.shown;
    context.fillStyle = ink("--muted");
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const position of ticks(this.shown, this.width)) {
      const x = GUTTER + ((position + 0.5 - start) / (end + 1 - start)) * this.width;
      if (x < this.clientWidth - 4) context.fillText(`${position}`, x, top);
    }
  }
}
