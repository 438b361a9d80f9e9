// What a store does with chunks that other layers have too: reads and checks them where they are, keeps no second copy, and before it
// goes hands over what others live on. A copy elsewhere is trusted no more than one here: its store hashes it in the same read.
#include "store.hh"

#include "log.hh"

#include <algorithm>
#include <map>

bool Store::readElsewhere(uint32_t chunk, uint32_t from, uint32_t length, uint8_t* out) {
  for (const Place& place : twins(chunk)) {
    if (!place.store->readHere(place.chunk, from, length, out)) continue;
    noteElsewhere(chunk);
    return true;
  }
  uint8_t expected = kElsewhere;
  states_[chunk].compare_exchange_strong(expected, kUnknown);
  return false;
}

// Not over what another thread just stored here.
void Store::noteElsewhere(uint32_t chunk) {
  uint8_t expected = kUnknown;
  if (!states_[chunk].compare_exchange_strong(expected, kElsewhere) && expected == kLied) states_[chunk].compare_exchange_strong(expected, kElsewhere);
}

bool Store::verifyElsewhere(uint32_t chunk) {
  for (const Place& place : twins(chunk)) {
    if (!place.store->verifyHere(place.chunk)) continue;
    place.store->used_[place.chunk] = 1;
    noteElsewhere(chunk);
    return true;
  }
  return false;
}

// On the disk, that is, and right: what another store has in memory for a while does not count.
bool Store::isStoredElsewhere(uint32_t chunk) {
  for (const Place& place : twins(chunk)) {
    if (!place.store->isHinted(place.chunk) || !place.store->verifyHere(place.chunk)) continue;
    place.store->used_[place.chunk] = 1;
    return true;
  }
  return false;
}

void Store::keepOnce(uint32_t chunk, const uint8_t* bytes) {
  const std::lock_guard turn(shares_.turn(table_->chunk(chunk).sha256));
  if (isStoredElsewhere(chunk)) {
    if (isHinted(chunk)) evict(chunk);
    return noteElsewhere(chunk);
  }
  for (const Place& place : twins(chunk)) {
    if (place.store.get() != this) continue;
    keepHere(place.chunk, bytes);
    return noteElsewhere(chunk);
  }
  keepHere(chunk, bytes);
}

void Store::fold() {
  const std::vector<uint8_t> present = hints();
  for (uint32_t chunk = 0; chunk < present.size(); chunk++) {
    if (present[chunk] != 1 || twins_[chunk] == 0) continue;
    const std::lock_guard turn(shares_.turn(table_->chunk(chunk).sha256));
    if (!isHinted(chunk) || !isStoredElsewhere(chunk)) continue;
    evict(chunk);
    noteElsewhere(chunk);
  }
}

bool Store::hasTwins() const {
  return std::any_of(twins_.begin(), twins_.end(), [](const auto& twin) { return twin != 0; });
}

void Store::handOver(const std::function<void(const Place&)>& arrived) {
  const std::vector<uint8_t> present = hints();
  uint32_t moved = 0;
  for (uint32_t chunk = 0; chunk < present.size(); chunk++) {
    if (present[chunk] != 1 || twins_[chunk] == 0) continue;
    auto heirs = twins(chunk);
    std::erase_if(heirs, [this](const Place& place) { return place.store.get() == this; });
    if (heirs.empty()) continue;
    const std::lock_guard turn(shares_.turn(table_->chunk(chunk).sha256));
    const bool isSafe = std::any_of(heirs.begin(), heirs.end(), [](const Place& heir) { return heir.store->isHinted(heir.chunk) && heir.store->verifyHere(heir.chunk); });
    if (isSafe) evict(chunk);
    else if (moveTo(heirs.front(), chunk)) moved++;
    else continue;
    arrived(heirs.front());
  }
  if (moved > 0) logEvent("handed chunks over to other layers", {{"path", directory_}, {"chunks", std::to_string(moved)}});
}

// On a full disk it goes from here first. Where even that gives no room it is fetched again.
bool Store::moveTo(const Place& heir, uint32_t chunk) {
  std::vector<uint8_t> bytes(table_->chunk(chunk).size);
  if (!readHere(chunk, 0, static_cast<uint32_t>(bytes.size()), bytes.data())) return false;
  const bool stored = heir.store->keepHere(heir.chunk, bytes.data());
  evict(chunk);
  if (!stored) heir.store->keepHere(heir.chunk, bytes.data());
  heir.store->used_[heir.chunk] = 1;  // as young as it was here
  return true;
}

std::vector<Place> Store::twins(uint32_t chunk) const {
  return twins_[chunk] == 0 ? std::vector<Place>() : shares_.others(*this, chunk);
}

// What others have is looked up only for chunks that are not here, and each other store's hints are read once.
CacheTotals Store::totals() const {
  const std::vector<uint8_t> present = hints();
  std::map<const Store*, std::vector<uint8_t>> theirs;
  const auto isElsewhere = [&](uint32_t chunk) {
    const auto places = twins(chunk);
    return std::any_of(places.begin(), places.end(), [&](const Place& place) {
      const auto [at, added] = theirs.try_emplace(place.store.get());
      if (added) at->second = place.store->hints();
      return at->second[place.chunk] == 1;
    });
  };
  CacheTotals totals;
  for (uint32_t chunk = 0; chunk < table_->chunkCount(); chunk++) {
    const bool isHere = (present[chunk] == 1 && states_[chunk] != kLied) || states_[chunk] == kGood;
    if (!isHere && !isElsewhere(chunk)) continue;
    const uint32_t size = table_->chunk(chunk).size;
    totals.chunks++;
    totals.bytes += size;
    if (!isHere) totals.sharedBytes += size;
  }
  return totals;
}
