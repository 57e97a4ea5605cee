// One vector of this machine: 8 floats (AVX2, FMA). The same names as in avx512.h.
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace {

constexpr int W = 8;
constexpr int TILE_ROWS = 6;  // 6 x 2 sums, 2 weights, 1 activation: 15 of 16 registers
constexpr int TILE_VECTORS = 2;
constexpr int MIX_ROWS = 4;

using V = __m256;
using Words = __m256i;

inline V zero() { return _mm256_setzero_ps(); }
inline V broadcast(float x) { return _mm256_set1_ps(x); }
inline V load(const float *p) { return _mm256_loadu_ps(p); }
inline void store(float *p, V v) { _mm256_storeu_ps(p, v); }
inline V add(V a, V b) { return _mm256_add_ps(a, b); }
inline V subtract(V a, V b) { return _mm256_sub_ps(a, b); }
inline V multiply(V a, V b) { return _mm256_mul_ps(a, b); }
inline V divide(V a, V b) { return _mm256_div_ps(a, b); }
inline V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
inline V maximum(V a, V b) { return _mm256_max_ps(a, b); }
inline V minimum(V a, V b) { return _mm256_min_ps(a, b); }
inline V nearest(V v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// n is whole; below -126 the result is 0 (denormals are flushed).
inline V times_power_of_2(V v, V n) {
  const V held = maximum(n, broadcast(-127.0f));
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(held), _mm256_set1_epi32(127));
  return multiply(v, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
inline float largest(V v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline float total(V v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

inline void transpose(V (&r)[W]) {
  V a[W], b[W];
#pragma GCC unroll 4
  for (int i = 0; i < W; i += 2) {
    a[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    a[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < W; i += 4) {
    b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
    b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; c++) {
    r[c] = _mm256_permute2f128_ps(b[c], b[4 + c], 0x20);
    r[4 + c] = _mm256_permute2f128_ps(b[c], b[4 + c], 0x31);
  }
}

inline void pause() { _mm_pause(); }

inline Words load_words(const uint32_t *p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p));
}
inline V as_floats(Words w) { return _mm256_castsi256_ps(w); }

}  // namespace
