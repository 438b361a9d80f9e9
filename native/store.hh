// The cache of one layer on a disk that nobody trusts: bytes leave it only after a hash in private memory agreed.
// A read of a whole chunk is held against the record's sha256. The first read of a part does so too and keeps the hash of each
// 64 KiB leaf in memory, for parts to come; chunks of one leaf need nothing kept. Disk errors are misses on reading, and cost
// only memory on writing.
#pragma once

#include "latency.hh"
#include "spare.hh"
#include "table.hh"

#include <atomic>

struct Counters {
  std::atomic<uint64_t> bytesServed{0};
  std::atomic<uint64_t> leafHashesChecked{0};
  std::atomic<uint64_t> violations{0};
  std::atomic<uint64_t> waitingReads{0};
  std::atomic<uint64_t> failedReads{0};  // answered with an errno, interrupted ones too
  Latency cachedReads;                   // answered from the cache at once
  Latency fetchedReads;                  // that waited for control
};

struct CacheTotals {
  uint32_t chunks = 0;
  uint64_t bytes = 0;
};

class Store {
 public:
  /** Opens or makes `directory`/data and /present. With a disk that refuses, works from memory alone. */
  Store(std::string directory, std::shared_ptr<const Table> table, Spare& spare, Counters& counters);
  ~Store();

  const std::string& directory() const { return directory_; }
  const Table& table() const { return *table_; }

  /** Copies bytes of a chunk after the check; false is a miss, and `out` is then undefined. */
  bool read(uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out);
  /** The whole chunk is here, checked now or earlier in this process. */
  bool verify(uint32_t chunk);
  /** Stores the chunk if `bytes` match its digest; false when they do not. */
  bool keep(uint32_t chunk, const uint8_t* bytes);
  /** Supplied or checked in this process and not found wrong since. */
  bool isGood(uint32_t chunk) const { return states_[chunk] == kGood || spare_.has(this, chunk); }

  /** Gives the chunk's place on the disk back. Whoever reads it meanwhile misses; leaf hashes stay right. */
  void evict(uint32_t chunk);
  /** One bit per chunk: read from this cache since the last call. */
  std::vector<uint8_t> takeUsed();

  CacheTotals totals() const;
  uint64_t suppliedBytes() const { return suppliedBytes_; }

 private:
  enum State : uint8_t { kUnknown, kGood, kLied };

  bool readLeaf(const ChunkRecord& record, uint32_t leaf, const uint8_t* expected, uint8_t* out);
  bool readChecked(uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out);
  bool readWhole(const ChunkRecord& record, uint8_t* out);
  bool readLeaves(uint32_t chunk, const ChunkRecord& record, const uint8_t* hashes, uint32_t from, uint32_t length, uint8_t* out);
  bool deriveLeaves(uint32_t chunk, const ChunkRecord& record, uint32_t from, uint32_t length, uint8_t* out);
  void publishLeaves(uint32_t chunk, std::unique_ptr<Sha256[]> leaves);
  bool isHinted(uint32_t chunk) const;
  bool setHint(uint32_t chunk, uint8_t value);
  bool writeData(const ChunkRecord& record, const uint8_t* bytes);
  void distrust(uint32_t chunk);
  uint64_t endOfPlace(uint32_t chunk) const;

  const uint64_t id_;  // of this process's stores
  std::string directory_;
  std::shared_ptr<const Table> table_;
  Spare& spare_;
  Counters& counters_;
  Fd data_;
  Fd present_;
  std::vector<std::atomic<uint8_t>> states_;
  std::vector<std::atomic<Sha256*>> leaves_;  // only of chunks with more than one leaf
  std::vector<std::atomic<uint8_t>> used_;
  std::array<std::mutex, 16> writing_;        // a chunk's bytes and its hint change together
  std::array<std::mutex, 16> deriving_;       // 64 readers of a new chunk read it whole once, not 64 times
  std::atomic<uint64_t> suppliedBytes_{0};
  std::atomic<bool> writeFailed_{false};
};
