// The immutable table of one file (docs/PROTOCOL.md): sizes, chunk records and metadata prefix, mapped from a sealed memfd,
// so that what was validated cannot change. A Table object exists only for bytes that passed every check.
#pragma once

#include "hash.hh"
#include "support.hh"

#include <memory>
#include <span>

constexpr uint32_t kLeafBytes = 32768;       // what is checked at once of a chunk that is read in part
constexpr uint32_t kTableLeafBytes = 65536;  // what a table says of it: at most (design §1.4)
constexpr uint32_t kChunkMax = 16 * 1024 * 1024;
constexpr uint64_t kInflatedMax = 64 * 1024 * 1024;  // innerOffset + size: what one member may have to be inflated to
constexpr uint64_t kTableMax = 512 * 1024 * 1024;    // a million entries need about 170 MiB

struct ChunkRecord {
  uint64_t dataOffset;
  uint32_t size;
  uint32_t innerOffset;
  const uint8_t* sha256;

  uint32_t leaves() const { return (size + kLeafBytes - 1) / kLeafBytes; }
};

class Table {
 public:
  /** Maps and checks. Failure(EINVAL) says which rule is broken. */
  static std::shared_ptr<const Table> open(Fd memfd);
  ~Table();
  Table(const Table&) = delete;
  Table& operator=(const Table&) = delete;

  uint64_t fileSize() const { return fileSize_; }
  uint64_t dataSize() const { return fileSize_ - prefixSize_; }
  uint32_t chunkCount() const { return chunkCount_; }
  uint64_t chunkBytes() const { return chunkBytes_; }
  int memfd() const { return memfd_.get(); }

  ChunkRecord chunk(uint32_t index) const;
  /** Number of the first chunk that ends after `dataOffset`; chunkCount() when there is none. */
  uint32_t firstEndingAfter(uint64_t dataOffset) const;
  std::span<const uint8_t> prefix() const;

  bool sameBytes(const Table& other) const;
  /** The same chunks at the same places: such files can share one cache. */
  bool sameRecords(const Table& other) const;

 private:
  explicit Table(Fd memfd);
  void map();
  void check();
  std::span<const uint8_t> records() const;

  Fd memfd_;
  const uint8_t* bytes_ = nullptr;
  uint64_t size_ = 0;
  uint64_t fileSize_ = 0;
  uint64_t prefixSize_ = 0;
  uint32_t chunkCount_ = 0;
  uint64_t chunkBytes_ = 0;
};

/** Collects the bytes of a table in a memfd and seals it. */
class TableBuilder {
 public:
  TableBuilder();
  void append(std::span<const uint8_t> bytes);
  uint64_t size() const { return size_; }
  Fd seal();

 private:
  Fd memfd_;
  uint64_t size_ = 0;
};
