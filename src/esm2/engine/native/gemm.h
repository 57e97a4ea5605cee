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
#include "abi.h"
#include "element.h"
#include "functions.h"
#include "operand.h"

namespace {

constexpr int PANEL = TILE_VECTORS * W;  // columns
constexpr int K_BLOCK = 1280;            // words; a panel of so many is 160 KB

// What becomes of the sums.
enum class Then { STORE, GELU, ADD };

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
      const size_t at = static_cast<size_t>(i) * out_stride + j * W;
      V y = sums[i][j];
      if constexpr (is_bytes<Product>) {
        const V scale = multiply(load(columns.scales + j * W), broadcast(row_scales[i]));
        y = fma(Product::to_floats(y, columns.offsets + j * W), scale,
                load(columns.bias + j * W));
      }
      if constexpr (then == Then::ADD) {
        float *x = static_cast<float *>(out) + at;
        store(x, add(load(x), y));
      } else {
        X::store(static_cast<typename X::Element *>(out) + at, then == Then::GELU ? gelu(y) : y);
      }
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

// Some of the columns of a product, whole panels.
struct Columns {
  int first, end;
};

// in: rows x K; out: rows x N elements of X, or, for ADD, floats that the product is added to.
// buffer: operand_bytes(rows, K), if the product is of bytes. Only `columns` of out are computed.
template <class Product, class X, Then then>
void linear(const typename X::Element *in, const Linear &linear, int rows, int K, int N,
            Columns columns, void *out, char *buffer) {
  const Operand all = operand<Product, X>(in, rows, K, buffer);
  const int words = K / Product::PER_WORD;
  const size_t size = then == Then::ADD ? sizeof(float) : sizeof(typename X::Element);
  // Only float sums that are added to memory can be made in several passes over K.
  const int block = then == Then::ADD && !is_bytes<Product> ? K_BLOCK : words;
  for (int k = 0; k < words; k += block) {
    const int taken = words - k < block ? words - k : block;
    const Operand a = {all.words + k, all.scales};
    for (int n = columns.first; n < columns.end; n += PANEL) {
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

// The same for all columns.
template <class Product, class X, Then then>
void linear(const typename X::Element *in, const Linear &weights, int rows, int K, int N, void *out,
            char *buffer) {
  linear<Product, X, then>(in, weights, rows, K, N, {0, N}, out, buffer);
}

}  // namespace
