// The products of attention.h in tiles of AMX, for bfloat16.
//
//   scores  [16 t][16 lanes]  = keys    [16 t][32 d]  x  queries [16 words of d][16 lanes]
//   context [16 d][16 lanes]  = values  [16 d][32 t]  x  weights [16 words of t][16 lanes]
//
// Four tiles of sums at a time: two of rows by the two of lanes. What lies behind the last key is
// never looked at, in the scores, and 0, in the weights.
#pragma once
#include "amx.h"

namespace {

// Tokens of whole steps.
constexpr int whole_steps(int L) { return (L + 2 * TILE - 1) / (2 * TILE) * (2 * TILE); }

// The shapes for heads: `words` of a key or query at once.
inline void fit_heads(int rows, int words) {
  TileShapes shapes;
  for (int i = 0; i < 4; i++) shapes.set(i, TILE, 64);
  for (int i = 4; i < 6; i++) shapes.set(i, rows, words * 4);
  for (int i = 6; i < 8; i++) shapes.set(i, words, 64);
  shapes.take();
}

inline void zero_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

// Tiles 0 1 / 2 3 to rows of LANES floats.
inline void store_sums(float *out) {
  constexpr ptrdiff_t stride = LANES * sizeof(float);
  _tile_stored(0, out, stride);
  _tile_stored(1, out + TILE, stride);
  _tile_stored(2, out + TILE * LANES, stride);
  _tile_stored(3, out + TILE * LANES + TILE, stride);
}

// Scores of all keys, and their maximum down each lane. keys: whole_steps(L) x head_dim / 2 words;
// queries: head_dim / 2 x LANES words; scores: whole_steps(L) x LANES.
template <int head_dim>
inline void score_in_tiles(const uint32_t *keys, const uint32_t *queries, int L, float *scores,
                           V (&top)[2]) {
  constexpr int words = head_dim / 2, taken = words < TILE ? words : TILE;
  constexpr ptrdiff_t stride = words * sizeof(uint32_t);
  fit_heads(TILE, taken);
  asm volatile("" ::: "memory");
  for (int t = 0; t < L; t += 2 * TILE) {
    const uint32_t *key = keys + t * words;
    zero_sums();
    for (int d = 0; d < words; d += taken) {
      _tile_loadd(4, key + d, stride);
      _tile_loadd(5, key + TILE * words + d, stride);
      _tile_loadd(6, queries + d * LANES, LANES * sizeof(uint32_t));
      _tile_loadd(7, queries + d * LANES + TILE, LANES * sizeof(uint32_t));
      multiply_add<TileBFloat16, true>();
    }
    store_sums(scores + t * LANES);
  }
  for (int t = 0; t < L; t++)
    for (int j = 0; j < 2; j++) top[j] = maximum(top[j], load(scores + t * LANES + j * W));
}

// Values as tiles: [step of 32 t][d / 16][16 d][32 t]; what is missing is 0. `at(t)` are the values
// of a token.
template <int head_dim, class At>
inline void values_in_tiles(const At &at, int L, uint32_t *out) {
  constexpr int blocks = (head_dim + TILE - 1) / TILE;
  for (int t = 0; t < L; t += 2 * TILE)
    for (int block = 0; block < blocks; block++, out += TILE * TILE) {
      const int d = block * TILE;
      const __mmask16 there = head_dim - d < TILE ? (1u << (head_dim - d)) - 1 : 0xffff;
      const auto row = [&](int token) {
        return token < L ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(there, at(token) + d))
                         : _mm512_setzero_si512();
      };
      V square[W];
      for (int i = 0; i < W; i++)
        square[i] = as_floats(
            _mm512_or_si512(row(t + 2 * i), _mm512_slli_epi32(row(t + 2 * i + 1), 16)));
      transpose(square);
      for (int i = 0; i < W; i++) store(reinterpret_cast<float *>(out + i * TILE), square[i]);
    }
}

// The context of all lanes, into out[d][lane]. weights: whole_steps(L) / 2 x LANES words.
template <int head_dim>
inline void mix_in_tiles(const uint32_t *values, const uint32_t *weights, int L,
                         const V (&scale)[2], float *out) {
  constexpr int blocks = (head_dim + TILE - 1) / TILE, size = TILE * TILE;
  alignas(64) float sums[SQUARE * LANES];
  fit_heads(TILE, TILE);
  asm volatile("" ::: "memory");
  const int steps = whole_steps(L) / (2 * TILE);
  const auto settle_rows = [&](const float *from, int d) {
    for (int i = 0; i < TILE && d + i < head_dim; i++)
      for (int j = 0; j < 2; j++)
        store(out + (d + i) * LANES + j * W, multiply(load(from + i * LANES + j * W), scale[j]));
  };
  for (int block = 0; block < blocks; block += 2) {
    zero_sums();
    for (int step = 0; step < steps; step++) {
      const uint32_t *value = values + (step * blocks + block) * size;
      const uint32_t *weight = weights + step * TILE * LANES;
      _tile_loadd(6, weight, LANES * sizeof(uint32_t));
      _tile_loadd(7, weight + TILE, LANES * sizeof(uint32_t));
      _tile_loadd(4, value, 64);
      if (block + 1 < blocks) {
        _tile_loadd(5, value + size, 64);
        multiply_add<TileBFloat16, true>();
      } else {
        multiply_add<TileBFloat16, false>();
      }
    }
    store_sums(sums);
    settle_rows(sums, block * TILE);
    if (block + 1 < blocks) settle_rows(sums + TILE * LANES, (block + 1) * TILE);
  }
}

}  // namespace
