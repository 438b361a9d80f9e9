// measure WORKLOAD …: one workload on one mount, timed from inside, one JSON line. Paths of files come from a list (one a line, below DIR).
//   walk DIR                 readdir and fstatat of everything         {items, usPerItem}
//   small DIR LIST           open, read, close of each listed file     {items, usPerItem, bytes}
//   seq FILE                 read(2) of 1 MiB at a time                {bytes, mbPerSecond}
//   random FILE COUNT SEED   pread(2) of 4 KiB, each page once         {items, p50, p99, p999, max} in us
//   fault FILE COUNT SEED    first touch of a mapped page, each once   {items, p50, p99, p999, max} in us
// and two that measure nothing:
//   remember FILE…           reads each file, so that its pages are cached
//   forget PATH…             has the kernel drop the pages of each file, below directories too
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <fstream>
#include <numeric>
#include <random>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr size_t kPage = 4096;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "measure: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

double nowUs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

int openOrFail(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) fail(path);
  return fd;
}

// Calls `visit` with each entry's directory fd, name and status.
template <typename Visit>
void walkTree(int parent, const char* name, const Visit& visit) {
  const int fd = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) fail(name);
  DIR* directory = ::fdopendir(fd);
  while (const dirent* entry = ::readdir(directory)) {
    if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    struct stat info{};
    if (::fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) fail(entry->d_name);
    visit(fd, entry->d_name, info);
    if (S_ISDIR(info.st_mode)) walkTree(fd, entry->d_name, visit);
  }
  ::closedir(directory);
}

void walk(const std::string& directory) {
  uint64_t items = 0;
  const double began = nowUs();
  walkTree(AT_FDCWD, directory.c_str(), [&](int, const char*, const struct stat&) { items++; });
  std::printf("{\"items\":%lu,\"usPerItem\":%.3f}\n", items, (nowUs() - began) / static_cast<double>(items));
}

void small(const std::string& directory, const std::string& list) {
  std::vector<std::string> paths;
  std::ifstream lines(list);
  for (std::string line; std::getline(lines, line);) paths.push_back(directory + "/" + line);
  std::vector<char> buffer(64 * 1024);
  uint64_t bytes = 0;
  const double began = nowUs();
  for (const auto& path : paths) {
    const int fd = openOrFail(path);
    ssize_t count = 0;
    while ((count = ::read(fd, buffer.data(), buffer.size())) > 0) bytes += static_cast<uint64_t>(count);
    if (count < 0) fail(path);
    ::close(fd);
  }
  const double took = nowUs() - began;
  std::printf("{\"items\":%zu,\"usPerItem\":%.3f,\"bytes\":%lu}\n", paths.size(), took / static_cast<double>(paths.size()), bytes);
}

void sequential(const std::string& path) {
  std::vector<char> buffer(1 << 20);
  std::memset(buffer.data(), 1, buffer.size());
  uint64_t bytes = 0;
  const double began = nowUs();
  const int fd = openOrFail(path);
  ssize_t count = 0;
  while ((count = ::read(fd, buffer.data(), buffer.size())) > 0) bytes += static_cast<uint64_t>(count);
  if (count < 0) fail(path);
  std::printf("{\"bytes\":%lu,\"mbPerSecond\":%.1f}\n", bytes, static_cast<double>(bytes) / (nowUs() - began));
}

// The first `count` of all page numbers in an order that the seed decides.
std::vector<uint64_t> somePages(uint64_t fileSize, size_t count, unsigned seed) {
  std::vector<uint64_t> pages(fileSize / kPage);
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), std::mt19937(seed));
  pages.resize(std::min(count, pages.size()));
  return pages;
}

void printLatencies(std::vector<double> times) {
  if (times.empty()) fail("no pages");
  std::sort(times.begin(), times.end());
  const auto at = [&](double share) { return times[static_cast<size_t>(share * static_cast<double>(times.size() - 1))]; };
  std::printf("{\"items\":%zu,\"p50\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f}\n", times.size(), at(0.5), at(0.99), at(0.999), times.back());
}

void random(const std::string& path, size_t count, unsigned seed) {
  const int fd = openOrFail(path);
  struct stat info{};
  if (::fstat(fd, &info) != 0) fail(path);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  std::vector<double> times;
  alignas(kPage) char buffer[kPage];
  for (const uint64_t page : somePages(static_cast<uint64_t>(info.st_size), count, seed)) {
    const double began = nowUs();
    if (::pread(fd, buffer, kPage, static_cast<off_t>(page * kPage)) != static_cast<ssize_t>(kPage)) fail(path);
    times.push_back(nowUs() - began);
  }
  printLatencies(std::move(times));
}

void fault(const std::string& path, size_t count, unsigned seed) {
  const int fd = openOrFail(path);
  struct stat info{};
  if (::fstat(fd, &info) != 0) fail(path);
  const auto size = static_cast<size_t>(info.st_size);
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (mapped == MAP_FAILED) fail(path);
  const auto* bytes = static_cast<const volatile char*>(mapped);
  std::vector<double> times;
  for (const uint64_t page : somePages(size, count, seed)) {
    const double began = nowUs();
    (void)bytes[page * kPage];
    times.push_back(nowUs() - began);
  }
  printLatencies(std::move(times));
}

void remember(const std::string& path) {
  std::vector<char> buffer(1 << 20);
  const int fd = openOrFail(path);
  while (::read(fd, buffer.data(), buffer.size()) > 0) {}
  ::close(fd);
}

void forgetFile(int parent, const char* name) {
  const int fd = ::openat(parent, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  ::fdatasync(fd);  // dirty pages stay
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

void forget(const std::string& path) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0) fail(path);
  if (S_ISREG(info.st_mode)) return forgetFile(AT_FDCWD, path.c_str());
  walkTree(AT_FDCWD, path.c_str(), [](int parent, const char* name, const struct stat& entry) {
    if (S_ISREG(entry.st_mode)) forgetFile(parent, name);
  });
}

}  // namespace

int main(int count, char** values) {
  const std::vector<std::string> words(values + 1, values + count);
  const auto is = [&](const char* name, size_t arguments) { return words.size() == arguments + 1 && words[0] == name; };
  if (is("walk", 1)) walk(words[1]);
  else if (is("small", 2)) small(words[1], words[2]);
  else if (is("seq", 1)) sequential(words[1]);
  else if (is("random", 3)) random(words[1], std::stoul(words[2]), static_cast<unsigned>(std::stoul(words[3])));
  else if (is("fault", 3)) fault(words[1], std::stoul(words[2]), static_cast<unsigned>(std::stoul(words[3])));
  else if (words.size() > 1 && words[0] == "forget") for (size_t at = 1; at < words.size(); at++) forget(words[at]);
  else if (words.size() > 1 && words[0] == "remember") for (size_t at = 1; at < words.size(); at++) remember(words[at]);
  else return std::fprintf(stderr, "measure walk|small|seq|random|fault|remember|forget …\n"), 2;
  return 0;
}
