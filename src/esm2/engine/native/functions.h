// exp and GELU of a vector.
#pragma once
#include <initializer_list>

#include "vector.h"

namespace {

// 2^x for x <= 0: 2^n 2^f with f in [-1/2, 1/2]. The coefficients of degree 6 are the Taylor series
// of exp(f ln 2), right to a float32's last digits; those of degree 3 are a minimax fit, right to
// 1e-4, which bfloat16 cannot show.
template <bool exact>
inline V exp2(V x) {
  const V n = nearest(x);
  const V f = subtract(x, n);
  if constexpr (!exact) {
    V p = broadcast(0.05517132f);
    for (const float c : {0.24261157f, 0.69326099f, 0.99992807f}) p = fma(p, f, broadcast(c));
    return times_power_of_2(p, n);
  } else {
    V p = broadcast(1.54035304e-4f);
    for (const float c : {1.33335581e-3f, 9.61812911e-3f, 5.55041087e-2f, 2.40226507e-1f,
                          6.93147181e-1f, 1.0f})
      p = fma(p, f, broadcast(c));
    return times_power_of_2(p, n);
  }
}

// x Phi(x), the exact GELU, within [-bound, bound]; beyond, Phi(x) is 0 or 1 in float32. Phi(x) - 1/2 =
// x P(x^2) / Q(x^2); P and Q were fitted for this file by iterated least squares: error 8e-9. For
// bfloat16, Q is 1, and at the bound Phi(x), which is 3e-5 there, is 0 or 1: a GELU's error is 1.3e-4.
template <bool exact>
inline V gelu(V x) {
  constexpr float bound = exact ? 5.55f : 4.0f;
  const V z = maximum(minimum(x, broadcast(bound)), broadcast(-bound));
  const V s = multiply(z, z);
  V phi;
  if constexpr (exact) {
    constexpr float P[] = {6.352734544634586e-06f, 1.7127420869655907e-04f, 4.69181826338172e-03f,
                           3.410917893052101e-02f, 3.98942232131958e-01f};
    constexpr float Q[] = {7.434886356350034e-05f, 1.898334827274084e-03f, 2.8789693489670753e-02f,
                           2.521648705005646e-01f, 1.0f};
    V p = broadcast(2.2442765867936032e-08f), q = broadcast(1.1886171478181495e-06f);
    for (int i = 0; i < 5; i++) {
      p = fma(p, s, broadcast(P[i]));
      q = fma(q, s, broadcast(Q[i]));
    }
    phi = divide(p, q);
  } else {
    phi = broadcast(-1.173172e-09f);
    for (const float c : {9.66500195e-08f, -3.47806076e-06f, 7.26652652e-05f, -9.91864596e-04f,
                          9.45348386e-03f, -6.58009723e-02f, 3.98624331e-01f})
      phi = fma(phi, s, broadcast(c));
  }
  return multiply(x, fma(z, phi, broadcast(0.5f)));
}

}  // namespace
