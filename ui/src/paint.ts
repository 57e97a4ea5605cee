/** Numbers as pixels. */

import { css, nothing, palette, shade, type Scale } from "./palettes";
import type { Matrix } from "./safetensors";

/** A matrix as an image of one pixel a cell. */
export function paint(
  { rows, columns, values }: Matrix,
  scale: Scale,
  [low, high]: [number, number],
  dark: boolean,
): HTMLCanvasElement {
  const colours = palette(scale, dark);
  const none = nothing(dark);
  const pixels = new ImageData(columns, rows);
  const out = new Uint32Array(pixels.data.buffer);
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    out[index] = Number.isNaN(value) ? none : colours[shade(value, low, high)];
  }
  const image = document.createElement("canvas");
  image.width = columns;
  image.height = rows;
  image.getContext("2d")!.putImageData(pixels, 0, 0);
  return image;
}

/** The highest value of each block of `by` x `by` cells, so that none is lost where pixels are few. */
export function peaks(matrix: Matrix, by: number): Matrix {
  const rows = Math.ceil(matrix.rows / by);
  const columns = Math.ceil(matrix.columns / by);
  const values = new Float32Array(rows * columns).fill(-Infinity);
  for (let row = 0; row < matrix.rows; row++) {
    const begin = Math.floor(row / by) * columns;
    for (let column = 0; column < matrix.columns; column++) {
      const block = begin + Math.floor(column / by);
      values[block] = Math.max(values[block], matrix.values[row * matrix.columns + column]);
    }
  }
  return { rows, columns, values };
}

/** The colour bar of a scale, from its lowest to its highest value. */
export function drawBar(canvas: HTMLCanvasElement, scale: Scale, dark: boolean): void {
  const context = canvas.getContext("2d")!;
  const colours = palette(scale, dark);
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = css(colours[Math.floor((x / canvas.width) * 256)]);
    context.fillRect(x, 0, 1, canvas.height);
  }
}

/** A colour of the style sheet. */
export function ink(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
