// Request slots: what a worker that died at each step leaves for the next one, and what happens when all are taken.
#include "../fuse_wire.hh"
#include "../slots.hh"
#include "unit.hh"

#include <cstring>
#include <set>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace {

void put(Slot& slot, uint32_t opcode, uint64_t unique, uint64_t target = 0) {
  fuse_in_header header{};
  header.len = sizeof header + sizeof(fuse_read_in);
  header.opcode = opcode;
  header.unique = unique;
  const fuse_interrupt_in interrupt{target};
  std::memcpy(slot.bytes + sizeof header, &interrupt, sizeof interrupt);
  std::memcpy(slot.bytes, &header, sizeof header);
}

uint64_t uniqueOf(const Slot* slot) {
  fuse_in_header header;
  std::memcpy(&header, slot->bytes, sizeof header);
  return header.unique;
}

void testDeaths() {
  const Fd memory = Slots::make();
  {
    Slots slots(memory.get());
    check(slots.unanswered().empty(), "fresh memory holds nothing");
    Slot& answered = slots.take();
    put(answered, FUSE_READ, 4);
    slots.release(answered, 4);
    Slot& late = slots.take();
    put(late, FUSE_READ, 9);
    Slot& early = slots.take();
    put(early, FUSE_LOOKUP, 6);
    slots.take();  // nothing was read into it
    put(slots.take(), FUSE_FORGET, 10);
    put(slots.take(), FUSE_INTERRUPT, 12, 9);
    Slot& torn = slots.take();
    put(torn, FUSE_READ, 14);
    const uint32_t length = 7;
    std::memcpy(torn.bytes, &length, sizeof length);
    slots.noteInterrupt(6);
  }
  for (int round = 0; round < 2; round++) {  // the second one stands for a worker killed while it recovered
    Slots next(memory.get());
    const auto found = next.unanswered();
    check(found.size() == 2 && uniqueOf(found[0]) == 6 && uniqueOf(found[1]) == 9, "unanswered requests are found, oldest first");
    check(next.wasInterrupted(9) && next.wasInterrupted(6) && !next.wasInterrupted(4), "and who was interrupted");
  }
  Slots last(memory.get());
  const auto found = last.unanswered();
  std::set<Slot*> taken(found.begin(), found.end());
  for (size_t index = found.size(); index < kSlotCount; index++) taken.insert(&last.take());
  check(taken.size() == kSlotCount, "all others can be taken, none of them twice");
  last.release(*found[0], 7);
  std::thread waiter([&] { check(&last.take() == found[0], "a taker waits for the next free slot"); });
  last.release(*found[0], 6);
  waiter.join();
  last.release(*found[0], 6);
  last.release(*found[1], 9);
  last.release(*found[1], 9);
  check(&last.take() == found[1], "a released slot is free once");
}

void testClearing() {
  const Fd memory = Slots::make();
  {
    Slots slots(memory.get());
    put(slots.take(), FUSE_READ, 4);
    slots.noteInterrupt(4);
  }
  Slots(memory.get()).clear();
  Slots next(memory.get());
  check(next.unanswered().empty() && !next.wasInterrupted(4), "what the kernel resends is forgotten");
  Slot& slot = next.take();
  next.giveBack(slot);
  check(&next.take() == &slot, "a slot into which nothing was read goes back");
  for (uint64_t unique = 1; unique <= 5 * kInterruptsKept; unique++) next.noteInterrupt(unique);
  check(next.wasInterrupted(5 * kInterruptsKept) && !next.wasInterrupted(1), "the last interrupts are kept");
  check(errorOf([] { Slots(Fd(::memfd_create("short", MFD_CLOEXEC)).get()); }) == EINVAL, "memory of another size is refused");
}

}  // namespace

void testSlots() {
  testDeaths();
  testClearing();
}
