// What is added up from attention maps while they pass, so that none has to be kept but those that
// somebody asked for by layer and head.
//
// Contacts are a logistic regression on the symmetrised, average-product-corrected maps A of all
// layers and heads (Rao et al. 2021):  logit = sum w (S - s s^T / sum s) + bias,  S = A + A^T, s its
// row sums. It is linear in A but for the correction, which only needs s. So each map is added to
// one L x L matrix with its weight, and its correction is subtracted once all its rows have passed.
// Half of what is symmetric is kept, for contacts + contacts^T.
//
// Each chunk of queries has sums of its own, which are added in the order of the chunks: the result
// does not depend on which thread was the first.
#pragma once
#include <algorithm>
#include <vector>

#include "abi.h"
#include "attention.h"
#include "gate.h"

namespace {

constexpr int CHUNK = 8 * LANES;  // queries

inline int chunks(int tokens) { return (tokens + CHUNK - 1) / CHUNK; }

// The sums of one sequence in one layer; n tokens, L = n - 2 residues.
struct Sums {
  int heads, n;
  float *at;  // chunks x (heads + 1) x n; the last row of a chunk is for attentions

  static size_t floats(int heads, int n) {
    return static_cast<size_t>(chunks(n)) * (heads + 1) * n;
  }
  float *head(int chunk, int h) const {
    return at + (static_cast<size_t>(chunk) * (heads + 1) + h) * n;
  }

  void clear(int chunk) const {
    std::fill_n(head(chunk, 0), static_cast<size_t>(heads + 1) * n, 0.0f);
  }

  // A block of the map of head h; `kept` is where that map is kept, L x L, or null.
  void add(const MapBlock &block, int h, float weight, const Watch &watch, float *kept) const {
    float *sums = head(block.first / CHUNK, h), *all = head(block.first / CHUNK, heads);
    const int L = n - 2;
    const int from = block.first == 0 ? 1 : 0;  // without BOS and EOS
    const int to = block.first + block.count == n ? block.count - 1 : block.count;
    const V scale[2] = {load(block.scale), load(block.scale + W)};
    alignas(64) float row_sums[LANES] = {};
    for (int t = 0; t < n; t++) {
      alignas(64) float p[LANES];
      const V left = multiply(load(block.weights + static_cast<size_t>(t) * LANES), scale[0]);
      const V right = multiply(load(block.weights + static_cast<size_t>(t) * LANES + W), scale[1]);
      store(p, left);
      store(p + W, right);
      const float all_queries = total(::add(left, right));
      all[t] += all_queries;
      if (t == 0 || t == n - 1) continue;
      if (kept)
        for (int lane = from; lane < to; lane++)
          kept[static_cast<size_t>(block.first + lane - 1) * L + t - 1] = p[lane];
      if (!watch.contacts) continue;
      // Queries that are not residues are the first and the last lane, if they are here at all.
      sums[t] += all_queries - (from ? p[0] : 0) - (to < block.count ? p[to] : 0);
      float *__restrict map = watch.contacts + static_cast<size_t>(t - 1) * L + block.first - 1;
      if (to - from == LANES) {
        for (int lane = 0; lane < LANES; lane++) map[lane] += weight * p[lane];
      } else {
        for (int lane = from; lane < to; lane++) map[lane] += weight * p[lane];
      }
      for (int lane = 0; lane < LANES; lane++) row_sums[lane] += p[lane];
    }
    for (int lane = from; lane < to; lane++) sums[block.first + lane] += row_sums[lane];
  }

  // Once all rows of the layer have passed: the correction of the rows first .. end - 1 of contacts.
  // `scratch` holds heads x n floats.
  void correct(const float *weights, int first, int end, float *contacts, float *scratch,
               const Way &way) const {
    const int L = n - 2;
    for (int h = 0; h < heads; h++) {
      float *s = scratch + static_cast<size_t>(h) * n;
      std::copy_n(head(0, h), n, s);
      for (int chunk = 1; chunk < chunks(n); chunk++) {
        const float *more = head(chunk, h);
        for (int j = 0; j < n; j++) s[j] += more[j];
      }
      double sum = 0;
      for (int j = 1; j <= L; j++) sum += s[j];
      s[0] = static_cast<float>(weights[h] / (2 * sum));  // nobody asks for BOS's
    }
    for (int i = first; i < end; i++) {
      way.let_by();
      float *map = contacts + static_cast<size_t>(i) * L;
      int j = 0;
      for (; j + 4 * W <= L; j += 4 * W) correct<4>(scratch, i, j, map + j);
      for (; j + W <= L; j += W) correct<1>(scratch, i, j, map + j);
      for (; j < L; j++)
        for (int h = 0; h < heads; h++) {
          const float *s = scratch + static_cast<size_t>(h) * n;
          map[j] = __builtin_fmaf(-s[0] * s[i + 1], s[j + 1], map[j]);
        }
    }
  }

  // Some vectors of row i, from column j on, by all heads while they are in registers. Written out: a
  // compiler that fuses some products with their sums and not others gives rows other bits when
  // another thread begins elsewhere.
  template <int vectors>
  void correct(const float *scratch, int i, int j, float *map) const {
    V left[vectors];
#pragma GCC unroll 4
    for (int k = 0; k < vectors; k++) left[k] = load(map + k * W);
    for (int h = 0; h < heads; h++) {
      const float *s = scratch + static_cast<size_t>(h) * n;
      const V factor = broadcast(-s[0] * s[i + 1]);
#pragma GCC unroll 4
      for (int k = 0; k < vectors; k++) left[k] = fma(factor, load(s + j + 1 + k * W), left[k]);
    }
#pragma GCC unroll 4
    for (int k = 0; k < vectors; k++) store(map + k * W, left[k]);
  }

  // The mean over heads and queries, residues only.
  void average(float *attentions) const {
    const float scale = 1.0f / (static_cast<float>(heads) * n);
    for (int chunk = 0; chunk < chunks(n); chunk++) {
      const float *all = head(chunk, heads);
      for (int j = 0; j < n - 2; j++) attentions[j] += all[j + 1] * scale;
    }
  }
};

}  // namespace
