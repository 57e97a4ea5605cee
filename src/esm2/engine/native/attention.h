// Attention of one head of one sequence, with the rotary embedding.
//
//   qkv     (L, 3, H, head_dim) elements, as the projection leaves them
//   context (L, H, head_dim)
//
// Keys are turned and values laid out once; then LANES queries at a time, one in each lane, meet all
// keys:
//
//   scores  [t][lane] = sum over d of  key[t][d] (broadcast)  x  queries[d][lane]
//   softmax down each lane: no sum and no maximum ever crosses lanes
//   context [d][lane] = sum over t of  value[t][d] (broadcast)  x  weights[t][lane]
//
// The L x L map never exists; an observer sees each L x LANES block of it as it passes (contacts,
// attentions). A lane's arithmetic does not depend on the others. L counts tokens here.
#pragma once
#include <cmath>
#include <cstring>

#include "element.h"
#include "functions.h"
#include "gate.h"
#ifdef __AMX_TILE__
#include "amx_attention.h"
#endif

namespace {

constexpr float LOG2_E = 1.4426950408889634f;

// A block of the map, softmaxed: what query first + lane gives to key t is
// weights[t * LANES + lane] * scale[lane]. The scale of lanes from `count` on is 0.
struct MapBlock {
  const float *weights, *scale;
  int first, count;
};

// Buffers of one thread.
struct Scratch {
  uint32_t *keys;     // L x head_dim / PER_WORD
  uint32_t *values;   // L / PER_WORD x head_dim
  uint32_t *queries;  // head_dim / PER_WORD x LANES
  float *scores;      // L x LANES

  // Whole steps of 32 keys.
  static size_t padded(int L) { return (static_cast<size_t>(L) + 31) / 32 * 32; }
  static size_t bytes(int L, int head_dim) {
    const size_t rows = padded(L);
    return 4 * (2 * rows * head_dim + LANES * (rows + head_dim)) + 4 * 64;
  }
  Scratch(char *at, int L, int head_dim) {
    const size_t rows = padded(L);
    const auto take = [&](size_t words) {
      char *p = at;
      at += (words * 4 + 63) / 64 * 64;
      return p;
    };
    keys = reinterpret_cast<uint32_t *>(take(rows * head_dim));
    values = reinterpret_cast<uint32_t *>(take(rows * head_dim));
    queries = reinterpret_cast<uint32_t *>(take(static_cast<size_t>(LANES) * head_dim));
    scores = reinterpret_cast<float *>(take(LANES * rows));
  }
};

template <class X, int head_dim>
struct Head {
  using Element = typename X::Element;
  static constexpr int HALF = head_dim / 2;
  static constexpr int WORDS = head_dim / X::PER_WORD;

  const Element *q, *k, *v;  // this head of the first token
  int stride;                // elements from token to token
  int L;
  const float *cos, *sin;    // positions x HALF
  Scratch scratch;

  // A query or key turned by the angle of its position. Two bfloat16 that share a word are the two
  // that turn together; queries and keys are paired alike, so products do not notice.
  void turn(const Element *__restrict x, int position, float scale,
            uint32_t *__restrict out) const {
    const float *__restrict c = cos + position * HALF;
    const float *__restrict s = sin + position * HALF;
    for (int i = 0; i < HALF; i++) {
      const float a = X::to_float(x[i]) * scale, b = X::to_float(x[HALF + i]) * scale;
      const float turned_a = a * c[i] - b * s[i], turned_b = b * c[i] + a * s[i];
      if constexpr (X::PER_WORD == 2) {
        out[i] = X::bits(turned_a) | X::bits(turned_b) << 16;
      } else {
        out[i] = X::bits(turned_a);
        out[HALF + i] = X::bits(turned_b);
      }
    }
  }

  // Has to come before `run`.
  void lay_out() const {
    lay_out_keys();
    lay_out_values();
  }

  void lay_out_keys() const {
    for (int t = 0; t < L; t++)
      turn(k + static_cast<size_t>(t) * stride, t, 1.0f, scratch.keys + t * WORDS);
  }

  void lay_out_values() const {
#ifdef __AMX_TILE__
    if constexpr (X::PER_WORD == 2) {
      const auto at = [this](int t) { return v + static_cast<size_t>(t) * stride; };
      return values_in_tiles<head_dim>(at, L, scratch.values);
    }
#endif
    for (int t = 0; t < L; t += X::PER_WORD) {
      const Element *__restrict row = v + static_cast<size_t>(t) * stride;
      uint32_t *__restrict out = scratch.values + t / X::PER_WORD * head_dim;
      if constexpr (X::PER_WORD == 1) {
        memcpy(out, row, head_dim * sizeof(Element));
      } else if (t + 1 < L) {
        for (int d = 0; d < head_dim; d++)
          out[d] = row[d] | static_cast<uint32_t>(row[stride + d]) << 16;
      } else {
        for (int d = 0; d < head_dim; d++) out[d] = row[d];
      }
    }
  }

  // A vector of queries into their lanes, transposed. Missing ones are 0.
  void lay_out_queries(int first, int count, uint32_t *out) const {
    const float scale = LOG2_E / std::sqrt(static_cast<float>(head_dim));
    constexpr int padded = (WORDS + W - 1) / W * W;
    alignas(64) uint32_t rows[W][padded] = {};
    for (int i = 0; i < count; i++)
      turn(q + static_cast<size_t>(first + i) * stride, first + i, scale, rows[i]);
    for (int d = 0; d < WORDS; d += W) {
      V square[W];
      for (int i = 0; i < W; i++) square[i] = as_floats(load_words(rows[i] + d));
      transpose(square);
      for (int i = 0; i < W && d + i < WORDS; i++)
        store(reinterpret_cast<float *>(out + (d + i) * LANES), square[i]);
    }
  }

  // Scores of `rows` keys; their maximum joins `top`.
  template <int rows>
  void score(int t, V (&top)[2]) const {
    const uint32_t *keys = scratch.keys + t * WORDS;
    V sums[rows][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = zero();
    for (int d = 0; d < WORDS; d++) {
      const Words left = load_words(scratch.queries + d * LANES);
      const Words right = load_words(scratch.queries + d * LANES + W);
#pragma GCC unroll 16
      for (int i = 0; i < rows; i++) {
        sums[i][0] = X::multiply_add(sums[i][0], keys[i * WORDS + d], left);
        sums[i][1] = X::multiply_add(sums[i][1], keys[i * WORDS + d], right);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
      for (int j = 0; j < 2; j++) {
        top[j] = maximum(top[j], sums[i][j]);
        store(scratch.scores + (t + i) * LANES + j * W, sums[i][j]);
      }
  }

  // Scores of all keys, and their maximum down each lane.
  void score(V (&top)[2]) const {
#ifdef __AMX_TILE__
    if constexpr (X::PER_WORD == 2)
      return score_in_tiles<head_dim>(scratch.keys, scratch.queries, L, scratch.scores, top);
#endif
    int t = 0;
    for (; t + TILE_ROWS <= L; t += TILE_ROWS) score<TILE_ROWS>(t, top);
    for (; t + 4 <= L; t += 4) score<4>(t, top);
    for (; t < L; t++) score<1>(t, top);
  }

  // exp(score - top) in place, as floats or as words of X; the reciprocal of the sum of each lane.
  template <bool floats>
  void soften(const V (&top)[2], V (&scale)[2]) const {
    V sum[2] = {zero(), zero()};
    const auto weight = [&](int t, int j) {
      const V score = load(scratch.scores + t * LANES + j * W);
      const V p = exp2<X::EXACT>(subtract(score, top[j]));
      sum[j] = add(sum[j], p);
      return p;
    };
    if constexpr (floats || X::PER_WORD == 1) {
      for (int t = 0; t < L; t++)
        for (int j = 0; j < 2; j++) store(scratch.scores + t * LANES + j * W, weight(t, j));
    } else {
      int t = 0;
      for (; t + 2 <= L; t += 2)
        for (int j = 0; j < 2; j++) {
          const V even = weight(t, j), odd = weight(t + 1, j);
          X::store_pair(scratch.scores + t / 2 * LANES + j * W, even, odd);
        }
      for (int j = 0; t < L && j < 2; j++)
        X::store_pair(scratch.scores + t / 2 * LANES + j * W, weight(t, j), zero());
    }
    for (int j = 0; j < 2; j++) scale[j] = divide(broadcast(1.0f), sum[j]);
  }

  // Floats to words of X, in place: what is written lies before what is still to be read.
  void pair_up() const {
    for (int t = 0; t < L; t += 2)
      for (int j = 0; j < 2; j++) {
        const float *p = scratch.scores + t * LANES + j * W;
        X::store_pair(scratch.scores + t / 2 * LANES + j * W, load(p),
                      t + 1 < L ? load(p + LANES) : zero());
      }
  }

  // `rows` dimensions of the context of all lanes, into out[d][lane].
  template <int rows>
  void mix(int d, const V (&scale)[2], float *out) const {
    const int words = (L + X::PER_WORD - 1) / X::PER_WORD;
    const uint32_t *weights = reinterpret_cast<const uint32_t *>(scratch.scores);
    const uint32_t *values = scratch.values + d;
    V sums[rows][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = zero();
    for (int t = 0; t < words; t++) {
      const Words left = load_words(weights + t * LANES);
      const Words right = load_words(weights + t * LANES + W);
#pragma GCC unroll 16
      for (int i = 0; i < rows; i++) {
        sums[i][0] = X::multiply_add(sums[i][0], values[t * head_dim + i], left);
        sums[i][1] = X::multiply_add(sums[i][1], values[t * head_dim + i], right);
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
      for (int j = 0; j < 2; j++)
        store(out + (d + i) * LANES + j * W, multiply(sums[i][j], scale[j]));
  }

  // The context of all lanes, into out[d][lane].
  void mix(const V (&scale)[2], float *out) const {
#ifdef __AMX_TILE__
    if constexpr (X::PER_WORD == 2) {
      uint32_t *weights = reinterpret_cast<uint32_t *>(scratch.scores);
      const int words = (L + 1) / 2, whole = whole_steps(L) / 2;
      memset(weights + words * LANES, 0, (whole - words) * LANES * sizeof(uint32_t));
      return mix_in_tiles<head_dim>(scratch.values, weights, L, scale, out);
    }
#endif
    constexpr int rows = head_dim % MIX_ROWS ? 6 : MIX_ROWS;
    for (int d = 0; d < head_dim; d += rows) mix<rows>(d, scale, out);
  }

  // The context of a block, [d][lane], to the rows of its queries.
  void hand_out(const float *mixed, int count, Element *context, int context_stride) const {
    for (int lane = 0; lane < count; lane += W)
      for (int d = 0; d < head_dim; d += W) {
        V square[W];
        const int wide = head_dim - d < W ? head_dim - d : W;
        for (int i = 0; i < W; i++)
          square[i] = i < wide ? load(mixed + (d + i) * LANES + lane) : zero();
        transpose(square);
        const int taken = count - lane < W ? count - lane : W;
        for (int i = 0; i < taken; i++) {
          Element *out = context + static_cast<size_t>(lane + i) * context_stride + d;
          if (wide == W) {
            X::store(out, square[i]);
          } else {
            Element row[W];
            X::store(row, square[i]);
            memcpy(out, row, wide * sizeof(Element));
          }
        }
      }
  }

  template <bool observed, class Observer>
  void block(int first, int count, Element *context, int context_stride,
             const Observer &observe) const {
    for (int j = 0; j < 2; j++) {
      const int left = count - j * W;
      lay_out_queries(first + j * W, left < 0 ? 0 : left < W ? left : W, scratch.queries + j * W);
    }
    V top[2] = {broadcast(-INFINITY), broadcast(-INFINITY)}, scale[2];
    score(top);
    soften<observed>(top, scale);
    if constexpr (observed) {
      alignas(64) float shown[LANES];
      for (int j = 0; j < 2; j++) store(shown + j * W, scale[j]);
      for (int lane = count; lane < LANES; lane++) shown[lane] = 0;
      observe(MapBlock{scratch.scores, shown, first, count});
      if constexpr (X::PER_WORD == 2) pair_up();
    }
    alignas(64) float mixed[head_dim * LANES];
    mix(scale, mixed);
    hand_out(mixed, count, context, context_stride);
  }

  // The queries first .. end - 1.
  template <bool observed, class Observer>
  void run(int first, int end, Element *context, int context_stride, const Observer &observe,
           const Way &way) const {
    for (int start = first; start < end; start += LANES) {
      way.let_by();
      block<observed>(start, end - start < LANES ? end - start : LANES,
                      context + static_cast<size_t>(start) * context_stride, context_stride,
                      observe);
    }
  }
};

}  // namespace
