// Implementation of slots.hh. A slot is empty, being read into, or holds a request; its first word tells the last from the others.
#include "slots.hh"

#include "fuse_wire.hh"
#include "log.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace {

constexpr size_t kSharedBytes = 8192;
constexpr size_t kTotalBytes = kSharedBytes + kSlotCount * kSlotBytes;
constexpr uint32_t kLengthMax = 1024 * 1024;  // no request is longer: max_write is 4 KiB

static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);
static_assert(offsetof(fuse_in_header, len) == 0);

std::atomic_ref<uint32_t> lengthOf(Slot& slot) {
  return std::atomic_ref(*reinterpret_cast<uint32_t*>(slot.bytes));
}

fuse_in_header headerOf(const Slot& slot) {
  fuse_in_header header;
  std::memcpy(&header, slot.bytes, sizeof header);
  return header;
}

}  // namespace

Fd Slots::make() {
  Fd memfd(::memfd_create("ipfs-snapshotter-requests", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memfd) failErrno("cannot make memory for requests");
  // Taken now: a page that is missing later would be a lost request, or SIGBUS.
  if (::fallocate(memfd.get(), 0, 0, kTotalBytes) != 0) failErrno("cannot take memory for requests");
  if (::fcntl(memfd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) != 0) failErrno("cannot seal memory for requests");
  return memfd;
}

Slots::Slots(int memfd) {
  static_assert(sizeof(Shared) <= kSharedBytes);
  struct stat info{};
  if (::fstat(memfd, &info) != 0) failErrno("cannot stat the memory for requests");
  if (info.st_size != static_cast<off_t>(kTotalBytes)) throw Failure(EINVAL, "the memory for requests has another size");
  void* mapped = ::mmap(nullptr, kTotalBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
  if (mapped == MAP_FAILED) failErrno("cannot map the memory for requests");
  shared_ = static_cast<Shared*>(mapped);
  slots_ = reinterpret_cast<Slot*>(static_cast<uint8_t*>(mapped) + kSharedBytes);
  for (uint32_t index = kSlotCount; index > 0; index--) free_.push_back(index - 1);
}

Slots::~Slots() {
  ::munmap(shared_, kTotalBytes);
}

std::vector<Slot*> Slots::unanswered() {
  std::vector<Slot*> found;
  const uint32_t used = std::min(shared_->used.load(), kSlotCount);
  for (uint32_t index = 0; index < used; index++) {
    Slot& slot = slots_[index];
    const fuse_in_header header = headerOf(slot);
    if (header.len == 0) continue;
    const bool noAnswer = header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET || header.opcode == FUSE_INTERRUPT;
    const bool possible = header.len >= sizeof header && header.len <= kLengthMax;
    if (possible && !noAnswer) {
      found.push_back(&slot);
      continue;
    }
    if (!possible) logEvent("a slot holds no request", {{"length", std::to_string(header.len)}});
    fuse_interrupt_in interrupt;
    std::memcpy(&interrupt, slot.bytes + sizeof header, sizeof interrupt);
    if (possible && header.opcode == FUSE_INTERRUPT) noteInterrupt(interrupt.unique);
    lengthOf(slot) = 0;
  }
  std::erase_if(free_, [&](uint32_t index) { return index < used && headerOf(slots_[index]).len != 0; });
  std::sort(found.begin(), found.end(), [](const Slot* a, const Slot* b) { return headerOf(*a).unique < headerOf(*b).unique; });
  return found;
}

void Slots::clear() {
  const uint32_t used = std::min(shared_->used.load(), kSlotCount);
  for (uint32_t index = 0; index < used; index++) lengthOf(slots_[index]) = 0;
  for (auto& unique : shared_->interrupted) unique = 0;
}

Slot& Slots::take() {
  std::unique_lock lock(mutex_);
  released_.wait(lock, [this] { return !free_.empty(); });
  const uint32_t index = free_.back();
  free_.pop_back();
  if (index >= shared_->used) shared_->used = index + 1;
  lengthOf(slots_[index]) = 0;
  return slots_[index];
}

// `unique` never comes twice: a caller that answers what somebody else has answered already changes nothing.
void Slots::release(Slot& slot, uint64_t unique) {
  {
    const std::lock_guard lock(mutex_);
    if (lengthOf(slot) == 0 || headerOf(slot).unique != unique) return;
    lengthOf(slot) = 0;
  }
  giveBack(slot);
}

void Slots::giveBack(Slot& slot) {
  bool wasEmpty = false;
  {
    const std::lock_guard lock(mutex_);
    wasEmpty = free_.empty();
    free_.push_back(static_cast<uint32_t>(&slot - slots_));
  }
  if (wasEmpty) released_.notify_all();
}

void Slots::noteInterrupt(uint64_t unique) {
  shared_->interrupted[shared_->interruptCount++ % kInterruptsKept] = unique;
}

bool Slots::wasInterrupted(uint64_t unique) const {
  return std::any_of(std::begin(shared_->interrupted), std::end(shared_->interrupted), [&](const auto& known) { return known == unique; });
}
