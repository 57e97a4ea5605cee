// Several threads for one call, and where they wait for each other.
#pragma once
#include <pthread.h>
#include <sched.h>
#include <x86intrin.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "vector.h"

namespace {

// Where threads meet; mostly for microseconds, so they turn on the spot. `meanwhile` is called again
// and again.
//
// They do not yield at once: where other processes compute, one that yields does not get its CPU back
// before the next tick, and so would lose milliseconds at every meeting. Whom they wait for may need
// this very CPU, though, so in the end they do.
class Barrier {
 public:
  template <class Meanwhile>
  void wait(int threads, const Meanwhile &meanwhile) {
    const int round = round_.load(std::memory_order_relaxed);
    if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
      waiting_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    const uint64_t begun = __rdtsc();
    while (round_.load(std::memory_order_acquire) == round) {
      meanwhile();
      pause();
      if (__rdtsc() - begun > LONG) std::this_thread::yield();
    }
  }

 private:
  static constexpr uint64_t LONG = 1 << 21;  // about a millisecond

  std::atomic<int> waiting_{0}, round_{0};
};

// The CPUs that this process may use, from the caller's own on.
class Places {
 public:
  Places() {
    CPU_ZERO(&all_);
    if (sched_getaffinity(0, sizeof all_, &all_)) CPU_ZERO(&all_);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
      if (CPU_ISSET(cpu, &all_)) cpus_.push_back(cpu);
    std::rotate(cpus_.begin(), std::find(cpus_.begin(), cpus_.end(), sched_getcpu()), cpus_.end());
  }

  // Have a thread begin on a CPU of its own. The scheduler would often put it on its parent's, since
  // the one from which Python asked is just falling asleep, and take milliseconds to notice.
  void begin(pthread_attr_t *thread, int rank) const {
    if (cpus_.empty()) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpus_[rank % cpus_.size()], &one);
    pthread_attr_setaffinity_np(thread, sizeof one, &one);
  }

  // Let the calling thread go where it likes from here.
  void roam() const {
    if (!cpus_.empty()) sched_setaffinity(0, sizeof all_, &all_);
  }

 private:
  cpu_set_t all_;
  std::vector<int> cpus_;
};

// Calls work(rank, threads) on as many threads as can be had, `wanted` at most. Starting a thread
// takes about 20 microseconds and leaves nothing behind that could be in somebody's way.
template <class Work>
void run_together(int wanted, const Work &work) {
  struct Thread {
    const Work &work;
    const Places &places;
    const std::atomic<int> &threads;
    int rank;
    pthread_t handle;

    static void *run(void *self) {
      Thread &own = *static_cast<Thread *>(self);
      own.places.roam();
      while (own.threads.load(std::memory_order_acquire) == 0) pause();
      own.work(own.rank, own.threads.load(std::memory_order_relaxed));
      return nullptr;
    }
  };
  std::atomic<int> threads{0};  // 0 until it is known how many there are
  const Places places;
  std::vector<Thread> others;
  others.reserve(wanted);  // they must not move
  for (int rank = 1; rank < wanted; rank++) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    places.begin(&attributes, rank);
    others.push_back({work, places, threads, rank, {}});
    const int refused = pthread_create(&others.back().handle, &attributes, Thread::run, &others.back());
    pthread_attr_destroy(&attributes);
    if (refused) {  // the system gives no more threads: those that there are do the work
      others.pop_back();
      break;
    }
  }
  const int had = static_cast<int>(others.size()) + 1;
  threads.store(had, std::memory_order_release);
  work(0, had);
  for (Thread &other : others) pthread_join(other.handle, nullptr);
}

}  // namespace
