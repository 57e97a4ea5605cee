// Activations as a product wants them: as they are, or as bytes.
#pragma once
#include <type_traits>

#include "element.h"

namespace {

template <class Product>
constexpr bool is_bytes = Product::PER_WORD == 4;

// Rows of K elements. A byte is 128 + x / scale of its row, whose largest |x| becomes 127; the 128
// comes off again with the offsets of a column, 128 times the sum of its weights.
struct Operand {
  const uint32_t *words;
  const float *scales;  // of each row, if bytes
};

inline size_t operand_bytes(int rows, int K) {
  return static_cast<size_t>(rows) * (K + sizeof(float));
}

template <class Product, class X>
Operand operand(const typename X::Element *in, int rows, int K, char *buffer) {
  if constexpr (is_bytes<Product>) {
    float *scales = reinterpret_cast<float *>(buffer);
    uint8_t *bytes = reinterpret_cast<uint8_t *>(scales + rows);
    for (int row = 0; row < rows; row++) {
      const typename X::Element *x = in + static_cast<size_t>(row) * K;
      V top = zero();
      for (int k = 0; k < K; k += W) {
        const V v = X::load(x + k);
        top = maximum(top, maximum(v, subtract(zero(), v)));
      }
      const float largest_one = largest(top);
      scales[row] = largest_one / 127;
      const V scale = broadcast(largest_one > 0 ? 127 / largest_one : 0);
      for (int k = 0; k < K; k += W)
        Product::store(bytes + static_cast<size_t>(row) * K + k, multiply(X::load(x + k), scale));
    }
    return {reinterpret_cast<const uint32_t *>(bytes), scales};
  } else {
    static_assert(std::is_same_v<Product, X>);
    return {reinterpret_cast<const uint32_t *>(in), nullptr};
  }
}

}  // namespace
