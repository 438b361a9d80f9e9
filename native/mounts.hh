// Mount and unmount through the system calls, never through mount(8): it would loop a regular file unasked.
// Every function throws a Failure and then has left nothing behind.
#pragma once

#include <optional>
#include <string>
#include <vector>

struct LoopMount {
  std::string device;
  bool directIo = false;
};

struct TreeResult {
  std::vector<std::string> unmounted;
  std::vector<std::string> lazy;
};

/** File-backed or block-backed EROFS. Returns the readahead in KiB that is in force, when it could be set. */
std::optional<unsigned> mountErofs(const std::string& meta, const std::string& directory, const std::string& device,
                                   std::optional<unsigned> readAheadKb);

/** A read-only, self-clearing loop device of 4096-byte blocks on `file`, and EROFS on that. */
LoopMount mountLoop(const std::string& file, const std::string& directory, std::optional<unsigned> readAheadKb);

void mountOverlay(const std::string& directory, const std::string& options);
void mountRamfs(const std::string& directory);
void unmount(const std::string& directory, bool lazy);

/** Unmounts all below `directory`, newest first; what stays busy for `patienceMs` is detached. */
TreeResult unmountTree(const std::string& directory, int64_t patienceMs = 2000);

/** Ends the FUSE connection mounted at `directory`: all who wait on it get an error. */
void abortConnection(const std::string& directory);
