/**
 * The binary reply, read: 8 bytes of header length, a JSON header, numbers.
 *
 * Source: https://github.com/huggingface/safetensors, "Format".
 */

/** An array of rows x columns, row by row; a vector has one row. */
export interface Matrix {
  rows: number;
  columns: number;
  values: Float32Array;
}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Every float32 array of a file by its name; a scalar or vector becomes one row. */
export function readSafetensors(bytes: ArrayBuffer): Map<string, Matrix> {
  const length = Number(new DataView(bytes).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 8, length)));
  delete header.__metadata__;
  const arrays = new Map<string, Matrix>();
  for (const [name, entry] of Object.entries<Entry>(header)) {
    if (entry.dtype !== "F32") throw new TypeError(`${name} is ${entry.dtype}, not F32`);
    const [begin, end] = entry.data_offsets;
    const values = new Float32Array(bytes, 8 + length + begin, (end - begin) / 4);
    const columns = entry.shape.at(-1) ?? 1;
    arrays.set(name, { rows: columns ? values.length / columns : 0, columns, values });
  }
  return arrays;
}
