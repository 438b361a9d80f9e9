// The files of the FUSE mount by name and by node id. Files whose tables list the same chunks share one Store per cache directory.
// Node ids are given once and never again: the kernel may remember those of files that are gone.
#pragma once

#include "store.hh"

#include <map>
#include <shared_mutex>

constexpr uint64_t kRootNode = 1;

struct File {
  std::string name;
  uint64_t node = 0;
  std::shared_ptr<const Table> table;
  std::shared_ptr<Store> store;
  std::atomic<uint64_t> readBytes{0};
  std::atomic<bool> removed{false};
};

using FilePtr = std::shared_ptr<File>;

class Registry {
 public:
  Registry(Spare& spare, Counters& counters) : spare_(spare), counters_(counters) {}

  FilePtr add(const std::string& name, const std::string& directory, std::shared_ptr<const Table> table, uint64_t node);
  /** The removed file, or nothing. */
  FilePtr remove(const std::string& name);
  FilePtr byName(const std::string& name) const;
  FilePtr byNode(uint64_t node) const;
  /** Ascending by node id. */
  std::vector<FilePtr> all() const;

 private:
  std::shared_ptr<Store> storeFor(const std::string& directory, const std::shared_ptr<const Table>& table);

  Spare& spare_;
  Counters& counters_;
  mutable std::shared_mutex mutex_;
  std::map<uint64_t, FilePtr> files_;
};
