// Implementation of shares.hh.
#include "shares.hh"

#include "store.hh"

#include <algorithm>
#include <cstring>

namespace {

uint64_t keyOf(const ChunkRecord& record) {
  uint64_t key;
  std::memcpy(&key, record.sha256, sizeof key);
  return key;
}

}  // namespace

void Shares::add(const std::shared_ptr<Store>& store) {
  const std::unique_lock lock(mutex_);
  const uint32_t number = ++lastNumber_;
  stores_[number] = store;
  const Table& table = store->table();
  entries_.reserve(entries_.size() + table.chunkCount());
  for (uint32_t chunk = 0; chunk < table.chunkCount(); chunk++) entries_.push_back({keyOf(table.chunk(chunk)), number, chunk});
}

// Equal keys are neighbours now, those of one store with its first chunk in front: the others are told and left out.
void Shares::settle() {
  const std::unique_lock lock(mutex_);
  const auto middle = entries_.begin() + static_cast<ptrdiff_t>(sorted_);
  std::sort(middle, entries_.end());
  std::inplace_merge(entries_.begin(), middle, entries_.end());
  for (size_t at = 1; at < entries_.size(); at++) {
    if (entries_[at - 1].key != entries_[at].key) continue;
    for (const Entry& entry : {entries_[at - 1], entries_[at]}) {
      if (const auto store = storeOf(entry)) store->noteTwin(entry.chunk);
    }
  }
  const auto last = std::unique(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.key == b.key && a.store == b.store; });
  entries_.erase(last, entries_.end());
  sorted_ = entries_.size();
}

void Shares::remove(const Store& store) {
  const std::unique_lock lock(mutex_);
  const auto isGone = [&](uint32_t number) {
    const auto living = stores_[number].lock();
    return living == nullptr || living.get() == &store;
  };
  std::unordered_map<uint32_t, bool> gone;
  for (const auto& [number, ignored] : stores_) gone[number] = isGone(number);
  const auto sorted = entries_.begin() + static_cast<ptrdiff_t>(sorted_);
  sorted_ -= static_cast<size_t>(std::count_if(entries_.begin(), sorted, [&](const Entry& entry) { return gone[entry.store]; }));
  std::erase_if(entries_, [&](const Entry& entry) { return gone[entry.store]; });
  std::erase_if(stores_, [&](const auto& one) { return gone[one.first]; });
}

std::vector<std::shared_ptr<Store>> Shares::stores() const {
  const std::shared_lock lock(mutex_);
  std::vector<std::shared_ptr<Store>> living;
  for (const auto& [number, weak] : stores_) {
    if (auto store = weak.lock()) living.push_back(std::move(store));
  }
  return living;
}

std::shared_ptr<Store> Shares::storeOf(const Entry& entry) const {
  const auto found = stores_.find(entry.store);
  return found == stores_.end() ? nullptr : found->second.lock();
}

std::vector<Place> Shares::others(const Store& store, uint32_t chunk) const {
  const ChunkRecord wanted = store.table().chunk(chunk);
  const uint64_t key = keyOf(wanted);
  std::vector<Place> places;
  const std::shared_lock lock(mutex_);
  const auto end = entries_.begin() + static_cast<ptrdiff_t>(sorted_);
  for (auto at = std::lower_bound(entries_.begin(), end, Entry{key, 0, 0}); at != end && at->key == key; at++) {
    auto other = storeOf(*at);
    if (other == nullptr || (other.get() == &store && at->chunk == chunk)) continue;
    const ChunkRecord record = other->table().chunk(at->chunk);
    const bool equal = record.size == wanted.size && std::memcmp(record.sha256, wanted.sha256, sizeof(Sha256)) == 0;
    if (equal) places.push_back({std::move(other), at->chunk});
  }
  return places;
}
