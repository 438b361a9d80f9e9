// Implementation of store.hh.
#include "store.hh"

#include "leaf_cache.hh"
#include "log.hh"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace {

// A full or read-only disk still may hold good chunks; a file that cannot be opened at all is an empty cache.
Fd openCacheFile(const std::string& path) {
  constexpr int kCommon = O_CLOEXEC | O_NOFOLLOW;
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | kCommon, 0600);
  if (fd < 0) fd = ::open(path.c_str(), O_RDONLY | kCommon);
  if (fd < 0) logEvent("cannot open a cache file, going on without it", {{"path", path}, {"error", errnoName(errno)}});
  return Fd(fd);
}

bool readFully(int fd, uint8_t* out, size_t length, uint64_t offset) {
  while (length > 0) {
    const ssize_t count = ::pread(fd, out, length, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    out += count;
    offset += static_cast<size_t>(count);
    length -= static_cast<size_t>(count);
  }
  return true;
}

bool writeFully(int fd, const uint8_t* bytes, size_t length, uint64_t offset) {
  while (length > 0) {
    const ssize_t count = ::pwrite(fd, bytes, length, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes += count;
    offset += static_cast<size_t>(count);
    length -= static_cast<size_t>(count);
  }
  return true;
}

uint32_t leafSize(const ChunkRecord& record, uint32_t leaf) {
  return std::min(kLeafBytes, record.size - leaf * kLeafBytes);
}

std::unique_ptr<Sha256[]> hashLeaves(const ChunkRecord& record, const uint8_t* bytes) {
  auto leaves = std::make_unique<Sha256[]>(record.leaves());
  for (uint32_t leaf = 0; leaf < record.leaves(); leaf++) leaves[leaf] = sha256(bytes + leaf * kLeafBytes, leafSize(record, leaf));
  return leaves;
}

// One per thread; what it holds is used before anything else is read into it.
uint8_t* leafScratch() {
  thread_local std::vector<uint8_t> scratch(kLeafBytes);
  return scratch.data();
}

LeafCache checkedLeaves;
std::atomic<uint64_t> lastId{0};

// What a leaf [start, start + size) of a chunk has of [from, end), to where a reader of that range wants it.
void copyPart(const uint8_t* leaf, uint32_t start, uint32_t size, uint32_t from, uint32_t end, uint8_t* out) {
  const uint32_t first = std::max(start, from);
  const uint32_t last = std::min(start + size, end);
  if (first < last) std::memcpy(out + (first - from), leaf + (first - start), last - first);
}

bool equals(const Sha256& digest, const uint8_t* expected) {
  return std::memcmp(digest.data(), expected, digest.size()) == 0;
}

}  // namespace

Store::Store(std::string directory, std::shared_ptr<const Table> table, Spare& spare, Counters& counters, Shares& shares)
    : id_(++lastId), directory_(std::move(directory)), table_(std::move(table)), spare_(spare), counters_(counters),
      shares_(shares), states_(table_->chunkCount()), leaves_(table_->chunkCount()), used_(table_->chunkCount()), twins_(table_->chunkCount()) {
  try {
    makeDirectories(directory_, 0700);
  } catch (const Failure& failure) {
    logEvent("cannot make a cache directory", {{"path", directory_}, {"error", errnoName(failure.error)}});
  }
  data_ = openCacheFile(directory_ + "/data");
  present_ = openCacheFile(directory_ + "/present");
}

Store::~Store() {
  spare_.forget(this);
  for (auto& leaves : leaves_) delete[] leaves.load();
}

bool Store::read(uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out) {
  if (readHere(chunk, from, length, out)) return true;
  return twins_[chunk] != 0 && readElsewhere(chunk, from, length, out);
}

bool Store::readHere(uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out) {
  if (spare_.read(this, chunk, from, length, out)) return true;
  const uint8_t state = states_[chunk];
  if (state != kGood && (state != kUnknown || !isHinted(chunk))) return false;
  if (readChecked(chunk, from, length, out)) {
    if (state == kUnknown) states_[chunk] = kGood;
    if (used_[chunk] == 0) used_[chunk] = 1;  // the line stays shared between readers
    return true;
  }
  distrust(chunk);
  return false;
}

bool Store::verify(uint32_t chunk) {
  return verifyHere(chunk) || verifyElsewhere(chunk);
}

bool Store::verifyHere(uint32_t chunk) {
  if (spare_.has(this, chunk) || (states_[chunk] == kGood && isHinted(chunk))) return true;  // evicted chunks lose their hint
  uint8_t byte = 0;
  return readHere(chunk, 0, 1, &byte);  // the first use of a chunk reads and checks the whole of it
}

bool Store::readChecked(uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out) {
  const ChunkRecord record = table_->chunk(chunk);
  if (length == record.size) return readWhole(record, out);
  if (record.leaves() == 1) return readLeaves(chunk, record, record.sha256, from, length, out);
  if (leaves_[chunk] == nullptr) {
    const std::lock_guard lock(deriving_[chunk % deriving_.size()]);
    if (leaves_[chunk] == nullptr) return deriveLeaves(chunk, record, from, length, out);
  }
  return readLeaves(chunk, record, leaves_[chunk].load()->data(), from, length, out);
}

// One hash of every byte: leaves would be no cheaper, and need not be known.
bool Store::readWhole(const ChunkRecord& record, uint8_t* out) {
  if (!readFully(data_.get(), out, record.size, record.dataOffset)) return false;
  counters_.leafHashesChecked += record.leaves();
  return equals(sha256(out, record.size), record.sha256);
}

bool Store::readLeaves(uint32_t chunk, const ChunkRecord& record, const uint8_t* hashes, uint32_t from, uint32_t length, uint8_t* out) {
  const uint32_t end = from + length;
  const uint32_t firstWhole = (from + kLeafBytes - 1) / kLeafBytes;
  const uint32_t endWhole = end == record.size ? record.leaves() : end / kLeafBytes;
  for (uint32_t leaf = from / kLeafBytes; leaf * kLeafBytes < end;) {
    const uint32_t start = leaf * kLeafBytes;
    if (leaf >= firstWhole && leaf < endWhole) {
      if (!readWholeLeaves(record, leaf, endWhole, hashes, out + (start - from))) return false;
      leaf = endWhole;
      continue;
    }
    const uint32_t first = std::max(start, from);
    const uint32_t last = std::min(start + leafSize(record, leaf), end);
    const auto load = [&](uint8_t* bytes) { return readWholeLeaves(record, leaf, leaf + 1, hashes, bytes); };
    if (!checkedLeaves.read({id_, chunk, leaf}, first - start, last - first, out + (first - from), load)) return false;
    leaf++;
  }
  return true;
}

// Leaves [first, end), in one read of the disk.
bool Store::readWholeLeaves(const ChunkRecord& record, uint32_t first, uint32_t end, const uint8_t* hashes, uint8_t* out) {
  const uint32_t start = first * kLeafBytes;
  const uint32_t size = std::min(end * kLeafBytes, record.size) - start;
  if (!readFully(data_.get(), out, size, record.dataOffset + start)) return false;
  counters_.leafHashesChecked += end - first;
  for (uint32_t leaf = first; leaf < end; leaf++) {
    const uint8_t* bytes = out + (leaf * kLeafBytes - start);
    if (!equals(sha256(bytes, leafSize(record, leaf)), hashes + leaf * sizeof(Sha256))) return false;
  }
  return true;
}

// Leaf by leaf, so that a 16 MiB chunk needs no 16 MiB of memory; hashes and `out` count only if the whole agrees.
bool Store::deriveLeaves(uint32_t chunk, const ChunkRecord& record, uint32_t from, uint32_t length, uint8_t* out) {
  auto leaves = std::make_unique<Sha256[]>(record.leaves());
  uint8_t* scratch = leafScratch();
  Sha256Stream whole;
  for (uint32_t leaf = 0; leaf < record.leaves(); leaf++) {
    const uint32_t start = leaf * kLeafBytes;
    const uint32_t size = leafSize(record, leaf);
    if (!readFully(data_.get(), scratch, size, record.dataOffset + start)) return false;
    whole.update(scratch, size);
    leaves[leaf] = sha256(scratch, size);
    copyPart(scratch, start, size, from, from + length, out);
  }
  counters_.leafHashesChecked += record.leaves();
  if (!equals(whole.finish(), record.sha256)) return false;
  publishLeaves(chunk, std::move(leaves));
  return true;
}

// Leaf hashes of bytes that match the chunk's digest are the same for ever: the first to publish wins, none is ever replaced.
void Store::publishLeaves(uint32_t chunk, std::unique_ptr<Sha256[]> leaves) {
  Sha256* expected = nullptr;
  if (leaves_[chunk].compare_exchange_strong(expected, leaves.get())) (void)leaves.release();
}

bool Store::keep(uint32_t chunk, const uint8_t* bytes) {
  const ChunkRecord record = table_->chunk(chunk);
  if (!equals(sha256(bytes, record.size), record.sha256)) return false;
  if (twins_[chunk] == 0) keepHere(chunk, bytes);
  else keepOnce(chunk, bytes);
  suppliedBytes_ += record.size;
  return true;
}

// False when the disk did not take it; memory has it then.
bool Store::keepHere(uint32_t chunk, const uint8_t* bytes) {
  const ChunkRecord record = table_->chunk(chunk);
  if (record.leaves() > 1 && leaves_[chunk] == nullptr) publishLeaves(chunk, hashLeaves(record, bytes));
  std::unique_lock writing(writing_[chunk % writing_.size()]);
  const bool stored = writeData(record, bytes) && setHint(chunk, 1);
  const int error = errno;
  writing.unlock();
  if (!stored || states_[chunk] == kLied) spare_.keep(this, chunk, bytes, record.size);
  if (!stored && !writeFailed_.exchange(true)) {
    logEvent("cannot write to the cache, going on from memory", {{"path", directory_}, {"error", errnoName(error)}});
  }
  if (stored) {
    writeFailed_ = false;
    states_[chunk] = kGood;
  }
  return stored;
}

// The hint goes first: a reader that finds zeros and no hint has a miss, not a lie.
void Store::evict(uint32_t chunk) {
  const std::lock_guard writing(writing_[chunk % writing_.size()]);
  if (!setHint(chunk, 0)) return;
  if (states_[chunk] == kGood) states_[chunk] = kUnknown;
  giveBack(chunk);
}

void Store::giveBack(uint32_t chunk) {
  const ChunkRecord record = table_->chunk(chunk);
  const auto length = static_cast<off_t>(endOfPlace(chunk) - record.dataOffset);
  if (::fallocate(data_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(record.dataOffset), length) == 0) return;
  logEvent("cannot give cache space back", {{"path", directory_}, {"error", errnoName(errno)}});
}

// With the padding up to the next chunk: only whole blocks are given back.
uint64_t Store::endOfPlace(uint32_t chunk) const {
  constexpr uint64_t kBlock = 4096;
  const ChunkRecord record = table_->chunk(chunk);
  const uint64_t blocks = (record.dataOffset + record.size + kBlock - 1) / kBlock * kBlock;
  return chunk + 1 < table_->chunkCount() ? std::min(blocks, table_->chunk(chunk + 1).dataOffset) : blocks;
}

std::vector<uint8_t> Store::takeUsed() {
  std::vector<uint8_t> bits((used_.size() + 7) / 8);
  for (size_t chunk = 0; chunk < used_.size(); chunk++) {
    if (used_[chunk] != 0 && used_[chunk].exchange(0) != 0) bits[chunk / 8] |= static_cast<uint8_t>(1u << chunk % 8);
  }
  return bits;
}

bool Store::writeData(const ChunkRecord& record, const uint8_t* bytes) {
  return writeFully(data_.get(), bytes, record.size, record.dataOffset);
}

bool Store::isHinted(uint32_t chunk) const {
  uint8_t value = 0;
  return readFully(present_.get(), &value, 1, chunk) && value == 1;
}

bool Store::setHint(uint32_t chunk, uint8_t value) {
  return writeFully(present_.get(), &value, 1, chunk);
}

// Evicted chunks lose their hint first: only a chunk that claims to be there and is not has been tampered with or torn.
// Its place is given back, since what comes in its stead may be stored elsewhere.
void Store::distrust(uint32_t chunk) {
  const std::lock_guard writing(writing_[chunk % writing_.size()]);
  if (!isHinted(chunk)) {
    states_[chunk] = kUnknown;
    return;
  }
  states_[chunk] = kLied;
  counters_.violations++;
  if (setHint(chunk, 0)) giveBack(chunk);
  logEvent("the cache does not match its digest", {{"path", directory_}, {"chunk", std::to_string(chunk)}});
}

// One byte per chunk, also of those that the file is too short for.
std::vector<uint8_t> Store::hints() const {
  std::vector<uint8_t> hints(table_->chunkCount());
  size_t have = 0;
  while (have < hints.size()) {
    const ssize_t count = ::pread(present_.get(), hints.data() + have, hints.size() - have, static_cast<off_t>(have));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    have += static_cast<size_t>(count);
  }
  return hints;
}
