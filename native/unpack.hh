// The pass over a gzipped tar for a control that reads its headers: inflates it, hashes blob, tar and file contents, and writes
// those where it is told. docs/PROTOCOL.md, *Unpacking*.
#pragma once

#include <cstddef>

constexpr size_t kUnpackChunkMax = 16 * 1024 * 1024;

struct UnpackOptions {
  size_t chunkBytes;  // of file contents that are hashed each
  bool zlib;          // and not ISA-L, if there is one
};

/** Answers the orders on descriptor 3 until they end. @throws Failure when control breaks off in the middle of one, or breaks the protocol. */
void unpack(const UnpackOptions& options);
