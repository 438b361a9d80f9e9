// libdeflate where it is present (3–4 times faster), zlib when it is not or when the member is longer than what is needed.
#include "inflate.hh"

#include <zlib.h>

#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif

namespace {

// A chunk's member commonly goes on with padding and the headers of the next entries.
constexpr size_t kSlack = 64 * 1024;
constexpr int kGzipWindow = 15 + 16;  // zlib: largest window, gzip wrapper

#ifdef HAVE_LIBDEFLATE
struct Decompressor {
  libdeflate_decompressor* handle = libdeflate_alloc_decompressor();
  ~Decompressor() { libdeflate_free_decompressor(handle); }
};

bool inflateWhole(std::span<const uint8_t> input, std::vector<uint8_t>& output, size_t needed) {
  thread_local Decompressor own;
  if (own.handle == nullptr) return false;
  size_t used = 0;
  size_t produced = 0;
  const auto result = libdeflate_gzip_decompress_ex(own.handle, input.data(), input.size(), output.data(), output.size(), &used, &produced);
  return result == LIBDEFLATE_SUCCESS && produced >= needed;
}
#endif

bool inflatePart(std::span<const uint8_t> input, std::vector<uint8_t>& output, size_t needed) {
  z_stream stream{};
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) return false;
  stream.next_in = const_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = output.data();
  stream.avail_out = static_cast<uInt>(needed);
  int result = Z_OK;
  while (stream.avail_out > 0 && result == Z_OK) {
    result = inflate(&stream, Z_NO_FLUSH);
    if (result == Z_STREAM_END && stream.avail_in > 0 && stream.avail_out > 0) result = inflateReset(&stream);
  }
  inflateEnd(&stream);
  return stream.avail_out == 0;
}

}  // namespace

std::vector<uint8_t> inflateGzip(std::span<const uint8_t> input, size_t needed) {
  std::vector<uint8_t> output(needed + kSlack);
#ifdef HAVE_LIBDEFLATE
  const bool whole = inflateWhole(input, output, needed);
#else
  const bool whole = false;
#endif
  if (!whole && !inflatePart(input, output, needed)) return {};
  output.resize(needed);
  return output;
}
