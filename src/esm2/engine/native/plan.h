// What there is to do in a pack: items of attention, distinct letters, and where everything lies.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include "abi.h"
#include "attention.h"
#include "observe.h"
#include "gemm.h"
#include "shares.h"

namespace {

// An item of attention: one head of one sequence, or a chunk of queries of all its heads where
// somebody watches.
struct Item {
  int sequence, head, first, end;
  double cost;
};

// Rows of the embedding are equal where the letter and the scale of its sequence are. What the first
// layer makes of each, before attention, is computed once.
struct Letters {
  std::vector<int> row;     // a row of T of each distinct letter
  std::vector<int> letter;  // of each row of T

  explicit Letters(const Job &job) {
    std::vector<float> scales;
    std::vector<int> known;  // scale, token -> letter
    for (int s = 0; s < job.sequences; s++) {
      size_t scale = std::find(scales.begin(), scales.end(), job.scales[s]) - scales.begin();
      if (scale == scales.size()) {
        scales.push_back(job.scales[s]);
        known.resize(known.size() + TOKENS, -1);
      }
      for (int64_t t = job.starts[s]; t < job.starts[s + 1]; t++) {
        int &own = known[scale * TOKENS + job.tokens[t]];
        if (own < 0) {
          own = static_cast<int>(row.size());
          row.push_back(static_cast<int>(t));
        }
        letter.push_back(own);
      }
    }
  }

 private:
  static constexpr int TOKENS = 33;
};

// Offsets of buffers into a workspace: those of all threads, then those of each.
class Memory {
 public:
  size_t shared(size_t bytes) { return take(shared_, bytes); }
  size_t own(size_t bytes) { return take(own_, bytes); }

  size_t bytes(int threads) const { return shared_ + own_ * threads + ALIGNMENT; }
  char *at(const Job &job, size_t offset) const {
    const uintptr_t base = reinterpret_cast<uintptr_t>(job.workspace);
    return reinterpret_cast<char *>((base + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT) + offset;
  }
  char *at(const Job &job, size_t offset, int rank) const {
    return at(job, shared_ + own_ * rank + offset);
  }

 private:
  static constexpr size_t ALIGNMENT = 64;
  static size_t take(size_t &end, size_t bytes) {
    const size_t at = end;
    end += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return at;
  }
  size_t shared_ = 0, own_ = 0;
};

// X: the dtype of activations. Product: that of the products with weights.
template <class X, class Product>
struct Plan {
  int rows = 0, longest = 0;
  bool by_columns;  // so few rows that threads share columns instead
  bool by_letter;   // the first projection is of distinct letters
  std::vector<Item> items;
  std::vector<size_t> sums_at;  // floats, of each sequence
  size_t sums_floats = 0;
  Letters letters;
  Memory memory;
  size_t qkv, context, wide, letter_qkv, sums;                  // of all
  size_t own_block, own_wide, own_picked, own_operand, scratch;  // of a thread

  Plan(const Model &model, const Job &job) : letters(job) {
    rows = static_cast<int>(job.starts[job.sequences]);
    by_columns = job.threads > 1 && rows < ROWS_WORTH_SPLITTING * job.threads;
    by_letter = 2 * letters.row.size() <= letters.letter.size();
    for (int s = 0; s < job.sequences; s++) add_items(model, job, s);
    std::stable_sort(items.begin(), items.end(),
                     [](const Item &a, const Item &b) { return a.cost > b.cost; });
    lay_out(model, job);
  }

  static int length(const Job &job, int s) {
    return static_cast<int>(job.starts[s + 1] - job.starts[s]);
  }
  static bool watched(const Job &job, int s) {
    return job.watch && (job.watch[s].contacts || job.watch[s].attentions || job.watch[s].maps);
  }

 private:
  void add_items(const Model &model, const Job &job, int s) {
    const int n = length(job, s);
    longest = std::max(longest, n);
    sums_at.push_back(sums_floats);
    if (watched(job, s)) {
      sums_floats += Sums::floats(model.heads, n);
      for (int at = 0; at < n; at += CHUNK)
        items.push_back({s, -1, at, std::min(n, at + CHUNK),
                         static_cast<double>(n) * CHUNK * model.heads});
    } else {
      for (int h = 0; h < model.heads; h++)
        items.push_back({s, h, 0, n, static_cast<double>(n) * n});
    }
  }

  void lay_out(const Model &model, const Job &job) {
    const size_t element = sizeof(typename X::Element), D = model.dim, T = rows;
    const size_t block = std::min<size_t>(BLOCK_ROWS, T);
    qkv = memory.shared(element * T * 3 * D);
    context = memory.shared(element * T * D);
    wide = memory.shared(by_columns ? element * T * 4 * D : 0);
    letter_qkv = memory.shared(by_letter ? element * letters.row.size() * 3 * D : 0);
    sums = memory.shared(sizeof(float) * sums_floats);
    own_block = memory.own(element * block * D);
    own_wide = memory.own(by_columns ? 0 : element * block * 4 * D);
    own_picked = memory.own(job.row_count >= 0 && !by_columns ? sizeof(float) * block * D : 0);
    own_operand = memory.own(buffer_bytes<Product>(block, D));
    const size_t map_row = sums_floats ? sizeof(float) * model.heads * longest : 0;
    scratch = memory.own(std::max(Scratch::bytes(longest, model.dim / model.heads), map_row));
  }
};

}  // namespace
