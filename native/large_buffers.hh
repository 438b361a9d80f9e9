// Buffers for READs of the largest size. A few are kept with their pages: clearing 1 MiB anew costs as much as copying it, and
// one for each thread would be much memory.
#pragma once

#include "fuse_wire.hh"

#include <memory>
#include <mutex>
#include <vector>

class LargeBuffers {
 public:
  using Buffer = std::unique_ptr<uint8_t[]>;

  Buffer take() {
    const std::lock_guard lock(mutex_);
    if (kept_.empty()) return std::make_unique_for_overwrite<uint8_t[]>(wire::kReadMax);
    Buffer buffer = std::move(kept_.back());
    kept_.pop_back();
    return buffer;
  }

  void giveBack(Buffer buffer) {
    const std::lock_guard lock(mutex_);
    if (kept_.size() < kKept) kept_.push_back(std::move(buffer));
  }

 private:
  static constexpr size_t kKept = 4;
  std::mutex mutex_;
  std::vector<Buffer> kept_;
};
