// Unit tests of the native program's parts that a process test cannot reach one by one. Prints one line per failed check and
// the count; exit status 1 when any failed.
#include "unit.hh"

#include <cstdio>

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

int main() {
  testParsers();
  testSlots();
  testStores();
  std::printf("%d checks, %d failed\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
