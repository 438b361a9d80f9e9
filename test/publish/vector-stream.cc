// The content of unixfs-vectors.json on stdout, for sizes that JavaScript needs a minute for: vector-stream BYTES.
#include <openssl/sha.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

int main (int argc, char** argv) {
  if (argc != 2) return 2;
  unsigned long long left = std::strtoull(argv[1], nullptr, 10);
  std::vector<unsigned char> piece(1 << 20);
  unsigned long long block = 0;
  while (left > 0) {
    for (std::size_t at = 0; at < piece.size(); at += SHA256_DIGEST_LENGTH) {
      const std::string text = "unixfs-vector:" + std::to_string(block++);
      SHA256_CTX context; // the one-shot call looks its algorithm up each time, at ten times the price
      SHA256_Init(&context);
      SHA256_Update(&context, text.data(), text.size());
      SHA256_Final(&piece[at], &context);
    }
    const std::size_t size = left < piece.size() ? static_cast<std::size_t>(left) : piece.size();
    if (std::fwrite(piece.data(), 1, size, stdout) != size) return 1;
    left -= size;
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}
