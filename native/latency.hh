// How long reads took, from the moment the request was taken to its answer: a histogram with fixed bounds, lock-free.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

class Latency {
 public:
  /** Upper bounds in microseconds; what is above the last one counts in a bucket of its own. */
  static constexpr std::array<uint64_t, 14> kBounds{100, 250, 500, 1000, 2500, 5000, 10000, 50000, 100000, 250000, 1000000, 5000000, 15000000, 60000000};

  void observe(uint64_t us) {
    size_t bucket = 0;
    while (bucket < kBounds.size() && us > kBounds[bucket]) bucket++;
    counts_[bucket].fetch_add(1, std::memory_order_relaxed);
    sumUs_.fetch_add(us, std::memory_order_relaxed);
  }

  /** {"sumUs":N,"counts":[N,...]}: one count a bound, not cumulated, and one for what is above. */
  std::string json() const {
    std::string counts;
    for (const auto& count : counts_) counts += (counts.empty() ? "" : ",") + std::to_string(count.load());
    return "{\"sumUs\":" + std::to_string(sumUs_.load()) + ",\"counts\":[" + counts + "]}";
  }

  static std::string boundsJson() {
    std::string bounds;
    for (const uint64_t bound : kBounds) bounds += (bounds.empty() ? "" : ",") + std::to_string(bound);
    return "[" + bounds + "]";
  }

 private:
  std::array<std::atomic<uint64_t>, kBounds.size() + 1> counts_{};
  std::atomic<uint64_t> sumUs_{0};
};
