// read-ways WAY FILE OFFSET LENGTH: reads a range in one of the ways that programs have, writes the bytes to stdout; on failure
// prints the errno's name on stderr and exits 1. Ways: read, odd, mmap, splice, sendfile, direct, unaligned.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>
#include <vector>

namespace {

[[noreturn]] void fail() {
  const std::string name = ::strerrorname_np(errno);
  if (::write(STDERR_FILENO, name.data(), name.size()) < 0) ::_exit(2);
  ::_exit(1);
}

void put(const char* bytes, size_t length) {
  while (length > 0) {
    const ssize_t count = ::write(STDOUT_FILENO, bytes, length);
    if (count < 0) fail();
    bytes += count;
    length -= static_cast<size_t>(count);
  }
}

void readAll(int fd, off_t offset, size_t length, size_t step, size_t alignment) {
  void* buffer = nullptr;
  if (::posix_memalign(&buffer, 4096, step + alignment) != 0) fail();
  char* bytes = static_cast<char*>(buffer) + alignment;
  for (size_t done = 0; done < length;) {
    const ssize_t count = ::pread(fd, bytes, std::min(step, length - done), offset + static_cast<off_t>(done));
    if (count < 0) fail();
    if (count == 0) return;
    put(bytes, static_cast<size_t>(count));
    done += static_cast<size_t>(count);
  }
}

void readMapped(int fd, off_t offset, size_t length) {
  const off_t start = offset / 4096 * 4096;
  const size_t size = length + static_cast<size_t>(offset - start);
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, start);
  if (mapped == MAP_FAILED) fail();
  const std::vector<char> copy(static_cast<char*>(mapped) + (offset - start), static_cast<char*>(mapped) + size);
  put(copy.data(), copy.size());
}

void readSpliced(int fd, off_t offset, size_t length) {
  int pipe[2];
  if (::pipe(pipe) != 0) fail();
  std::vector<char> bytes(65536);
  while (length > 0) {
    const ssize_t moved = ::splice(fd, &offset, pipe[1], nullptr, std::min(length, bytes.size()), 0);
    if (moved < 0) fail();
    if (moved == 0) return;
    length -= static_cast<size_t>(moved);
    for (ssize_t left = moved; left > 0;) {
      const ssize_t count = ::read(pipe[0], bytes.data(), static_cast<size_t>(left));
      if (count <= 0) fail();
      put(bytes.data(), static_cast<size_t>(count));
      left -= count;
    }
  }
}

void readSent(int fd, off_t offset, size_t length) {
  while (length > 0) {
    const ssize_t moved = ::sendfile(STDOUT_FILENO, fd, &offset, length);
    if (moved < 0) fail();
    if (moved == 0) return;
    length -= static_cast<size_t>(moved);
  }
}

}  // namespace

int main(int count, char** values) {
  if (count != 5) return 2;
  const std::string way = values[1];
  const bool direct = way == "direct" || way == "unaligned";
  const int fd = ::open(values[2], O_RDONLY | (direct ? O_DIRECT : 0));
  if (fd < 0) fail();
  const off_t offset = std::atoll(values[3]);
  const auto length = static_cast<size_t>(std::atoll(values[4]));
  if (way == "read") readAll(fd, offset, length, 1024 * 1024, 0);
  else if (way == "odd") readAll(fd, offset, length, 7919, 1);
  else if (way == "mmap") readMapped(fd, offset, length);
  else if (way == "splice") readSpliced(fd, offset, length);
  else if (way == "sendfile") readSent(fd, offset, length);
  else if (way == "direct") readAll(fd, offset, length, 128 * 1024, 0);
  else if (way == "unaligned") readAll(fd, offset, length, 5000, 1);
  else return 2;
  return 0;
}
