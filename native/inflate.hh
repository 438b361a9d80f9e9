// gzip to bytes with a hard end: never more output than asked for, whatever the input says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

/** The first `needed` inflated bytes of a gzip member (or of members that follow one another); empty when it yields fewer or is damaged. */
std::vector<uint8_t> inflateGzip(std::span<const uint8_t> input, size_t needed);
