// The little that unit tests share: counted checks, the errno of a Failure, repeatable bytes.
#pragma once

#include "../support.hh"

/** Counts a check and prints the claim when it does not hold. */
void check(bool holds, const std::string& claim);

std::vector<uint8_t> pattern(size_t size, uint32_t seed);

/** A sealed table of these chunks, each at the next multiple of 4096. */
Fd tableOf(const std::vector<std::vector<uint8_t>>& chunks);

/** 0 when the action ends well. */
template <typename Action>
int errorOf(Action action) {
  try {
    action();
    return 0;
  } catch (const Failure& failure) {
    return failure.error;
  }
}

void testParsers();
void testSlots();
void testStores();
void testShares();
