// Passes that go ahead of others, which stop meanwhile, wherever they are.
#pragma once
#include <pthread.h>

#include <atomic>

namespace {

class Gate {
 public:
  // From here on nobody passes, until it is opened as often as it was closed.
  void close() {
    pthread_mutex_lock(&mutex_);
    closed_.fetch_add(1, std::memory_order_relaxed);
    pthread_mutex_unlock(&mutex_);
  }

  void open() {
    pthread_mutex_lock(&mutex_);
    if (closed_.fetch_sub(1, std::memory_order_relaxed) == 1) pthread_cond_broadcast(&opened_);
    pthread_mutex_unlock(&mutex_);
  }

  // Sleeps while it is closed; where it is open, this is one load.
  void pass() {
    if (closed_.load(std::memory_order_relaxed) == 0) return;
    pthread_mutex_lock(&mutex_);
    while (closed_.load(std::memory_order_relaxed) > 0) pthread_cond_wait(&opened_, &mutex_);
    pthread_mutex_unlock(&mutex_);
  }

 private:
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t opened_ = PTHREAD_COND_INITIALIZER;
  std::atomic<int> closed_{0};
};

// One for all passes of a process by the kernels of one instruction set: it computes by no other.
Gate gate;

// How a pass goes: ahead of others, or letting by those that do.
class Way {
 public:
  explicit Way(bool ahead) : ahead_(ahead) {}

  // Everything that a pass does is between `begin` and `end`.
  void begin() const {
    if (ahead_) gate.close();
  }
  void end() const {
    if (ahead_) gate.open();
  }
  // To be asked every millisecond.
  void let_by() const {
    if (!ahead_) gate.pass();
  }

 private:
  const bool ahead_;
};

}  // namespace
