// Who waits for which chunk, and what control was asked for. Reads and NEEDs are parked here until their chunks arrive,
// fail, expire or are interrupted; each missing chunk is asked for once, in coalesced runs, and again after a reconnect.
// finish() runs exactly once per park, outside the lock: 0 = all chunks arrived, else the errno to answer.
#pragma once

#include "registry.hh"

#include <deque>
#include <functional>

struct Run {
  uint32_t first;
  uint32_t count;
};

/** Adjacent numbers of an ascending list, joined. */
std::vector<Run> coalesce(const std::vector<uint32_t>& chunks);

class Fetcher {
 public:
  virtual ~Fetcher() = default;
  /** `needId` is 0 when a read waits. Lost when nobody is connected: Waits::askAgain follows on connection. */
  virtual void fetch(const std::string& file, const std::vector<Run>& runs, uint32_t needId) = 0;
};

struct Waiter {
  FilePtr file;
  std::function<void(int)> finish;
  uint64_t unique = 0;      // of a FUSE READ
  int64_t deadline = 0;     // milliseconds of nowMs(); 0 = none
  int64_t since = 0;        // milliseconds of nowMs(), set by park()
  uint32_t needId = 0;      // of a NEED; 0 for a read
  uint64_t connection = 0;  // that sent the NEED
  std::vector<uint32_t> chunks;
  size_t outstanding = 0;
};

using WaiterPtr = std::shared_ptr<Waiter>;

class Waits {
 public:
  Waits(Fetcher& fetcher, Counters& counters) : fetcher_(fetcher), counters_(counters) {}

  /** False when all of `missing` arrived meanwhile, or true after finish(EINTR/EIO) too: then nothing is parked. */
  bool park(const WaiterPtr& waiter, const std::vector<uint32_t>& missing);
  void arrived(const Store& store, uint32_t chunk);
  void failed(const Store& store, uint32_t first, uint32_t count, int error);
  void failFile(const FilePtr& file, int error);
  void interrupt(uint64_t unique);
  void expire(int64_t now);
  void dropNeeds(uint64_t connection);
  /** Sends FETCH for everything that is waited for: a new connection knows nothing. */
  void askAgain();
  /** Who waits, the longest first, at most `most`; `chunks` holds only what had not arrived yet when it began to wait. */
  std::vector<WaiterPtr> waiting(size_t most);
  /** From now on every wait ends with EIO at once. */
  void drain();

 private:
  struct ChunkWait {
    std::vector<WaiterPtr> waiters;
    FilePtr askedFor;      // under whose name FETCH was sent; null = not yet
    bool forRead = false;  // asked by a read: control fetches those first
  };
  using StoreWaits = std::map<uint32_t, ChunkWait>;

  void ask(const WaiterPtr& waiter, StoreWaits& waits);
  void unlink(const WaiterPtr& waiter);
  void finishAll(const std::vector<WaiterPtr>& waiters, int error);
  std::vector<WaiterPtr> take(const std::function<bool(const Waiter&)>& matches);

  Fetcher& fetcher_;
  Counters& counters_;
  std::mutex mutex_;
  std::map<const Store*, StoreWaits> waits_;
  std::map<const Waiter*, WaiterPtr> parked_;
  std::deque<uint64_t> interruptedEarly_;  // an INTERRUPT may overtake the parking of its READ
  bool draining_ = false;
};
