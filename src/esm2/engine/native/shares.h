// Rows of a pack, dealt out to threads, and dealt again as they fall behind.
//
// Each thread takes its own rows block by block, which are those that its cache knows. When it has
// none left, it takes half of what is left to the one who has most: CPUs are not equally fast, and
// somebody else may use one.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "vector.h"

namespace {

// Whole tiles; enough that weights are not fetched too often.
constexpr int BLOCK_ROWS = 256 / ROWS_AT_ONCE * ROWS_AT_ONCE;

// Fewer rows than that are not worth another reading of all weights.
constexpr int ROWS_WORTH_SPLITTING = 48;

// The rows of rank, of all: whole tiles, so that no thread has a remainder in its middle.
inline int first_row(int rows, int rank, int threads) {
  const int64_t tiles = (rows + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE;
  const int64_t first = tiles * rank / threads * ROWS_AT_ONCE;
  return first < rows ? static_cast<int>(first) : rows;
}

struct Rows {
  int first, end;

  int count() const { return end - first; }
};

class Shares {
 public:
  explicit Shares(int threads) : left_(threads) {}

  // Give a thread its rows; before anybody takes any.
  void deal(int rows, int rank, int threads) {
    put(rank, {first_row(rows, rank, threads), first_row(rows, rank + 1, threads)});
  }

  // Some rows that nobody else has; none are left where it is false.
  bool take(int rank, Rows &block) {
    for (;;) {
      uint64_t all = left_[rank].load(std::memory_order_relaxed);
      while (unpacked(all).count() > 0) {
        const Rows own = unpacked(all);
        block = {own.first, own.first + std::min(BLOCK_ROWS, own.count())};
        if (swap(rank, all, {block.end, own.end})) return true;
      }
      if (!take_from_others(rank)) return false;
    }
  }

 private:
  struct alignas(64) Left : std::atomic<uint64_t> {};

  static uint64_t packed(Rows rows) {
    return static_cast<uint64_t>(static_cast<uint32_t>(rows.first)) << 32 |
           static_cast<uint32_t>(rows.end);
  }
  static Rows unpacked(uint64_t rows) {
    return {static_cast<int>(rows >> 32), static_cast<int>(rows & UINT32_MAX)};
  }
  void put(int rank, Rows rows) { left_[rank].store(packed(rows), std::memory_order_relaxed); }
  bool swap(int rank, uint64_t &before, Rows now) {
    return left_[rank].compare_exchange_weak(before, packed(now), std::memory_order_relaxed);
  }

  bool take_from_others(int rank) {
    for (;;) {
      int most = 0;
      uint64_t all = 0;
      for (size_t other = 0; other < left_.size(); other++) {
        const uint64_t its = left_[other].load(std::memory_order_relaxed);
        if (unpacked(its).count() <= unpacked(all).count()) continue;
        most = static_cast<int>(other);
        all = its;
      }
      const Rows its = unpacked(all);
      if (its.count() < 2 * ROWS_WORTH_SPLITTING) return false;
      const int middle = its.first + first_row(its.count(), 1, 2);
      if (swap(most, all, {its.first, middle})) {
        put(rank, {middle, its.end});
        return true;
      }
    }
  }

  std::vector<Left> left_;
};

}  // namespace
