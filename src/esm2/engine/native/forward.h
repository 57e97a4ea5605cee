// The layers of the model over a pack, by several threads at once.
//
//   own rows   norm, projection to q, k, v          }
//   - all wait -                                    }
//   any item   attention: one head of one sequence  }  a layer
//   - all wait -                                    }
//   own rows   out, +, norm, up, GELU, down, +      }
//
// Each thread owns a range of rows of T, from the embedding on; only attention crosses ranges. Within
// its range a thread goes by blocks of BLOCK_ROWS, whose activations stay in its own cache and which
// go from one layer's attention to the next one's without waiting. Who has none left takes some of
// another's (shares.h). An item of attention is taken by whoever is free, the longest first.
//
// Few rows are not worth splitting: every thread would read all weights for a handful of them. Then
// each product is of all rows, a thread owns a range of its columns, and all wait after each.
//
// A row's numbers are the same bits in either way: each sum is formed by one thread, in one order.
//
// Every millisecond or so a thread lets by whoever goes ahead (gate.h).
#pragma once
#include <atomic>
#include <cstring>

#include "abi.h"
#include "attention.h"
#include "gate.h"
#include "gemm.h"
#include "norm.h"
#include "observe.h"
#include "plan.h"
#include "shares.h"
#include "team.h"

namespace {

template <class X, class Product>
class Forward {
  using Element = typename X::Element;

  // Who computes what of a product: rows first .. end - 1, one share of the columns.
  struct Part {
    int rank, first, end, share, shares;

    Columns columns(int N) const {
      const int panels = N / PANEL;
      return {panels * share / shares * PANEL, panels * (share + 1) / shares * PANEL};
    }
  };

 public:
  Forward(const Model &model, const Job &job)
      : model_(model), job_(job), way_(job.ahead), plan_(model, job) {}

  size_t workspace() const { return plan_.memory.bytes(job_.threads); }

  void run() {
    way_.begin();
    run_together(job_.threads, [this](int rank, int threads) { work(rank, threads); });
    way_.end();
  }

 private:
  void work(int rank, int threads) {
    [[maybe_unused]] const TilesOfThread tiles;
    const int first = first_row(plan_.rows, rank, threads);
    const int end = first_row(plan_.rows, rank + 1, threads);
    const Part own{rank, first, end, 0, 1};
    const Part all{rank, 0, plan_.rows, rank, threads};
    embed(first, end);
    shares_.deal(plan_.rows, rank, threads);
    meet(threads);
    keep_rows(0, first, end);
    for (int done = 0; job_.depth > 0; done++) {
      if (plan_.by_columns && done > 0) {
        feed_columns(model_.layer[done - 1], all, threads);
        keep_rows(done, first, end);
      }
      if (done == 0 && plan_.by_letter) {
        project_letters(own, threads);
      } else if (plan_.by_columns) {
        if (done < job_.depth) project(model_.layer[done], all);
      } else if (done == job_.depth && job_.row_count >= 0) {
        feed_wanted(model_.layer[done - 1], rank, threads);
      } else {
        for (Rows rows; shares_.take(rank, rows);)
          advance(done, {rank, rows.first, rows.end, 0, 1});
      }
      if (done == job_.depth) return;
      if (rank == 0) next_item_.store(0, std::memory_order_relaxed);
      meet(threads);
      shares_.deal(plan_.rows, rank, threads);
      attend(done, rank);
      meet(threads);
      if (plan_.sums_floats) finish_maps(done, rank, threads);
    }
  }

  void meet(int threads) {
    barrier_.wait(threads, [this] { way_.let_by(); });
  }

  // From one layer's attention to the next one's, of a block of rows.
  void advance(int done, const Part &part) const {
    const int first = part.first;
    if (done > 0) {
      feed(model_.layer[done - 1], part.end - first, context(first), x(first), part);
      keep_rows(done, first, part.end);
    }
    if (done < job_.depth) project(model_.layer[done], part);
  }

  void attend(int index, int rank) {
    char *scratch = plan_.memory.at(job_, plan_.scratch, rank);
    for (size_t i; (i = next_item_.fetch_add(1, std::memory_order_relaxed)) < plan_.items.size();) {
      attend(model_.layer[index], plan_.items[i], index + 1 == job_.depth, scratch);
    }
  }

  void embed(int first, int end) const {
    const int D = model_.dim;
    for (int s = 0; s < job_.sequences; s++) {
      const int from = std::max<int>(first, job_.starts[s]);
      const int to = std::min<int>(end, job_.starts[s + 1]);
      const V scale = broadcast(job_.scales[s]);
      for (int t = from; t < to; t++) {
        const float *row = model_.embedding + static_cast<size_t>(job_.tokens[t]) * D;
        for (int d = 0; d < D; d += W) store(x(t) + d, multiply(load(row + d), scale));
      }
    }
  }

  // The residual stream after `layer` layers to those who want it, behind the last one normalised.
  void keep_rows(int layer, int first, int end) const {
    if (first < end) keep(layer, first, end - first, x(first));
  }
  void keep(int layer, int row, int rows, const float *x) const {
    const size_t D = model_.dim;
    float *out = job_.keep[layer];
    if (!out) return;
    if (layer == model_.layers)
      layer_norm<Float32>(x, model_.final_norm, model_.eps, rows, model_.dim, out + row * D);
    else
      memcpy(out + row * D, x, rows * D * sizeof(float));
  }

  void project(const Layer &layer, const Part &part) const {
    const int D = model_.dim;
    for (int row = part.first; row < part.end; row += BLOCK_ROWS) {
      const int rows = std::min(BLOCK_ROWS, part.end - row);
      layer_norm<X>(x(row), layer.attention_norm, model_.eps, rows, D, block(part));
      linear<Product, X, Then::STORE>(block(part), layer.qkv, rows, D, 3 * D, part.columns(3 * D),
                                      qkv(row), operand(part), way_);
    }
  }

  // The same of the first layer: of each distinct letter once, then to the rows that have it.
  void project_letters(const Part &own, int threads) {
    const Layer &layer = model_.layer[0];
    const size_t D = model_.dim;
    const Part part{own.rank, 0, static_cast<int>(plan_.letters.row.size()), own.rank, threads};
    Element *found = shared<Element>(plan_.letter_qkv);
    for (int letter = 0; letter < part.end; letter += BLOCK_ROWS) {
      const int rows = std::min(BLOCK_ROWS, part.end - letter);
      for (int i = 0; i < rows; i++)
        layer_norm<X>(x(plan_.letters.row[letter + i]), layer.attention_norm, model_.eps, 1,
                      model_.dim, block(part) + i * D);
      linear<Product, X, Then::STORE>(block(part), layer.qkv, rows, model_.dim, 3 * model_.dim,
                                      part.columns(3 * model_.dim), found + letter * 3 * D,
                                      operand(part), way_);
    }
    meet(threads);
    for (int t = own.first; t < own.end; t++)
      memcpy(qkv(t), found + plan_.letters.letter[t] * 3 * D, 3 * D * sizeof(Element));
  }

  // What follows attention: `context` and the residual stream `x` of some rows, x in place.
  void feed(const Layer &layer, int rows, const Element *context, float *x, const Part &part) const {
    const int D = model_.dim;
    Element *wide = own<Element>(plan_.own_wide, part.rank);
    linear<Product, X, Then::ADD>(context, layer.out, rows, D, D, x, operand(part), way_);
    layer_norm<X>(x, layer.ffn_norm, model_.eps, rows, D, block(part));
    linear<Product, X, Then::GELU>(block(part), layer.up, rows, D, 4 * D, wide, operand(part), way_);
    linear<Product, X, Then::ADD>(wide, layer.down, rows, 4 * D, D, x, operand(part), way_);
  }

  // The same for the last layer, when only some rows of it are wanted.
  void feed_wanted(const Layer &layer, int rank, int threads) const {
    const size_t D = model_.dim;
    const int count = static_cast<int>(job_.row_count);
    const Part part{rank, first_row(count, rank, threads), first_row(count, rank + 1, threads), 0,
                    1};
    float *picked = own<float>(plan_.own_picked, rank);
    for (int at = part.first; at < part.end; at += BLOCK_ROWS) {
      const int rows = std::min(BLOCK_ROWS, part.end - at);
      for (int i = 0; i < rows; i++) {
        memcpy(picked + i * D, x(job_.rows[at + i]), D * sizeof(float));
        memcpy(block(part) + i * D, context(job_.rows[at + i]), D * sizeof(Element));
      }
      feed(layer, rows, block(part), picked, part);
      for (int i = 0; i < rows; i++) keep(job_.depth, job_.rows[at + i], 1, picked + i * D);
    }
  }

  // The same for few rows, whose columns the threads share.
  void feed_columns(const Layer &layer, const Part &all, int threads) {
    const int D = model_.dim;
    const auto by_blocks = [&](const auto &compute) {
      for (int row = 0; row < all.end; row += BLOCK_ROWS)
        compute(row, std::min(BLOCK_ROWS, all.end - row));
      meet(threads);
    };
    Element *wide = shared<Element>(plan_.wide);
    const auto wide_row = [&](int row) { return wide + static_cast<size_t>(row) * 4 * D; };
    by_blocks([&](int row, int rows) {
      linear<Product, X, Then::ADD>(context(row), layer.out, rows, D, D, all.columns(D), x(row),
                                    operand(all), way_);
    });
    by_blocks([&](int row, int rows) {
      layer_norm<X>(x(row), layer.ffn_norm, model_.eps, rows, D, block(all));
      linear<Product, X, Then::GELU>(block(all), layer.up, rows, D, 4 * D, all.columns(4 * D),
                                     wide_row(row), operand(all), way_);
    });
    by_blocks([&](int row, int rows) {
      linear<Product, X, Then::ADD>(wide_row(row), layer.down, rows, 4 * D, D, all.columns(D),
                                    x(row), operand(all), way_);
    });
  }

  void attend(const Layer &layer, const Item &item, bool last, char *scratch) const {
    switch (model_.dim / model_.heads) {
      case 16: return attend_heads<16>(layer, item, last, scratch);
      case 24: return attend_heads<24>(layer, item, last, scratch);
      case 32: return attend_heads<32>(layer, item, last, scratch);
      case 64: return attend_heads<64>(layer, item, last, scratch);
    }
  }

  template <int head_dim>
  void attend_heads(const Layer &layer, const Item &item, bool last, char *scratch) const {
    const int n = length(item.sequence), D = model_.dim;
    const bool watched = item.head < 0;
    const int begin = watched ? 0 : item.head;
    const int past = watched ? model_.heads : item.head + 1;
    const int start = static_cast<int>(job_.starts[item.sequence]);
    if (watched) sums_of(item.sequence).clear(item.first / CHUNK);
    for (int h = begin; h < past; h++) {
      const Element *q = qkv(start) + h * head_dim;
      const Head<X, head_dim> head{q,         q + D,     q + 2 * D, 3 * D,
                                   n,         layer.cos, layer.sin, Scratch(scratch, n, head_dim)};
      Element *out = context(start) + h * head_dim;
      if (watched) {
        const Watch &watch = job_.watch[item.sequence];
        const Sums sums = sums_of(item.sequence);
        const float weight = layer.contact_weights ? layer.contact_weights[h] : 0.0f;
        const ptrdiff_t index = &layer - model_.layer;
        float *kept = watch.maps ? watch.maps[index * model_.heads + h] : nullptr;
        head.lay_out();
        head.template run<true>(
            item.first, item.end, out, D,
            [&](const MapBlock &block) { sums.add(block, h, weight, watch, kept); }, way_);
      } else if (last && job_.row_count >= 0 && !plan_.by_columns) {
        attend_wanted(head, start, n, out);
      } else {
        head.lay_out();
        head.template run<false>(item.first, item.end, out, D, [](const MapBlock &) {}, way_);
      }
    }
  }

  // Blocks of queries, each from the next wanted one on.
  template <class Head>
  void attend_wanted(const Head &head, int start, int n, Element *out) const {
    const int32_t *past = job_.rows + job_.row_count;
    const int32_t *row = std::lower_bound(job_.rows, past, start);
    if (row == past || *row >= start + n) return;
    head.lay_out();
    while (row != past && *row < start + n) {
      const int first = *row - start, end = std::min(n, first + LANES);
      head.template run<false>(first, end, out, model_.dim, [](const MapBlock &) {}, way_);
      row = std::lower_bound(row, past, start + end);
    }
  }

  // Every thread corrects its share of the rows of each watched sequence.
  void finish_maps(int index, int rank, int threads) const {
    for (int s = 0; s < job_.sequences; s++) {
      if (!plan_.watched(job_, s)) continue;
      const Watch &watch = job_.watch[s];
      const int64_t L = length(s) - 2;
      if (watch.contacts)
        sums_of(s).correct(model_.layer[index].contact_weights,
                           static_cast<int>(L * rank / threads),
                           static_cast<int>(L * (rank + 1) / threads), watch.contacts,
                           own<float>(plan_.scratch, rank), way_);
      if (watch.attentions && rank == 0) sums_of(s).average(watch.attentions + index * L);
    }
  }

  int length(int s) const { return plan_.length(job_, s); }
  float *x(int row) const { return job_.x + static_cast<size_t>(row) * model_.dim; }
  Element *qkv(int row) const {
    return shared<Element>(plan_.qkv) + static_cast<size_t>(row) * 3 * model_.dim;
  }
  Element *context(int row) const {
    return shared<Element>(plan_.context) + static_cast<size_t>(row) * model_.dim;
  }
  Element *block(const Part &part) const { return own<Element>(plan_.own_block, part.rank); }
  char *operand(const Part &part) const { return own<char>(plan_.own_operand, part.rank); }
  Sums sums_of(int s) const {
    return {model_.heads, length(s), shared<float>(plan_.sums) + plan_.sums_at[s]};
  }
  template <class Type>
  Type *shared(size_t offset) const {
    return reinterpret_cast<Type *>(plan_.memory.at(job_, offset));
  }
  template <class Type>
  Type *own(size_t offset, int rank) const {
    return reinterpret_cast<Type *>(plan_.memory.at(job_, offset, rank));
  }

  const Model &model_;
  const Job &job_;
  const Way way_;
  const Plan<X, Product> plan_;
  Barrier barrier_;
  Shares shares_{static_cast<int>(job_.threads)};
  std::atomic<size_t> next_item_{0};
};

}  // namespace
