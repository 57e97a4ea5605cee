// Rows times weights: out = in W^T + bias, for weights laid out beforehand.
//
//   in      rows x K elements, one row after the other
//   W       N x K, in panels of C = TILE_VECTORS W columns:  [N / C][K / PER_WORD][C][PER_WORD]
//
// A tile of TILE_ROWS x C sums stays in registers while K goes by: each step loads C words of a
// panel, which lie in a row, and broadcasts one word of each row. A panel is used for all rows
// before the next one, so it comes from the nearest cache. Each sum is formed in the order of K,
// whatever the number of rows: a row's numbers do not depend on the rows beside it.
#pragma once
#include "columns.h"
#include "gate.h"
#include "operand.h"
#ifdef __AMX_TILE__
#include "amx.h"
#endif

namespace {

template <class Product, class X, Then then, int rows>
inline void tile(const uint32_t *in, const float *row_scales, int stride, const uint32_t *panel,
                 int words, const Linear &columns, void *out, int out_stride) {
  V sums[rows][TILE_VECTORS];
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < TILE_VECTORS; j++)
      sums[i][j] = columns.bias && !is_bytes<Product> ? load(columns.bias + j * W) : zero();
  for (int k = 0; k < words; k++) {
    Words weights[TILE_VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < TILE_VECTORS; j++) weights[j] = load_words(panel + k * PANEL + j * W);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
      for (int j = 0; j < TILE_VECTORS; j++)
        sums[i][j] = Product::multiply_add(sums[i][j], in[i * stride + k], weights[j]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < TILE_VECTORS; j++) {
      const Linear own = {nullptr, columns.bias + j * W, columns.scales + j * W,
                          columns.offsets + j * W};
      settle<Product, X, then>(sums[i][j], own, row_scales + i, out,
                               static_cast<size_t>(i) * out_stride + j * W);
    }
}

template <class Product, class X, Then then, int rows>
inline void tiles(int &row, int end, const Operand &in, int stride, const uint32_t *panel,
                  int words, const Linear &columns, char *out, int out_stride, size_t size) {
  for (; row + rows <= end; row += rows)
    tile<Product, X, then, rows>(in.words + static_cast<size_t>(row) * stride, in.scales + row,
                                 stride, panel, words, columns,
                                 out + static_cast<size_t>(row) * out_stride * size, out_stride);
}

// Bytes of the buffer of a product of rows of up to 4 D elements.
template <class Product>
size_t buffer_bytes(size_t rows, size_t D) {
#ifdef __AMX_TILE__
  if constexpr (in_tiles<Product>) return tile_operand_bytes<Product>(rows, D);
#endif
  return operand_bytes<Product>(rows, D);
}

// As `linear`, of sums in vectors.
template <class Product, class X, Then then>
void by_vectors(const typename X::Element *in, const Linear &linear, int rows, int K, int N,
                Columns columns, void *out, char *buffer, const Way &way) {
  const Operand all = operand<Product, X>(in, rows, K, buffer);
  const int words = K / Product::PER_WORD;
  const size_t size = then == Then::ADD ? sizeof(float) : sizeof(typename X::Element);
  // Only float sums that are added to memory can be made in several passes over K.
  const int block = then == Then::ADD && !is_bytes<Product> ? K_BLOCK : words;
  for (int k = 0; k < words; k += block) {
    const int taken = words - k < block ? words - k : block;
    const Operand a = {all.words + k, all.scales};
    for (int n = columns.first; n < columns.end; n += PANEL) {
      way.let_by();
      const uint32_t *panel = linear.panels + static_cast<size_t>(n) * words + k * PANEL;
      const Linear own = {nullptr, k == 0 ? linear.bias + n : nullptr, linear.scales + n,
                          linear.offsets + n};
      char *o = static_cast<char *>(out) + n * size;
      int row = 0;
      tiles<Product, X, then, TILE_ROWS>(row, rows, a, words, panel, taken, own, o, N, size);
      tiles<Product, X, then, TILE_ROWS / 2>(row, rows, a, words, panel, taken, own, o, N,
                                             size);
      tiles<Product, X, then, 2>(row, rows, a, words, panel, taken, own, o, N, size);
      tiles<Product, X, then, 1>(row, rows, a, words, panel, taken, own, o, N, size);
    }
  }
}

// in: rows x K; out: rows x N elements of X, or, for ADD, floats that the product is added to.
// buffer: of buffer_bytes. Only `columns` of out are computed.
template <class Product, class X, Then then>
void linear(const typename X::Element *in, const Linear &weights, int rows, int K, int N,
            Columns columns, void *out, char *buffer, const Way &way) {
#ifdef __AMX_TILE__
  if constexpr (in_tiles<Product>)
    by_tiles<Product, X, then>(in, weights, rows, K, N, columns, out, buffer, way);
  else
#endif
    by_vectors<Product, X, then>(in, weights, rows, K, N, columns, out, buffer, way);
}

// The same for all columns.
template <class Product, class X, Then then>
void linear(const typename X::Element *in, const Linear &weights, int rows, int K, int N, void *out,
            char *buffer, const Way &way) {
  linear<Product, X, then>(in, weights, rows, K, N, {0, N}, out, buffer, way);
}

}  // namespace
