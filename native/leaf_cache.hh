// The leaves that were checked last, in private memory. The kernel reads around a page fault page by page: without this
// each of eight READs would hash the same leaf. Concurrent readers of a leaf load it once; memory is bounded.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

class LeafCache {
 public:
  struct Key {
    uint64_t store = 0;  // never used twice
    uint32_t chunk = 0;
    uint32_t leaf = 0;
    bool operator==(const Key&) const = default;
  };

  /** Fills a buffer of kLeafBytes with the leaf and checks it; false when it is not to be believed. */
  using Load = std::function<bool(uint8_t*)>;

  /** Copies [from, from + length) of the leaf; false when it was not here and `load` failed. */
  bool read(const Key& key, uint32_t from, uint32_t length, uint8_t* out, const Load& load);

 private:
  struct Slot {
    Key key;                 // under the cache's mutex, as the next two
    unsigned readers = 0;    // it changes its key only when there are none
    uint64_t lastUse = 0;
    std::mutex mutex;        // of what follows
    bool checked = false;
    std::unique_ptr<uint8_t[]> bytes;
  };

  Slot* enter(const Key& key);
  void leave(Slot& slot);

  std::mutex mutex_;
  uint64_t uses_ = 0;
  std::array<Slot, 64> slots_;  // 2 MiB
};
