// The cache of one layer on a disk that nobody trusts: bytes leave it only after a hash in private memory agreed.
// A read of a whole chunk is held against the record's sha256. The first read of a part does so too and keeps the hash of each
// 32 KiB leaf in memory, for parts to come; chunks of one leaf need nothing kept. Disk errors are misses on reading, and cost
// only memory on writing. A chunk that another store has too is kept by one of them and read through it (store_shares.cc).
#pragma once

#include "latency.hh"
#include "shares.hh"
#include "spare.hh"
#include "table.hh"

#include <atomic>
#include <functional>

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
  uint64_t sharedBytes = 0;  // of these, of chunks that stand in another store, or elsewhere in this one
};

class Store {
 public:
  /** Opens or makes `directory`/data and /present. With a disk that refuses, works from memory alone. */
  Store(std::string directory, std::shared_ptr<const Table> table, Spare& spare, Counters& counters, Shares& shares);
  ~Store();

  const std::string& directory() const { return directory_; }
  const Table& table() const { return *table_; }

  /** Copies bytes of a chunk after the check; false is a miss, and `out` is then undefined. */
  bool read(uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out);
  /** The whole chunk is here or in another store, checked now or earlier in this process. */
  bool verify(uint32_t chunk);
  /** Stores the chunk, unless another store has it, if `bytes` match its digest; false when they do not. */
  bool keep(uint32_t chunk, const uint8_t* bytes);
  /** Supplied or checked in this process, also in another store, and not found wrong since. */
  bool isGood(uint32_t chunk) const { return states_[chunk] == kGood || states_[chunk] == kElsewhere || spare_.has(this, chunk); }

  /** Gives the chunk's place on the disk back. Whoever reads it meanwhile misses; leaf hashes stay right. */
  void evict(uint32_t chunk);
  /** One bit per chunk: read from this cache since the last call. */
  std::vector<uint8_t> takeUsed();

  /** Another chunk with this one's digest may exist from now on. */
  void noteTwin(uint32_t chunk) { if (twins_[chunk] == 0) twins_[chunk] = 1; }
  bool hasTwins() const;
  /** Where else this chunk's bytes may be. */
  std::vector<Place> twins(uint32_t chunk) const;
  /** Gives up its own copies of chunks that other stores have. */
  void fold();
  /** Before it goes: what other stores lack of their chunks moves to them, `arrived` says where; without room it is lost. */
  void handOver(const std::function<void(const Place&)>& arrived);

  CacheTotals totals() const;
  uint64_t suppliedBytes() const { return suppliedBytes_; }

 private:
  enum State : uint8_t { kUnknown, kGood, kLied, kElsewhere };

  bool readHere(uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out);
  bool readElsewhere(uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out);
  bool verifyHere(uint32_t chunk);
  bool verifyElsewhere(uint32_t chunk);
  bool isStoredElsewhere(uint32_t chunk);
  void noteElsewhere(uint32_t chunk);
  bool keepHere(uint32_t chunk, const uint8_t* bytes);
  void keepOnce(uint32_t chunk, const uint8_t* bytes);
  bool moveTo(const Place& heir, uint32_t chunk);
  std::vector<uint8_t> hints() const;
  bool readWholeLeaves(const ChunkRecord& record, uint32_t first, uint32_t end, const uint8_t* hashes, uint8_t* out);
  bool readChecked(uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out);
  bool readWhole(const ChunkRecord& record, uint8_t* out);
  bool readLeaves(uint32_t chunk, const ChunkRecord& record, const uint8_t* hashes, uint32_t from, uint32_t length, uint8_t* out);
  bool deriveLeaves(uint32_t chunk, const ChunkRecord& record, uint32_t from, uint32_t length, uint8_t* out);
  void publishLeaves(uint32_t chunk, std::unique_ptr<Sha256[]> leaves);
  bool isHinted(uint32_t chunk) const;
  bool setHint(uint32_t chunk, uint8_t value);
  bool writeData(const ChunkRecord& record, const uint8_t* bytes);
  void distrust(uint32_t chunk);
  void giveBack(uint32_t chunk);
  uint64_t endOfPlace(uint32_t chunk) const;

  const uint64_t id_;  // of this process's stores
  std::string directory_;
  std::shared_ptr<const Table> table_;
  Spare& spare_;
  Counters& counters_;
  Shares& shares_;
  Fd data_;
  Fd present_;
  std::vector<std::atomic<uint8_t>> states_;
  std::vector<std::atomic<Sha256*>> leaves_;  // only of chunks with more than one leaf
  std::vector<std::atomic<uint8_t>> used_;
  std::vector<std::atomic<uint8_t>> twins_;   // 1: worth a question to shares_
  std::array<std::mutex, 16> writing_;        // a chunk's bytes and its hint change together
  std::array<std::mutex, 16> deriving_;       // 64 readers of a new chunk read it whole once, not 64 times
  std::atomic<uint64_t> suppliedBytes_{0};
  std::atomic<bool> writeFailed_{false};
};
