// Implementation of supply.hh: PROTOCOL frame 8.
#include "supply.hh"

#include "budget.hh"
#include "inflate.hh"

#include <algorithm>

namespace {

enum Encoding : uint8_t { kRaw = 0, kGzip = 1 };

// A hostile TOC may place a chunk 64 MiB inside its member: not for each supplying thread at a time.
Budget inflating(96 * 1024 * 1024);

struct Supply {
  FilePtr file;
  uint8_t encoding;
  uint32_t first;
  uint32_t count;
  std::span<const uint8_t> payload;
};

// Where each chunk's bytes stand in the inflated member, or in the concatenation.
uint64_t neededBytes(const Supply& supply) {
  const Table& table = *supply.file->table;
  uint64_t needed = 0;
  for (uint32_t chunk = supply.first; chunk < supply.first + supply.count; chunk++) {
    const ChunkRecord record = table.chunk(chunk);
    const uint64_t innerEnd = record.innerOffset + static_cast<uint64_t>(record.size);
    needed = supply.encoding == kRaw ? needed + record.size : std::max(needed, innerEnd);
  }
  return needed;
}

SupplyResult rejected(const Supply& supply, const std::string& text) {
  return {EBADMSG, supply.first, supply.count, text};
}

SupplyResult keepChunks(const Supply& supply, std::span<const uint8_t> bytes, Waits& waits) {
  const Table& table = *supply.file->table;
  SupplyResult result{0, supply.first, supply.count, ""};
  uint64_t position = 0;
  for (uint32_t chunk = supply.first; chunk < supply.first + supply.count; chunk++) {
    const ChunkRecord record = table.chunk(chunk);
    const uint64_t at = supply.encoding == kRaw ? position : record.innerOffset;
    position += record.size;
    if (supply.file->store->keep(chunk, bytes.data() + at)) {
      waits.arrived(*supply.file->store, chunk);
      for (const Place& twin : supply.file->store->twins(chunk)) waits.arrived(*twin.store, twin.chunk);
    } else if (result.error == 0) {
      result = {EBADMSG, chunk, 1, "chunk " + std::to_string(chunk) + " does not match its sha256"};
    } else {
      result.count = chunk + 1 - result.first;  // one range from the first to the last bad one
    }
  }
  return result;
}

SupplyResult accept(const Supply& supply, Waits& waits) {
  const uint64_t needed = neededBytes(supply);
  if (supply.encoding == kRaw) {
    if (supply.payload.size() == needed) return keepChunks(supply, supply.payload, waits);
    return rejected(supply, std::to_string(supply.payload.size()) + " bytes where " + std::to_string(needed) + " belong");
  }
  const Budget::Share share(inflating, needed);
  const auto inflated = inflateGzip(supply.payload, needed);
  if (inflated.empty()) return rejected(supply, "not a gzip member of at least " + std::to_string(needed) + " bytes");
  return keepChunks(supply, inflated, waits);
}

}  // namespace

SupplyResult acceptSupply(std::span<const uint8_t> body, const Registry& registry, Waits& waits, std::string& name) {
  ByteReader reader(body);
  name = reader.string();
  Supply supply{registry.byName(name), reader.number<uint8_t>(), 0, 0, {}};
  reader.take(3);
  supply.first = reader.number<uint32_t>();
  supply.count = reader.number<uint32_t>();
  supply.payload = reader.rest();
  if (supply.file == nullptr) return {ENOENT, supply.first, supply.count, "no such file"};
  const bool inside = supply.count > 0 && static_cast<uint64_t>(supply.first) + supply.count <= supply.file->table->chunkCount();
  if (!inside || supply.encoding > kGzip) return {EINVAL, supply.first, supply.count, "no such chunks or encoding"};
  return accept(supply, waits);
}
