// The language head: rows of the last layer to logits.
#pragma once
#include <algorithm>
#include <memory>

#include "abi.h"
#include "gemm.h"
#include "norm.h"
#include "plan.h"
#include "team.h"

namespace {

template <class Product>
void language_head(const LanguageHead *head, const HeadJob *job) {
  const int D = head->dim;
  const Way way(job->ahead);
  way.begin();
  run_together(job->threads, [&](int rank, int threads) {
    [[maybe_unused]] const TilesOfThread tiles;
    const int end = first_row(job->rows, rank + 1, threads);
    constexpr size_t alignment = 64;
    const std::unique_ptr<char[]> memory(
        new char[buffer_bytes<Product>(BLOCK_ROWS, D) + alignment]);
    char *buffer = memory.get() + alignment - reinterpret_cast<uintptr_t>(memory.get()) % alignment;
    for (int row = first_row(job->rows, rank, threads); row < end; row += BLOCK_ROWS) {
      const int rows = std::min(BLOCK_ROWS, end - row);
      float *scratch = job->scratch + static_cast<size_t>(row) * D;
      linear<Product, Float32, Then::GELU>(job->x + static_cast<size_t>(row) * D, head->dense, rows,
                                           D, D, scratch, buffer, way);
      layer_norm<Float32>(scratch, head->norm, head->eps, rows, D, scratch);
      linear<Product, Float32, Then::STORE>(scratch, head->output, rows, D, head->columns,
                                            job->out + static_cast<size_t>(row) * head->columns,
                                            buffer, way);
    }
  });
  way.end();
}

}  // namespace
