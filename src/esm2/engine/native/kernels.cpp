// Compiled once for each instruction set; SUFFIX tells the results apart.
#include "forward.h"
#include "head.h"

namespace {

template <class X, class Product = X>
size_t workspace(const Model *model, const Job *job) {
  return Forward<X, Product>(*model, *job).workspace();
}

template <class X, class Product = X>
void forward(const Model *model, const Job *job) {
  Forward<X, Product>(*model, *job).run();
}

}  // namespace

#define NAME2(dtype, suffix) esm2_##dtype##_##suffix
#define NAME(dtype, suffix) NAME2(dtype, suffix)

extern "C" const Kernels NAME(float32, SUFFIX) = {PANEL, 1, workspace<Float32>, forward<Float32>,
                                                  language_head};
#ifdef __AVX512BF16__
extern "C" const Kernels NAME(bfloat16, SUFFIX) = {PANEL, 2, workspace<BFloat16>,
                                                   forward<BFloat16>, language_head};
#endif
#ifdef __AVX512F__  // library.cpp sees to it that the CPU has VNNI, too
#ifdef __AVX512BF16__
using Between = BFloat16;
#else
using Between = Float32;
#endif
extern "C" const Kernels NAME(int8, SUFFIX) = {PANEL, 4, workspace<Between, Int8>,
                                               forward<Between, Int8>, language_head};
#endif
