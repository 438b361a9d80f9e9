// SHA-256 through OpenSSL: one shot and streaming, one context per thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

using Sha256 = std::array<uint8_t, 32>;

Sha256 sha256(const uint8_t* bytes, size_t length);

class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;

  void update(const uint8_t* bytes, size_t length);
  Sha256 finish();

 private:
  void* context_;
};
