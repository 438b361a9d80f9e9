// A sum that is handed out and never exceeded: whoever wants more than is left waits. One share alone may be larger than the whole.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

class Budget {
 public:
  explicit Budget(uint64_t total) : total_(total) {}

  class Share {
   public:
    Share(Budget& budget, uint64_t amount) : budget_(budget), amount_(amount) { budget_.take(amount_); }
    ~Share() { budget_.giveBack(amount_); }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

   private:
    Budget& budget_;
    uint64_t amount_;
  };

 private:
  void take(uint64_t amount) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] { return taken_ == 0 || taken_ + amount <= total_; });
    taken_ += amount;
  }

  void giveBack(uint64_t amount) {
    {
      const std::lock_guard lock(mutex_);
      taken_ -= amount;
    }
    room_.notify_all();
  }

  const uint64_t total_;
  uint64_t taken_ = 0;
  std::mutex mutex_;
  std::condition_variable room_;
};
