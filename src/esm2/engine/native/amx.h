// Products by the matrix unit of AMX, whose registers are tiles of 16 rows of 64 bytes.
//
//   sums     32 rows x 32 columns   tiles 0 1
//                                         2 3
//   rows     32 x 16 words          tiles 4
//                                         5
//   weights  16 words x 32 columns  tiles 6 7
//
// A word of a row is two bfloat16 or four bytes, as elsewhere, and a panel (gemm.h) has its columns
// side by side for each word: what the instruction wants. Each sum is formed in the order of K.
//
// float32 is computed from bfloat16: x = a + b + c, three of 8 bits each, hold its 24. A product of
// two such sums has nine parts, of which those below 2^-24 of it (b c', c b', c c') are left out. The
// products of two bfloat16 are exact in float32, and the small parts are summed before the large
// ones, so the result is as near as that of float32 instructions, for 6 of which there is the time
// of one.
#pragma once
#include <climits>

#include "columns.h"
#include "operand.h"

namespace {

constexpr int TILE = 16;          // rows of a tile, and words of one
constexpr int SQUARE = 2 * TILE;  // rows and columns of the sums
constexpr ptrdiff_t PANEL_STRIDE = PANEL * sizeof(uint32_t);
static_assert(PANEL == SQUARE);
constexpr int SPLIT_STEPS = 2;

// The dtypes of products. PER_WORD: of weights as they lie in panels. TAKEN: elements of K in one
// pass over rows, at most, so that 256 rows of them stay in the second cache.
struct TileFloat32 {
  static constexpr int PER_WORD = 1, PARTS = 3, TAKEN = 480;
};
struct TileBFloat16 {
  static constexpr int PER_WORD = 2, PARTS = 1, TAKEN = 1280;
};
struct TileInt8 : Int8 {
  static constexpr int PARTS = 1, TAKEN = INT_MAX;
};

template <class Product>
constexpr bool in_tiles = std::is_same_v<Product, TileFloat32> ||
                          std::is_same_v<Product, TileBFloat16> ||
                          std::is_same_v<Product, TileInt8>;

// Elements of K in a step, a tile's; and steps of K.
template <class Product>
constexpr int STEP = TILE * (is_bytes<Product> ? 4 : 2);
template <class Product>
constexpr int steps_of(int K) {
  return (K + STEP<Product> - 1) / STEP<Product>;
}

// Words of K in a column of a panel.
template <class Product>
constexpr ptrdiff_t words_of(int K) {
  return is_bytes<Product> ? steps_of<Product>(K) * TILE : K / Product::PER_WORD;
}

// x = a + b + c, each with the low half of its bits 0.
inline void split(V x, __m512i (&parts)[3]) {
  const __m512i half = _mm512_set1_epi32(0x8000), high = _mm512_set1_epi32(-0x10000);
  for (int i = 0; i < 3; i++) {
    const __m512i bits = _mm512_castps_si512(x);
    parts[i] = _mm512_and_si512(_mm512_add_epi32(bits, half), high);
    x = subtract(x, as_floats(parts[i]));
  }
}

// The high halves of two vectors of words, one after the other.
inline __m512i high_halves(__m512i left, __m512i right) {
  const __m256i low = _mm512_cvtepi32_epi16(_mm512_srli_epi32(left, 16));
  const __m256i high = _mm512_cvtepi32_epi16(_mm512_srli_epi32(right, 16));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// A panel of floats, K x PANEL, to words: of each step, three times those of PANEL columns.
inline void split_panel(const float *in, int K, char *out) {
  for (int k = 0; k < K; k += 2, in += 2 * PANEL) {
    char *words = out + (k / (2 * TILE) * 3 * TILE + k / 2 % TILE) * PANEL_STRIDE;
    for (int j = 0; j < 2; j++) {
      __m512i even[3], odd[3];
      split(load(in + j * W), even);
      split(load(in + PANEL + j * W), odd);
      for (int i = 0; i < 3; i++)
        _mm512_storeu_si512(words + i * TILE * PANEL_STRIDE + j * 64,
                            _mm512_or_si512(_mm512_srli_epi32(even[i], 16), odd[i]));
    }
  }
}

// Activations tile by tile: [row / 16][step][part][16 rows][64 bytes], and room for a panel that is
// split.
struct TileOperand {
  const char *tiles;
  const float *scales;
  char *panel;
};

// Bytes of the buffer for rows of up to 4 D elements.
template <class Product>
size_t tile_operand_bytes(size_t rows, size_t D) {
  const size_t whole = (rows + TILE - 1) / TILE * TILE;
  if constexpr (is_bytes<Product>)
    return whole * (steps_of<Product>(static_cast<int>(4 * D)) * 64 + sizeof(float));
  if constexpr (Product::PARTS == 3)
    return 3 * (whole + PANEL) * std::min<size_t>(4 * D, Product::TAKEN) * sizeof(uint16_t);
  return whole * std::min<size_t>(4 * D, std::max<size_t>(Product::TAKEN, D)) * sizeof(uint16_t);
}

// The elements first .. first + taken - 1 of rows of K.
template <class Product, class X>
TileOperand tile_operand(const typename X::Element *in, int rows, int first, int taken, int K,
                         char *buffer) {
  constexpr ptrdiff_t SIZE = TILE * 64;
  const int steps = steps_of<Product>(taken);
  const int whole = (rows + TILE - 1) / TILE * TILE;
  const auto tile = [&](int row) {
    return buffer + (row / TILE * steps * Product::PARTS) * SIZE + row % TILE * 64;
  };
  char *end = tile(whole);
  if constexpr (is_bytes<Product>) {
    float *scales = reinterpret_cast<float *>(end);
    for (int row = 0; row < rows; row++) {
      const typename X::Element *x = in + static_cast<size_t>(row) * K;
      const V scale = byte_scale<X>(x, K, scales[row]);
      char *out = tile(row);
      for (int k = 0; k < K; k += W)
        Product::store(reinterpret_cast<uint8_t *>(out + k / 64 * SIZE + k % 64),
                       multiply(X::load(x + k), scale));
    }
    return {buffer, scales, nullptr};
  } else {
    for (int row = 0; row < rows; row++) {
      const typename X::Element *x = in + static_cast<size_t>(row) * K + first;
      char *out = tile(row);
      for (int k = 0; k < taken; k += 2 * TILE, out += Product::PARTS * SIZE) {
        if constexpr (Product::PARTS == 3) {
          __m512i left[3], right[3];
          split(load(x + k), left);
          split(load(x + k + W), right);
          for (int i = 0; i < 3; i++)
            _mm512_store_si512(out + i * SIZE, high_halves(left[i], right[i]));
        } else {
          _mm512_store_si512(out, _mm512_loadu_si512(x + k));
        }
      }
    }
    return {buffer, nullptr, end};
  }
}

// The shapes of this thread's tiles, until they are given back.
struct TileShapes {
  uint8_t palette = 1, start = 0, none[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int its_rows, int its_bytes) {
    rows[tile] = static_cast<uint8_t>(its_rows);
    bytes[tile] = static_cast<uint16_t>(its_rows ? its_bytes : 0);
  }
  void take() const { asm volatile("ldtilecfg %0" : : "m"(*this)); }
};

// For products of 1 .. 32 rows.
class Tiles {
 public:
  void fit(int rows) {
    if (rows == rows_) return;
    rows_ = rows;
    const int above = rows < TILE ? rows : TILE, below = rows - above;
    TileShapes shapes;
    const int of_tile[8] = {above, above, below, below, above, below, TILE, TILE};
    for (int i = 0; i < 8; i++) shapes.set(i, of_tile[i], 64);
    shapes.take();
  }

 private:
  int rows_ = 0;
};

template <bool both>
inline void load_rows(const char *at, ptrdiff_t to_next) {
  _tile_loadd(4, at, 64);
  if constexpr (both) _tile_loadd(5, at + to_next, 64);
}

inline void load_weights(const char *at) {
  _tile_loadd(6, at, PANEL_STRIDE);
  _tile_loadd(7, at + PANEL_STRIDE / 2, PANEL_STRIDE);
}

template <class Product, bool both>
inline void multiply_add() {
  if constexpr (is_bytes<Product>) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    if constexpr (both) {
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    }
  } else {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (both) {
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
}

// Few rows: weights are used so seldom that fetching them takes longer than multiplying.
constexpr int FEW_ROWS = 2 * SQUARE;

// Memory that is fetched into the second cache while tiles are multiplied.
struct Ahead {
  const char *at;
  const char *end;

  void fetch(int lines) {
    for (int i = 0; i < lines && at < end; i++, at += 64) _mm_prefetch(at, _MM_HINT_T1);
  }
};

// The sums of up to 32 rows with a panel, which begin with `first` (32 floats), into `sums`.
template <class Product, bool both>
inline void square(const char *rows, const char *panel, int steps, const float *first, float *sums,
                   Ahead &ahead, int lines) {
  constexpr ptrdiff_t ROW_PART = TILE * 64, WEIGHT_PART = TILE * PANEL_STRIDE;
  const ptrdiff_t to_next = steps * Product::PARTS * ROW_PART;
  asm volatile("" ::: "memory");  // the compiler does not know what tiles are loaded from
  _tile_loadd(0, first, 0);
  _tile_loadd(1, first + TILE, 0);
  if constexpr (both) {
    _tile_loadd(2, first, 0);
    _tile_loadd(3, first + TILE, 0);
  }
  const auto pass = [&](int step, int row_part, int weight_part) {
    load_rows<both>(rows + (step * Product::PARTS + row_part) * ROW_PART, to_next);
    load_weights(panel + (step * Product::PARTS + weight_part) * WEIGHT_PART);
    multiply_add<Product, both>();
  };
  if constexpr (Product::PARTS == 3) {
    for (int start = 0; start < steps; start += SPLIT_STEPS) {
      const int end = steps < start + SPLIT_STEPS ? steps : start + SPLIT_STEPS;
      for (int step = start; step < end; step++) {
        ahead.fetch(lines);
        pass(step, 1, 1);
        pass(step, 0, 2);
        pass(step, 2, 0);
      }
      for (int step = start; step < end; step++) {
        pass(step, 0, 1);
        pass(step, 1, 0);
      }
      for (int step = start; step < end; step++) pass(step, 0, 0);
    }
  } else {
    for (int step = 0; step < steps; step++) {
      ahead.fetch(lines);
      pass(step, 0, 0);
    }
  }
  _tile_stored(0, sums, PANEL_STRIDE);
  _tile_stored(1, sums + TILE, PANEL_STRIDE);
  if constexpr (both) {
    _tile_stored(2, sums + TILE * PANEL, PANEL_STRIDE);
    _tile_stored(3, sums + TILE * PANEL + TILE, PANEL_STRIDE);
  }
}

// As `linear` in gemm.h, of sums in tiles.
template <class Product, class X, Then then>
void by_tiles(const typename X::Element *in, const Linear &linear, int rows, int K, int N,
              Columns columns, void *out, char *buffer, const Way &way) {
  alignas(64) static constexpr float zeros[PANEL] = {};
  alignas(64) float sums[SQUARE * PANEL];
  Tiles tiles;
  const size_t size = then == Then::ADD ? sizeof(float) : sizeof(typename X::Element);
  // Where the result is of floats, sums can be left there between passes.
  constexpr bool floats = then == Then::ADD || std::is_same_v<X, Float32>;
  const int passes = floats ? (K - 1) / Product::TAKEN + 1 : 1;
  const int block = steps_of<Product>((K - 1) / passes + 1) * STEP<Product>;
  const size_t words = words_of<Product>(K);
  for (int k = 0; k < K; k += block) {
    const int taken = K - k < block ? K - k : block, steps = steps_of<Product>(taken);
    const bool last = k + taken == K;
    const TileOperand all = tile_operand<Product, X>(in, rows, k, taken, K, buffer);
    for (int n = columns.first; n < columns.end; n += PANEL) {
      way.let_by();
      const uint32_t *weights = linear.panels + n * words + k / Product::PER_WORD * PANEL;
      const char *panel = reinterpret_cast<const char *>(weights);
      if constexpr (Product::PARTS == 3) {
        split_panel(reinterpret_cast<const float *>(weights), taken, all.panel);
        panel = all.panel;
      }
      const float *first = k == 0 && !is_bytes<Product> ? linear.bias + n : zeros;
      const char *next = reinterpret_cast<const char *>(weights + PANEL * words);
      const ptrdiff_t bytes = words_of<Product>(taken) * PANEL_STRIDE;
      Ahead ahead{next, next + (rows <= FEW_ROWS && n + PANEL < columns.end ? bytes : 0)};
      const int lines = static_cast<int>(bytes / 64 / steps);
      for (int row = 0; row < rows; row += SQUARE) {
        const int count = rows - row < SQUARE ? rows - row : SQUARE;
        tiles.fit(count);
        const char *a = all.tiles + static_cast<size_t>(row) * steps * Product::PARTS * 64;
        if (count > TILE)
          square<Product, true>(a, panel, steps, first, sums, ahead, lines);
        else
          square<Product, false>(a, panel, steps, first, sums, ahead, lines);
        char *o = static_cast<char *>(out) + (static_cast<size_t>(row) * N + n) * size;
        for (int i = 0; i < count; i++)
          for (int j = n; j < n + PANEL; j += W) {
            const Linear own = {nullptr, linear.bias + j, linear.scales + j, linear.offsets + j};
            const size_t at = static_cast<size_t>(i) * N + j - n;
            V y = load(sums + i * PANEL + j - n);
            if constexpr (floats && then != Then::ADD) {
              float *left = reinterpret_cast<float *>(o) + at;
              if (k > 0) y = add(load(left), y);
              if (!last) {
                store(left, y);
                continue;
              }
            }
            settle<Product, X, then>(y, own, all.scales + row + i, o, at);
          }
      }
    }
  }
}

}  // namespace
