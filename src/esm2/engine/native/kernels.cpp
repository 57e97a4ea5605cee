// Compiled once for each instruction set; SUFFIX tells the results apart.
#include "forward.h"
#include "head.h"

namespace {

template <class X, class Product>
size_t workspace(const Model *model, const Job *job) {
  return Forward<X, Product>(*model, *job).workspace();
}

template <class X, class Product>
void forward(const Model *model, const Job *job) {
  Forward<X, Product>(*model, *job).run();
}

// As many words of a panel as are a multiple of that.
template <class Product>
constexpr int whole = 1;

#ifdef __AMX_TILE__
template <>
constexpr int whole<TileInt8> = TILE;
using HeadProduct = TileFloat32;
#else
using HeadProduct = Float32;
#endif

}  // namespace

#define NAME2(dtype, suffix) esm2_##dtype##_##suffix
#define NAME(dtype, suffix) NAME2(dtype, suffix)
#define KERNELS(dtype, X, Product)                                                       \
  extern "C" const Kernels NAME(dtype, SUFFIX) = {                                       \
      PANEL,           Product::PER_WORD, whole<Product>, workspace<X, Product>, \
      forward<X, Product>, language_head<HeadProduct>};

#if defined(__AMX_TILE__)
KERNELS(float32, Float32, TileFloat32)
KERNELS(bfloat16, BFloat16, TileBFloat16)
KERNELS(int8, BFloat16, TileInt8)
#elif defined(__AVX512BF16__)
KERNELS(float32, Float32, Float32)
KERNELS(bfloat16, BFloat16, BFloat16)
KERNELS(int8, BFloat16, Int8)
#elif defined(__AVX512F__)  // library.cpp sees to it that the CPU has VNNI, too
KERNELS(float32, Float32, Float32)
KERNELS(int8, Float32, Int8)
#else
KERNELS(float32, Float32, Float32)
#endif
