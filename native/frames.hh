// Bytes of the control protocol and of the guardian's messages: a bounds-checked reader, a writer, the frame types.
// The reader throws a Failure(EPROTO) on anything cut or oversized; it never trusts a length.
#pragma once

#include "support.hh"

#include <cerrno>
#include <cstring>
#include <span>

constexpr uint32_t kProtocolVersion = 1;
constexpr size_t kFrameMax = 24 * 1024 * 1024;  // docs/PROTOCOL.md, after the length field
constexpr size_t kFrameHead = 8;                // type, zeros, id

enum class FrameType : uint8_t {
  kHello = 1, kAddFile, kRemoveFile, kList, kNames, kResult, kFetch, kSupply, kFail, kRejected, kStatus, kStatusIs, kSettings,
  kStop, kNeed, kAddPart, kEvict, kUsed, kUsedIs
};

class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  template <typename Number>
  Number number() {
    Number value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  std::string string() {
    const auto bytes = take(number<uint16_t>());
    return std::string(bytes.begin(), bytes.end());
  }

  std::span<const uint8_t> take(size_t count) {
    if (count > bytes_.size()) throw Failure(EPROTO, "a frame is cut short");
    const auto part = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return part;
  }

  std::span<const uint8_t> rest() { return take(bytes_.size()); }

  void end() const {
    if (!bytes_.empty()) throw Failure(EPROTO, "a frame has bytes left over");
  }

 private:
  std::span<const uint8_t> bytes_;
};

class ByteWriter {
 public:
  template <typename Number>
  ByteWriter& number(Number value) {
    const auto* raw = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof value);
    return *this;
  }

  ByteWriter& string(std::string_view text) {
    const std::string_view cut = text.substr(0, 0xffff);
    number(static_cast<uint16_t>(cut.size()));
    bytes_.insert(bytes_.end(), cut.begin(), cut.end());
    return *this;
  }

  ByteWriter& text(std::string_view text) {
    bytes_.insert(bytes_.end(), text.begin(), text.end());
    return *this;
  }

  std::vector<uint8_t> finish() { return std::move(bytes_); }

 private:
  std::vector<uint8_t> bytes_;
};

/** A frame whose length field is filled in by `finishFrame`. */
inline ByteWriter beginFrame(FrameType type, uint32_t id) {
  ByteWriter writer;
  writer.number<uint32_t>(0).number(static_cast<uint8_t>(type)).number<uint8_t>(0).number<uint16_t>(0).number(id);
  return writer;
}

inline std::vector<uint8_t> finishFrame(ByteWriter& writer) {
  std::vector<uint8_t> bytes = writer.finish();
  const auto length = static_cast<uint32_t>(bytes.size() - sizeof(uint32_t));
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes;
}
