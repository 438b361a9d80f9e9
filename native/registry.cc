// Implementation of registry.hh. A machine has some hundred files at most: names are looked up by walking.
#include "registry.hh"

#include <algorithm>

FilePtr Registry::add(const std::string& name, const std::string& directory, std::shared_ptr<const Table> table, uint64_t node) {
  const std::unique_lock lock(mutex_);
  auto file = std::make_shared<File>();
  file->name = name;
  file->node = node;
  file->store = storeFor(directory, table);
  file->table = std::move(table);
  files_[node] = file;
  return file;
}

std::shared_ptr<Store> Registry::storeFor(const std::string& directory, const std::shared_ptr<const Table>& table) {
  for (auto& store : shares_.stores()) {  // also of files that are being removed: two stores must not write into one cache
    if (store->directory() == directory && store->table().sameRecords(*table)) return store;
  }
  auto store = std::make_shared<Store>(directory, table, spare_, counters_, shares_);
  shares_.add(store);
  return store;
}

void Registry::release(const std::shared_ptr<Store>& store) {
  const std::unique_lock lock(mutex_);
  if (!isInUse(store)) shares_.remove(*store);
}

bool Registry::isServed(const std::shared_ptr<Store>& store) const {
  const std::shared_lock lock(mutex_);
  return isInUse(store);
}

bool Registry::isInUse(const std::shared_ptr<Store>& store) const {
  return std::any_of(files_.begin(), files_.end(), [&](const auto& entry) { return entry.second->store == store; });
}

FilePtr Registry::remove(const std::string& name) {
  const std::unique_lock lock(mutex_);
  for (auto at = files_.begin(); at != files_.end(); at++) {
    if (at->second->name != name) continue;
    FilePtr file = at->second;
    file->removed = true;
    files_.erase(at);
    return file;
  }
  return nullptr;
}

FilePtr Registry::byName(const std::string& name) const {
  const std::shared_lock lock(mutex_);
  for (const auto& [node, file] : files_) if (file->name == name) return file;
  return nullptr;
}

FilePtr Registry::byNode(uint64_t node) const {
  const std::shared_lock lock(mutex_);
  const auto found = files_.find(node);
  return found == files_.end() ? nullptr : found->second;
}

std::vector<FilePtr> Registry::all() const {
  const std::shared_lock lock(mutex_);
  std::vector<FilePtr> files;
  for (const auto& [node, file] : files_) files.push_back(file);
  return files;
}
