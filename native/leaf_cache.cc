// Implementation of leaf_cache.hh.
#include "leaf_cache.hh"

#include "table.hh"

#include <cstring>

// The leaf's slot, or the one that was not used for longest; null when all others are being read.
LeafCache::Slot* LeafCache::enter(const Key& key) {
  const std::lock_guard lock(mutex_);
  Slot* chosen = nullptr;
  for (Slot& slot : slots_) {
    if (slot.key == key) {
      chosen = &slot;
      break;
    }
    if (slot.readers == 0 && (chosen == nullptr || slot.lastUse < chosen->lastUse)) chosen = &slot;
  }
  if (chosen == nullptr) return nullptr;
  if (chosen->key != key) {
    chosen->key = key;
    chosen->checked = false;  // nobody else looks: it has no readers
  }
  chosen->readers++;
  chosen->lastUse = ++uses_;
  return chosen;
}

void LeafCache::leave(Slot& slot) {
  const std::lock_guard lock(mutex_);
  slot.readers--;
}

bool LeafCache::read(const Key& key, uint32_t from, uint32_t length, uint8_t* out, const Load& load) {
  Slot* slot = enter(key);
  if (slot == nullptr) {
    const auto bytes = std::make_unique_for_overwrite<uint8_t[]>(kLeafBytes);
    if (!load(bytes.get())) return false;
    std::memcpy(out, bytes.get() + from, length);
    return true;
  }
  bool checked = false;
  try {
    const std::lock_guard lock(slot->mutex);
    if (slot->bytes == nullptr) slot->bytes = std::make_unique_for_overwrite<uint8_t[]>(kLeafBytes);
    if (!slot->checked) slot->checked = load(slot->bytes.get());
    checked = slot->checked;
    if (checked) std::memcpy(out, slot->bytes.get() + from, length);
  } catch (...) {
    leave(*slot);
    throw;
  }
  leave(*slot);
  return checked;
}
