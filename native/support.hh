// What every job needs: an owned file descriptor, the one exception type, paths, small text helpers.
// A Failure carries a positive errno and a sentence; main() prints it as `ENAME: sentence`.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

struct Failure : std::runtime_error {
  int error;
  Failure(int error, const std::string& what) : std::runtime_error(what), error(error) {}
};

/** Throws a Failure with the current errno. */
[[noreturn]] void failErrno(const std::string& what);

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release();
  void reset();

 private:
  int fd_ = -1;
};

/** open(2) with O_CLOEXEC; throws a Failure that names the path. */
Fd openFile(const std::string& path, int flags, unsigned mode = 0);

/** Whole text of a small file (procfs, sysfs); empty when it cannot be read. */
std::string readText(const std::string& path);
bool writeText(const std::string& path, std::string_view text);

/** Name such as "EIO" of an errno number. */
std::string errnoName(int error);
std::string jsonString(std::string_view text);
std::string jsonList(const std::vector<std::string>& items);

/** Absolute path without symlinks when it exists, else the lexical absolute path. */
std::string absolutePath(const std::string& path);
void makeDirectories(const std::string& path, unsigned mode);

/** Monotonic clock. */
int64_t nowMs();
int64_t nowUs();
void sleepMs(int64_t ms);
