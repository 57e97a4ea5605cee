// The library's face: the kernels of an instruction set, if this CPU has it.
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "abi.h"

extern "C" {
extern const Kernels esm2_float32_avx2, esm2_float32_avx512, esm2_float32_avx512bf16,
    esm2_bfloat16_avx512bf16, esm2_int8_avx512, esm2_int8_avx512bf16, esm2_float32_amx,
    esm2_bfloat16_amx, esm2_int8_amx;

#define EXPORT __attribute__((visibility("default")))

// The sizes of the structs, so that Python notices a library that was built from other sources.
EXPORT uint64_t esm2_abi() {
  const uint64_t sizes[] = {sizeof(Layer), sizeof(Job), sizeof(Watch), sizeof(Model),
                            sizeof(LanguageHead), sizeof(HeadJob), sizeof(Kernels)};
  uint64_t all = 0;
  for (uint64_t size : sizes) all = all * 4099 + size;
  return all;
}

// Whether the CPU has AMX, with products of bfloat16 and of bytes.
static bool has_tiles() {
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  const unsigned bf16 = 1u << 22, tile = 1u << 24, int8 = 1u << 25, all = bf16 | tile | int8;
  return (edx & all) == all;
}

// Linux lets a process use the registers of AMX once it has asked for them.
static bool tiles_are_granted() {
  constexpr int ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

// Whether this CPU has an instruction set: "avx2", "avx512", "avx512bf16", "amx".
EXPORT int esm2_has(const char *isa) {
  __builtin_cpu_init();
  if (!strcmp(isa, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!strcmp(isa, "avx512")) return avx512;
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16") &&
                    __builtin_cpu_supports("avx512vnni");
  if (!strcmp(isa, "avx512bf16")) return bf16;
  if (!strcmp(isa, "amx")) return bf16 && has_tiles() && tiles_are_granted();
  return 0;
}

// The kernels for a dtype ("float32", "bfloat16", "int8") on an instruction set, or null.
EXPORT const Kernels *esm2_kernels(const char *dtype, const char *isa) {
  if (!strcmp(isa, "amx"))
    return !strcmp(dtype, "float32")    ? &esm2_float32_amx
           : !strcmp(dtype, "bfloat16") ? &esm2_bfloat16_amx
           : !strcmp(dtype, "int8")     ? &esm2_int8_amx
                                        : nullptr;
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
