// What the fuzzers feed: the worker's parts without a kernel and without a guardian, one file of three chunks, all as nobody.
#pragma once

#include "../control.hh"

struct FuzzRig {
  Counters counters;
  Fd memory = Slots::make();
  Slots slots{memory.get()};
  Spare spare;
  Registry registry{spare, counters};
  std::unique_ptr<Waits> waits;
  std::unique_ptr<Session> session;
  std::unique_ptr<Control> control;
  Fd listener;
  std::string socketPath;
};

/** Made at first use. */
FuzzRig& fuzzRig();

void fuzzRequests(std::span<const uint8_t> input);
void fuzzFrames(std::span<const uint8_t> input);
void fuzzLink(std::span<const uint8_t> input);
void fuzzGzip(std::span<const uint8_t> input);
