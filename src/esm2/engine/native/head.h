// The language head: rows of the last layer to logits.
#pragma once
#include <algorithm>

#include "abi.h"
#include "gemm.h"
#include "norm.h"
#include "team.h"

namespace {

void language_head(const LanguageHead *head, const HeadJob *job) {
  const int D = head->dim;
  run_together(job->threads, [&](int rank, int threads) {
    const size_t first = first_row(job->rows, rank, threads);
    const int rows = first_row(job->rows, rank + 1, threads) - static_cast<int>(first);
    float *scratch = job->scratch + first * D;
    linear<Float32, Float32, Then::GELU>(job->x + first * D, head->dense, rows, D, D, scratch,
                                         nullptr);
    layer_norm<Float32>(scratch, head->norm, head->eps, rows, D, scratch);
    linear<Float32, Float32, Then::STORE>(scratch, head->output, rows, D, head->columns,
                                          job->out + first * head->columns, nullptr);
  });
}

}  // namespace
