// The vectors of the instruction set that this file is compiled for.
#pragma once
#if defined(__AVX512F__)
#include "avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "avx2.h"
#else
#error "compile for x86-64-v3 (AVX2, FMA) or better"
#endif

namespace {

constexpr int LANES = 2 * W;  // queries of a block of attention

#ifdef __AMX_TILE__
constexpr int ROWS_AT_ONCE = 32;  // of a product, amx.h
// A thread that has used tiles and not given them back is slower to switch to.
struct TilesOfThread {
  ~TilesOfThread() { _tile_release(); }
};
#else
constexpr int ROWS_AT_ONCE = TILE_ROWS;
struct TilesOfThread {};
#endif

}  // namespace
