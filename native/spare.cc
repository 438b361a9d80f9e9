// Implementation of spare.hh. bytes_ is read without the lock: empty is by far the usual case.
#include "spare.hh"

#include <algorithm>
#include <cstring>

namespace {
// One READ of 1 MiB may need two chunks of 16 MiB at its ends and 1 MiB of small ones between them.
constexpr size_t kSpareMax = 64 * 1024 * 1024;
}  // namespace

void Spare::keep(const void* store, uint32_t chunk, const uint8_t* bytes, size_t size) {
  const std::lock_guard lock(mutex_);
  const auto [at, added] = chunks_.try_emplace({store, chunk}, bytes, bytes + size);
  if (!added) return;
  order_.push_back(at->first);
  size_t total = bytes_ + size;
  while (total > kSpareMax) {
    const auto oldest = chunks_.find(order_.front());
    order_.pop_front();
    total -= oldest->second.size();
    chunks_.erase(oldest);
  }
  bytes_ = total;
}

bool Spare::read(const void* store, uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out) {
  if (bytes_ == 0) return false;
  const std::lock_guard lock(mutex_);
  const auto found = chunks_.find({store, chunk});
  if (found == chunks_.end()) return false;
  std::memcpy(out, found->second.data() + from, length);
  return true;
}

bool Spare::has(const void* store, uint32_t chunk) {
  if (bytes_ == 0) return false;
  const std::lock_guard lock(mutex_);
  return chunks_.contains({store, chunk});
}

void Spare::forget(const void* store) {
  if (bytes_ == 0) return;
  const std::lock_guard lock(mutex_);
  std::erase_if(order_, [&](const Key& key) { return key.first == store; });
  std::erase_if(chunks_, [&](const auto& entry) {
    if (entry.first.first != store) return false;
    bytes_ -= entry.second.size();
    return true;
  });
}
