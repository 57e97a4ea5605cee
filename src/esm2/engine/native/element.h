// The dtypes of the arithmetic. Products are formed of what fits into 32 bits: one float, two
// bfloat16, or four bytes; sums of floats, the residual stream, norms and softmax are float32.
#pragma once
#include "vector.h"

namespace {

struct Float32 {
  using Element = float;
  static constexpr int PER_WORD = 1;
  static constexpr bool EXACT = true;  // of functions: to the last digits
  static V multiply_add(V sums, uint32_t activation, Words weights) {
    return fma(broadcast(__builtin_bit_cast(float, activation)), as_floats(weights), sums);
  }
  static V load(const float *p) { return ::load(p); }
  static void store(float *p, V v) { ::store(p, v); }
  static float to_float(float x) { return x; }
  static uint32_t bits(float x) { return __builtin_bit_cast(uint32_t, x); }
};

#ifdef __AVX512BF16__
struct BFloat16 {  // also what is between the products of bytes
  using Element = uint16_t;
  static constexpr int PER_WORD = 2;
  static constexpr bool EXACT = false;
  static V multiply_add(V sums, uint32_t activations, Words weights) {
    return _mm512_dpbf16_ps(sums, (__m512bh)_mm512_set1_epi32(static_cast<int>(activations)),
                            (__m512bh)weights);
  }
  static V load(const uint16_t *p) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p));
    return as_floats(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static void store(uint16_t *p, V v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), (__m256i)_mm512_cvtneps_pbh(v));
  }
  // Words of (even, odd).
  static void store_pair(void *p, V even, V odd) {
    const __m256i low = (__m256i)_mm512_cvtneps_pbh(even);
    const __m256i high = (__m256i)_mm512_cvtneps_pbh(odd);
    _mm512_storeu_si512(p, _mm512_or_si512(_mm512_cvtepu16_epi32(low),
                                           _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16)));
  }
  static float to_float(uint16_t x) {
    return __builtin_bit_cast(float, static_cast<uint32_t>(x) << 16);
  }
  static uint32_t bits(float x) {  // to the nearest, ties to even
    const uint32_t bits = __builtin_bit_cast(uint32_t, x);
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  }
};
#endif

#ifdef __AVX512F__
// Activations without, weights with a sign. Sums are whole numbers in the place of floats, and the
// instruction, one of AVX512_VNNI, is written out: GCC 12 keeps an array of float vectors in
// registers, but spills one that _mm512_dpbusd_epi32 adds to, which takes more than twice as long.
struct Int8 {
  static constexpr int PER_WORD = 4;
  static V multiply_add(V sums, uint32_t activations, Words weights) {
    asm("vpdpbusd %2, %1, %0"
        : "+v"(sums)
        : "v"(_mm512_set1_epi32(static_cast<int>(activations))), "v"(weights));
    return sums;
  }
  static V to_floats(V sums, const int32_t *offsets) {
    return _mm512_cvtepi32_ps(
        _mm512_sub_epi32(_mm512_castps_si512(sums), _mm512_loadu_si512(offsets)));
  }
  // Bytes 128 + v, for whole v in [-127, 127].
  static void store(uint8_t *p, V v) {
    const __m512i whole = _mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(128));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm512_cvtusepi32_epi8(whole));
  }
};
#endif

}  // namespace
