// The library's face: the kernels of an instruction set, if this CPU has it.
#include <cstring>

#include "abi.h"

extern "C" {
extern const Kernels esm2_float32_avx2, esm2_float32_avx512, esm2_float32_avx512bf16,
    esm2_bfloat16_avx512bf16, esm2_int8_avx512, esm2_int8_avx512bf16;

#define EXPORT __attribute__((visibility("default")))

// The sizes of the structs, so that Python notices a library that was built from other sources.
EXPORT uint64_t esm2_abi() {
  const uint64_t sizes[] = {sizeof(Layer), sizeof(Job), sizeof(Watch), sizeof(Model),
                            sizeof(LanguageHead)};
  uint64_t all = 0;
  for (uint64_t size : sizes) all = all << 12 | size;
  return all;
}

// Whether this CPU has an instruction set: "avx2", "avx512", "avx512bf16".
EXPORT int esm2_has(const char *isa) {
  __builtin_cpu_init();
  if (!strcmp(isa, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!strcmp(isa, "avx512")) return avx512;
  if (!strcmp(isa, "avx512bf16")) return avx512 && __builtin_cpu_supports("avx512bf16") &&
                                         __builtin_cpu_supports("avx512vnni");
  return 0;
}

// The kernels for a dtype ("float32", "bfloat16", "int8") on an instruction set, or null.
EXPORT const Kernels *esm2_kernels(const char *dtype, const char *isa) {
  if (!strcmp(dtype, "float32")) {
    if (!strcmp(isa, "avx2")) return &esm2_float32_avx2;
    if (!strcmp(isa, "avx512")) return &esm2_float32_avx512;
    if (!strcmp(isa, "avx512bf16")) return &esm2_float32_avx512bf16;
  }
  if (!strcmp(dtype, "int8") && !strcmp(isa, "avx512bf16")) return &esm2_int8_avx512bf16;
  if (!strcmp(dtype, "int8") && !strcmp(isa, "avx512"))
    return __builtin_cpu_supports("avx512vnni") ? &esm2_int8_avx512 : nullptr;
  if (!strcmp(dtype, "bfloat16") && !strcmp(isa, "avx512bf16")) return &esm2_bfloat16_avx512bf16;
  return nullptr;
}
}
