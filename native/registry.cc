// Implementation of registry.hh. A machine has some hundred files at most: names are looked up by walking.
#include "registry.hh"

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
  for (const auto& [node, file] : files_) {
    if (file->store->directory() == directory && file->table->sameRecords(*table)) return file->store;
  }
  return std::make_shared<Store>(directory, table, spare_, counters_);
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
