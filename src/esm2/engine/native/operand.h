// Activations as a product wants them: as they are, or as bytes.
#pragma once
#include "columns.h"
#include "element.h"

namespace {

// A byte is 128 + x / scale of its row, whose largest |x| becomes 127; the 128 comes off again with
// the offsets of a column, 128 times the sum of its weights.
//
// What a row of K elements is to be multiplied by, and the scale.
template <class X>
V byte_scale(const typename X::Element *x, int K, float &scale) {
  V top = zero();
  for (int k = 0; k < K; k += W) {
    const V v = X::load(x + k);
    top = maximum(top, maximum(v, subtract(zero(), v)));
  }
  const float largest_one = largest(top);
  scale = largest_one / 127;
  return broadcast(largest_one > 0 ? 127 / largest_one : 0);
}

struct Operand {
  const uint32_t *words;
  const float *scales;  // of each row, if bytes
};

// Bytes of the buffer in which rows of up to 4 D elements become an operand.
template <class Product>
size_t operand_bytes(size_t rows, size_t D) {
  return is_bytes<Product> ? rows * (4 * D + sizeof(float)) : 0;
}

template <class Product, class X>
Operand operand(const typename X::Element *in, int rows, int K, char *buffer) {
  if constexpr (is_bytes<Product>) {
    float *scales = reinterpret_cast<float *>(buffer);
    uint8_t *bytes = reinterpret_cast<uint8_t *>(scales + rows);
    for (int row = 0; row < rows; row++, in += K, bytes += K) {
      const V scale = byte_scale<X>(in, K, scales[row]);
      for (int k = 0; k < K; k += W) Product::store(bytes + k, multiply(X::load(in + k), scale));
    }
    return {reinterpret_cast<const uint32_t *>(scales + rows), scales};
  } else {
    static_assert(std::is_same_v<Product, X>);
    return {reinterpret_cast<const uint32_t *>(in), nullptr};
  }
}

}  // namespace
