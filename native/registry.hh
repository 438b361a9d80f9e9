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
  /** The removed file, or nothing. Its store serves others until it is released. */
  FilePtr remove(const std::string& name);
  /** Nobody but files of its own needs the store any more: without such files it is forgotten. */
  void release(const std::shared_ptr<Store>& store);
  bool isServed(const std::shared_ptr<Store>& store) const;
  /** From now on stores of added files know of each other's chunks. */
  void settle() { shares_.settle(); }
  Shares& shares() { return shares_; }
  FilePtr byName(const std::string& name) const;
  FilePtr byNode(uint64_t node) const;
  /** Ascending by node id. */
  std::vector<FilePtr> all() const;

 private:
  std::shared_ptr<Store> storeFor(const std::string& directory, const std::shared_ptr<const Table>& table);

  bool isInUse(const std::shared_ptr<Store>& store) const;

  Spare& spare_;
  Counters& counters_;
  Shares shares_;
  mutable std::shared_mutex mutex_;
  std::map<uint64_t, FilePtr> files_;
};
