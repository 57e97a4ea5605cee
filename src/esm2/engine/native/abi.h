// What Python hands over: pointers into arrays that it keeps alive. library.py has the same structs.
#pragma once
#include <cstddef>
#include <cstdint>

struct Norm {
  const float *weight, *bias;  // D
};

struct Linear {
  const uint32_t *panels;   // gemm.h
  const float *bias;        // N
  const float *scales;      // N; of bytes only
  const int32_t *offsets;   // N; of bytes only: 128 times the sum of a column's weights
};

struct Layer {
  Norm attention_norm, ffn_norm;
  Linear qkv, out, up, down;
  const float *cos, *sin;        // positions x head_dim / 2
  const float *contact_weights;  // H, or null
};

struct Model {
  int32_t layers, dim, heads;
  float eps;
  const float *embedding;  // 33 x D
  const Layer *layer;
  Norm final_norm;
};

// What one sequence wants of its attention maps; null where it does not.
struct Watch {
  float *contacts;    // L x L of its L residues, zero at first: c, of logits c + c^T + bias
  float *attentions;  // layers x L, zero at first
  float *const *maps;  // layers x heads times L x L (queries x keys), or null, for each that is kept
};

struct Job {
  int32_t sequences, depth, threads;
  int32_t ahead;          // not 0: passes that are not ahead stop until this one is done
  const int64_t *starts;  // sequences + 1 offsets along T
  const uint8_t *tokens;  // T
  const float *scales;    // of each sequence's embeddings
  float *x;               // T x D: the residual stream
  float *const *keep;     // depth + 1 times T x D, or null, for layers 0 .. depth
  const int32_t *rows;    // ascending: the rows of T that somebody wants of layer `depth`
  int64_t row_count;      // negative: all
  const Watch *watch;     // one a sequence, or null when none watches
  char *workspace;        // as many bytes as `workspace` said
};

// Rows of the last layer to logits. Always float32: it is a small part of the work.
struct LanguageHead {
  int32_t dim, columns;  // columns: 33 rounded up to whole panels
  float eps;
  Linear dense, output;
  Norm norm;
};

struct HeadJob {
  int32_t rows, threads;
  int32_t ahead;   // as in Job
  const float *x;  // rows x D
  float *scratch;  // rows x D
  float *out;      // rows x columns
};

// One instruction set's functions for one dtype. How weights lie, gemm.h: `panel` columns, `per_word`
// elements, as many words as are a multiple of `whole`; what is missing is 0.
struct Kernels {
  int32_t panel, per_word, whole;
  size_t (*workspace)(const Model *, const Job *);
  void (*forward)(const Model *, const Job *);
  void (*language_head)(const LanguageHead *, const HeadJob *);
};
