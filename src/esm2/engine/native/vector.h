// The vectors of the instruction set that this file is compiled for.
#pragma once
#if defined(__AVX512F__)
#include "avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "avx2.h"
#else
#error "compile for x86-64-v3 (AVX2, FMA) or better"
#endif
