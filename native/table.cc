// Implementation of table.hh. Offsets here are those of docs/PROTOCOL.md.
#include "table.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

constexpr size_t kHeaderBytes = 128;
constexpr size_t kRecordBytes = 80;
constexpr uint64_t kFileMax = 1ULL << 50;  // keeps every sum of offsets far from overflow
constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

template <typename Number>
Number load(const uint8_t* at) {
  Number value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

void require(bool holds, const std::string& rule) {
  if (!holds) throw Failure(EINVAL, "bad table: " + rule);
}

bool allZero(const uint8_t* bytes, size_t count) {
  return std::all_of(bytes, bytes + count, [](uint8_t byte) { return byte == 0; });
}

}  // namespace

std::shared_ptr<const Table> Table::open(Fd memfd) {
  std::shared_ptr<Table> table(new Table(std::move(memfd)));
  table->map();
  table->check();
  return table;
}

Table::Table(Fd memfd) : memfd_(std::move(memfd)) {}

Table::~Table() {
  if (bytes_ != nullptr) ::munmap(const_cast<uint8_t*>(bytes_), size_);
}

void Table::map() {
  struct stat info{};
  if (::fstat(memfd_.get(), &info) != 0) failErrno("cannot stat a table");
  const int seals = ::fcntl(memfd_.get(), F_GET_SEALS);
  require(seals >= 0 && (seals & kSeals) == kSeals, "its memory is not sealed");
  size_ = static_cast<uint64_t>(info.st_size);
  require(size_ >= kHeaderBytes && size_ <= kTableMax, "it is " + std::to_string(size_) + " bytes");
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, memfd_.get(), 0);
  if (mapped == MAP_FAILED) failErrno("cannot map a table");
  bytes_ = static_cast<const uint8_t*>(mapped);
}

void Table::check() {
  require(std::memcmp(bytes_, "IPSNAPT1", 8) == 0, "it does not start with IPSNAPT1");
  fileSize_ = load<uint64_t>(bytes_ + 8);
  prefixSize_ = load<uint64_t>(bytes_ + 16);
  chunkCount_ = load<uint32_t>(bytes_ + 24);
  require(fileSize_ <= kFileMax && fileSize_ % 4096 == 0, "file size " + std::to_string(fileSize_));
  require(prefixSize_ <= fileSize_ && prefixSize_ % 4096 == 0, "prefix size " + std::to_string(prefixSize_));
  require(load<uint32_t>(bytes_ + 28) == kTableLeafBytes, "leaf size is not 65536");
  require(allZero(bytes_ + 64, 64), "reserved header bytes are set");
  const uint64_t expected = kHeaderBytes + kRecordBytes * static_cast<uint64_t>(chunkCount_) + prefixSize_;
  require(size_ == expected, std::to_string(size_) + " bytes where " + std::to_string(expected) + " belong");
  uint64_t end = 0;
  for (uint32_t index = 0; index < chunkCount_; index++) {
    const ChunkRecord record = chunk(index);
    const std::string where = " of chunk " + std::to_string(index);
    require(record.size >= 1 && record.size <= kChunkMax, "size" + where);
    require(record.dataOffset >= end, "order or overlap" + where);
    require(record.dataOffset <= dataSize() && record.size <= dataSize() - record.dataOffset, "end" + where);
    require(record.innerOffset + static_cast<uint64_t>(record.size) <= kInflatedMax, "innerOffset" + where);
    const uint8_t* raw = record.sha256 - 32;
    require(load<uint32_t>(raw + 28) == 0 && allZero(raw + 64, 16), "reserved bytes" + where);
    end = record.dataOffset + record.size;
    chunkBytes_ += record.size;
  }
}

ChunkRecord Table::chunk(uint32_t index) const {
  const uint8_t* raw = bytes_ + kHeaderBytes + kRecordBytes * static_cast<uint64_t>(index);
  return {load<uint64_t>(raw), load<uint32_t>(raw + 8), load<uint32_t>(raw + 12), raw + 32};
}

uint32_t Table::firstEndingAfter(uint64_t dataOffset) const {
  uint32_t low = 0;
  uint32_t high = chunkCount_;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    const ChunkRecord record = chunk(middle);
    if (record.dataOffset + record.size > dataOffset) high = middle;
    else low = middle + 1;
  }
  return low;
}

std::span<const uint8_t> Table::records() const {
  return {bytes_ + kHeaderBytes, kRecordBytes * static_cast<size_t>(chunkCount_)};
}

std::span<const uint8_t> Table::prefix() const {
  return {bytes_ + kHeaderBytes + records().size(), prefixSize_};
}

bool Table::sameBytes(const Table& other) const {
  return size_ == other.size_ && std::memcmp(bytes_, other.bytes_, size_) == 0;
}

bool Table::sameRecords(const Table& other) const {
  const auto mine = records();
  const auto theirs = other.records();
  return mine.size() == theirs.size() && std::equal(mine.begin(), mine.end(), theirs.begin());
}

TableBuilder::TableBuilder() : memfd_(::memfd_create("ipfs-snapshotter-table", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
  if (!memfd_) failErrno("cannot make a memfd for a table");
}

void TableBuilder::append(std::span<const uint8_t> bytes) {
  if (size_ + bytes.size() > kTableMax) throw Failure(EFBIG, "a table is larger than " + std::to_string(kTableMax) + " bytes");
  while (!bytes.empty()) {
    const ssize_t count = ::write(memfd_.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) failErrno("cannot write a table to memory");
    bytes = bytes.subspan(static_cast<size_t>(count));
    size_ += static_cast<size_t>(count);
  }
}

Fd TableBuilder::seal() {
  if (::fcntl(memfd_.get(), F_ADD_SEALS, kSeals) != 0) failErrno("cannot seal a table");
  return std::move(memfd_);
}
