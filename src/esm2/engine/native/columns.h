// What all products share: panels of weights, columns of the result, what becomes of the sums.
#pragma once
#include <type_traits>

#include "abi.h"
#include "element.h"
#include "functions.h"

namespace {

constexpr int PANEL = TILE_VECTORS * W;  // columns
constexpr int K_BLOCK = 1280;            // words; a panel of so many is 160 KB

template <class Product>
constexpr bool is_bytes = Product::PER_WORD == 4;

// Some of the columns of a product, whole panels.
struct Columns {
  int first, end;
};

// What becomes of the sums.
enum class Then { STORE, GELU, ADD };

// A vector of sums goes to `at` of out, elements of X or, for ADD, floats that it is added to.
// `columns` begin with the first of the vector; row_scale: of bytes only.
template <class Product, class X, Then then>
inline void settle(V y, const Linear &columns, const float *row_scale, void *out, size_t at) {
  if constexpr (is_bytes<Product>) {
    const V scale = multiply(load(columns.scales), broadcast(*row_scale));
    y = fma(Product::to_floats(y, columns.offsets), scale, load(columns.bias));
  }
  if constexpr (then == Then::ADD) {
    float *x = static_cast<float *>(out) + at;
    store(x, add(load(x), y));
  } else {
    X::store(static_cast<typename X::Element *>(out) + at, then == Then::GELU ? gelu<X::EXACT>(y) : y);
  }
}

}  // namespace
