// Fetching the algorithm once matters: the one-shot SHA256() looks it up on every call, which costs more than hashing 4 KiB.
#include "hash.hh"

#include "support.hh"

#include <cerrno>
#include <openssl/evp.h>

namespace {

const EVP_MD* algorithm() {
  static EVP_MD* const fetched = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return fetched;
}

EVP_MD_CTX* begin(EVP_MD_CTX* context) {
  if (context == nullptr || EVP_DigestInit_ex2(context, algorithm(), nullptr) != 1) throw Failure(ENOSYS, "OpenSSL offers no SHA-256");
  return context;
}

struct ThreadContext {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~ThreadContext() { EVP_MD_CTX_free(context); }
};

Sha256 finishInto(EVP_MD_CTX* context) {
  Sha256 digest;
  if (EVP_DigestFinal_ex(context, digest.data(), nullptr) != 1) throw Failure(EIO, "OpenSSL cannot finish a SHA-256");
  return digest;
}

}  // namespace

Sha256 sha256(const uint8_t* bytes, size_t length) {
  thread_local ThreadContext own;
  EVP_MD_CTX* context = begin(own.context);
  EVP_DigestUpdate(context, bytes, length);
  return finishInto(context);
}

Sha256Stream::Sha256Stream() : context_(begin(EVP_MD_CTX_new())) {}

Sha256Stream::~Sha256Stream() {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_));
}

void Sha256Stream::update(const uint8_t* bytes, size_t length) {
  EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes, length);
}

Sha256 Sha256Stream::finish() {
  return finishInto(static_cast<EVP_MD_CTX*>(context_));
}
