// Requests read from /dev/fuse and not yet answered, in memory that outlives the worker: the guardian keeps the memfd, each worker
// maps it. The kernel itself writes a request into its slot, so there is no moment at which only the dead worker knew of it.
// On kernels that cannot resend (before 6.9) the next worker answers what it finds here.
#pragma once

#include "support.hh"

#include <atomic>
#include <condition_variable>
#include <mutex>

constexpr uint32_t kSlotCount = 16384;  // 8 MiB; all but a few may be READs that wait, of a page each: 62 MiB of them (fuse_mount.cc)
constexpr size_t kSlotBytes = 512;      // a READ has 80 bytes, a LOOKUP 40 and a name; what is longer is refused whatever it says
constexpr size_t kInterruptsKept = 1000;

struct alignas(8) Slot {
  uint8_t bytes[kSlotBytes];  // a fuse_in_header, whose first word, its length, is 0 while there is nothing to answer
};

class Slots {
 public:
  /** Of the guardian: memory for all slots, taken now and never to shrink. */
  static Fd make();
  /** Maps it. Failure when it is not what `make` made. */
  explicit Slots(int memfd);
  ~Slots();
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  /** What a dead worker left, oldest first, each one's slot still taken; its INTERRUPTs are noted. Once, before the first take. */
  std::vector<Slot*> unanswered();
  /** Forgets all of that instead: the kernel resends it. */
  void clear();

  /** An empty slot whose page is present, so that the kernel's copy into it cannot fail; waits while all are taken. */
  Slot& take();
  /** After the answer to `unique` was written. Nothing, when the slot holds another request by now. */
  void release(Slot& slot, uint64_t unique);
  /** Of one into which nothing was read. */
  void giveBack(Slot& slot);

  /** From now on every worker knows. */
  void noteInterrupt(uint64_t unique);
  bool wasInterrupted(uint64_t unique) const;

 private:
  struct Shared {
    std::atomic<uint32_t> used;            // no slot from here on was ever taken
    std::atomic<uint32_t> interruptCount;
    std::atomic<uint64_t> interrupted[kInterruptsKept];
  };

  Shared* shared_ = nullptr;
  Slot* slots_ = nullptr;
  std::mutex mutex_;
  std::condition_variable released_;
  std::vector<uint32_t> free_;  // the lowest number last: few pages are ever touched
};
