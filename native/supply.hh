// What arrives from control: inflated, checked chunk by chunk, stored, and handed to the reads that wait for it.
// Nothing is kept of a chunk whose digest disagrees.
#pragma once

#include "frames.hh"
#include "waits.hh"

struct SupplyResult {
  int error = 0;  // 0, or EBADMSG / EINVAL / ENOENT
  uint32_t first = 0;
  uint32_t count = 0;
  std::string text;
};

/** `body` is that of a SUPPLY frame. Never throws for what the frame says; a broken one is a result too. */
SupplyResult acceptSupply(std::span<const uint8_t> body, const Registry& registry, Waits& waits, std::string& name);
