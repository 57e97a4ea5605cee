// One vector of this machine: 16 floats (AVX-512F, BW, DQ, VL).
//
// avx2.h has the same names for 8 floats. kernels.cpp includes one of them, so everything above is
// written once.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int W = 16;          // floats in a vector
constexpr int TILE_ROWS = 14;  // 14 x 2 sums, 2 weights, 1 activation: 31 of 32 registers
constexpr int TILE_VECTORS = 2;
constexpr int MIX_ROWS = 8;  // of sums over values, attention.h

using V = __m512;
using Words = __m512i;  // W words of 32 bits, whatever they hold

inline V zero() { return _mm512_setzero_ps(); }
inline V broadcast(float x) { return _mm512_set1_ps(x); }
inline V load(const float *p) { return _mm512_loadu_ps(p); }
inline void store(float *p, V v) { _mm512_storeu_ps(p, v); }
inline V add(V a, V b) { return _mm512_add_ps(a, b); }
inline V subtract(V a, V b) { return _mm512_sub_ps(a, b); }
inline V multiply(V a, V b) { return _mm512_mul_ps(a, b); }
inline V divide(V a, V b) { return _mm512_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }  // a b + c
inline V maximum(V a, V b) { return _mm512_max_ps(a, b); }
inline V minimum(V a, V b) { return _mm512_min_ps(a, b); }
inline V nearest(V v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT); }
inline V times_power_of_2(V v, V n) { return _mm512_scalef_ps(v, n); }
inline float largest(V v) { return _mm512_reduce_max_ps(v); }
inline float total(V v) { return _mm512_reduce_add_ps(v); }

// Row i of W words becomes column i.
inline void transpose(V (&r)[W]) {
  V a[W], b[W];
#pragma GCC unroll 8
  for (int i = 0; i < W; i += 2) {
    a[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    a[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  const auto low = [](V x, V y) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
  };
  const auto high = [](V x, V y) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
  };
#pragma GCC unroll 4
  for (int i = 0; i < W; i += 4) {
    b[i] = low(a[i], a[i + 2]);
    b[i + 1] = high(a[i], a[i + 2]);
    b[i + 2] = low(a[i + 1], a[i + 3]);
    b[i + 3] = high(a[i + 1], a[i + 3]);
  }
  // Quarters of a vector: b[4 g + c] holds column 4 q + c of the rows 4 g .. 4 g + 3 in quarter q.
#pragma GCC unroll 4
  for (int c = 0; c < 4; c++) {
    const V even01 = _mm512_shuffle_f32x4(b[c], b[4 + c], 0x88);
    const V odd01 = _mm512_shuffle_f32x4(b[c], b[4 + c], 0xdd);
    const V even23 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0x88);
    const V odd23 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0xdd);
    r[c] = _mm512_shuffle_f32x4(even01, even23, 0x88);
    r[8 + c] = _mm512_shuffle_f32x4(even01, even23, 0xdd);
    r[4 + c] = _mm512_shuffle_f32x4(odd01, odd23, 0x88);
    r[12 + c] = _mm512_shuffle_f32x4(odd01, odd23, 0xdd);
  }
}

inline void pause() { _mm_pause(); }

inline Words load_words(const uint32_t *p) { return _mm512_loadu_si512(p); }
inline V as_floats(Words w) { return _mm512_castsi512_ps(w); }

}  // namespace
