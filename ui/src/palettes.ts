/** Colour scales: viridis for probabilities, red to blue around 0 for log-odds. */

export type Scale = "probability" | "diverging";

/** 256 colours as ImageData wants them, 0xAABBGGRR. */
export type Palette = Uint32Array;

// matplotlib's viridis and RdBu at even distances; the dark ones are those of `esm2 scan --dark`.
const VIRIDIS = [
  "440154", "481769", "472a7a", "433d84", "3d4e8a", "355e8d", "2e6d8e", "297b8e", "23898e",
  "1f978b", "21a585", "2eb37c", "46c06f", "65cb5e", "89d548", "b0dd2f", "d8e219", "fde725",
];
const RED_BLUE = [
  "67001f", "b1182b", "d6604d", "f3a481", "fddbc7", "f6f7f7", "d1e5f0", "90c4dd", "4393c3",
  "2065ab", "053061",
];
const RED_BLUE_DARK = ["ffb3a7", "d6453d", "2a2d33", "3f83cf", "b3d7ff"];

const made = new Map<string, Palette>();

export function palette(scale: Scale, dark: boolean): Palette {
  const stops = scale === "probability" ? VIRIDIS : dark ? RED_BLUE_DARK : RED_BLUE;
  const key = stops.join();
  if (!made.has(key)) made.set(key, ramp(stops));
  return made.get(key)!;
}

/** What has no number: neither a colour of the scale nor quite the paper. */
export function nothing(dark: boolean): number {
  return dark ? 0xff3d3833 : 0xffdedede;
}

export function css(colour: number): string {
  const channels = [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
  return `rgb(${channels.join(" ")})`;
}

/** Index of a value between `low` and `high`, 0..255. */
export function shade(value: number, low: number, high: number): number {
  return Math.max(0, Math.min(255, Math.floor(((value - low) / (high - low)) * 256)));
}

function ramp(stops: string[]): Palette {
  const colours = stops.map((text) => [0, 2, 4].map((at) => parseInt(text.slice(at, at + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, index) => {
    const at = (index / 255) * (colours.length - 1);
    const first = Math.min(Math.floor(at), colours.length - 2);
    const [r, g, b] = colours[first].map((from, channel) =>
      Math.round(from + (at - first) * (colours[first + 1][channel] - from)),
    );
    return (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
  });
}
