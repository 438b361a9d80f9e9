// Checked chunks that the disk could not or would not keep: a bounded queue in memory, oldest out first.
// It lets reads go on when the cache disk is full, read-only, or lying.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <vector>

class Spare {
 public:
  void keep(const void* store, uint32_t chunk, const uint8_t* bytes, size_t size);
  bool read(const void* store, uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out);
  bool has(const void* store, uint32_t chunk);
  void forget(const void* store);

 private:
  using Key = std::pair<const void*, uint32_t>;
  std::atomic<size_t> bytes_{0};
  std::mutex mutex_;
  std::map<Key, std::vector<uint8_t>> chunks_;
  std::deque<Key> order_;
};
