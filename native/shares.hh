// Which chunks of which stores have equal digests, so that a chunk is stored once for all layers that have it. Knows tables, not disks:
// where equal bytes may be, never whether they are there or right. 16 bytes of memory a chunk; a store keeps each digest at one place,
// the first chunk that has it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <array>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

class Store;

struct Place {
  std::shared_ptr<Store> store;
  uint32_t chunk;
};

class Shares {
 public:
  /** What it has is found from the next settle() on. */
  void add(const std::shared_ptr<Store>& store);
  /** Sorts what was added, and tells every store which of its chunks have equals elsewhere. Once for many stores is cheaper. */
  void settle();
  void remove(const Store& store);
  std::vector<std::shared_ptr<Store>> stores() const;

  /** Of each living store the place of this chunk's digest, this chunk itself left out; of its own store comes what stands for it there. */
  std::vector<Place> others(const Store& store, uint32_t chunk) const;
  /** Held by whoever stores or removes one copy because of another: two copies shall not both go, nor both come. */
  std::mutex& turn(const uint8_t* sha256) { return turns_[sha256[0] % turns_.size()]; }

 private:
  struct Entry {
    uint64_t key;  // the first bytes of the digest
    uint32_t store;
    uint32_t chunk;
    auto operator<=>(const Entry&) const = default;
  };

  std::shared_ptr<Store> storeOf(const Entry& entry) const;

  mutable std::shared_mutex mutex_;
  uint32_t lastNumber_ = 0;
  std::unordered_map<uint32_t, std::weak_ptr<Store>> stores_;
  std::vector<Entry> entries_;
  size_t sorted_ = 0;  // entries from here on are not settled
  std::array<std::mutex, 64> turns_;
};
