// Unit tests of the native program's parts that a process test cannot reach one by one. Prints one line per failed check and
// the count; exit status 1 when any failed.
#include "unit.hh"

#include "../table.hh"

#include <cstdio>
#include <cstring>

namespace {
int checks = 0;
int failures = 0;
}  // namespace

void check(bool holds, const std::string& claim) {
  checks++;
  if (holds) return;
  failures++;
  std::printf("FAILED: %s\n", claim.c_str());
}

std::vector<uint8_t> pattern(size_t size, uint32_t seed) {
  std::vector<uint8_t> bytes(size);
  for (auto& byte : bytes) byte = static_cast<uint8_t>((seed = seed * 1664525 + 1013904223) >> 24);
  return bytes;
}

Fd tableOf(const std::vector<std::vector<uint8_t>>& chunks) {
  std::vector<uint8_t> bytes(128 + 80 * chunks.size());
  const auto put = [&](size_t at, auto value) { std::memcpy(bytes.data() + at, &value, sizeof value); };
  std::memcpy(bytes.data(), "IPSNAPT1", 8);
  put(24, static_cast<uint32_t>(chunks.size()));
  put(28, kTableLeafBytes);
  uint64_t offset = 0;
  for (size_t index = 0; index < chunks.size(); index++) {
    const size_t at = 128 + 80 * index;
    put(at, offset);
    put(at + 8, static_cast<uint32_t>(chunks[index].size()));
    const Sha256 digest = sha256(chunks[index].data(), chunks[index].size());
    std::memcpy(bytes.data() + at + 32, digest.data(), digest.size());
    offset = (offset + chunks[index].size() + 4095) / 4096 * 4096;
  }
  put(8, offset);
  TableBuilder builder;
  builder.append(bytes);
  return builder.seal();
}

int main() {
  testParsers();
  testSlots();
  testStores();
  testShares();
  std::printf("%d checks, %d failed\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
