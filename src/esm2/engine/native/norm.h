// Layer norm of rows of the residual stream, into elements of X.
#pragma once
#include <cmath>

#include "abi.h"
#include "element.h"

namespace {


template <class X>
void layer_norm(const float *x, const Norm &norm, float eps, int rows, int D,
                typename X::Element *out) {
  for (int row = 0; row < rows; row++, x += D, out += D) {
    V s = zero();
    for (int d = 0; d < D; d += W) s = add(s, load(x + d));
    const V mean = broadcast(total(s) / D);
    V squares = zero();
    for (int d = 0; d < D; d += W) {
      const V centred = subtract(load(x + d), mean);
      squares = fma(centred, centred, squares);
    }
    const V scale = broadcast(1.0f / std::sqrt(total(squares) / D + eps));
    for (int d = 0; d < D; d += W) {
      const V y = multiply(subtract(load(x + d), mean), scale);
      X::store(out + d, fma(y, load(norm.weight + d), load(norm.bias + d)));
    }
  }
}

}  // namespace
