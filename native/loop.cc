// A loop device under EROFS, for kernels that cannot mount EROFS from a file (before 6.12).
#include "mounts.hh"

#include "support.hh"

#include <cerrno>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace {

constexpr int kAttempts = 64;  // others take free devices between our two calls
constexpr unsigned kBlockSize = 4096;
constexpr unsigned kLoopMajor = 7;

Fd openLoopDevice(const std::string& path, int number) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT && ::mknod(path.c_str(), S_IFBLK | 0600, makedev(kLoopMajor, static_cast<unsigned>(number))) == 0) {
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  }
  if (fd < 0) failErrno("cannot open " + path);
  return Fd(fd);
}

int configure(int device, int file, unsigned flags) {
  loop_config config{};
  config.fd = static_cast<unsigned>(file);
  config.block_size = kBlockSize;
  config.info.lo_flags = flags;
  return ::ioctl(device, LOOP_CONFIGURE, &config) == 0 ? 0 : errno;
}

// Not every file takes direct I/O; a loop device without it only costs memory.
int configureBestEffort(int device, int file) {
  const unsigned flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
  const int error = configure(device, file, flags | LO_FLAGS_DIRECT_IO);
  return error == EINVAL ? configure(device, file, flags) : error;
}

struct Attached {
  Fd device;
  std::string path;
  std::string name;
};

Attached attach(const std::string& path) {
  const Fd file = openFile(path, O_RDONLY);
  const Fd control = openFile("/dev/loop-control", O_RDWR);
  for (int attempt = 0; attempt < kAttempts; attempt++) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) failErrno("no free loop device for " + path);
    const std::string name = "loop" + std::to_string(number);
    Fd device = openLoopDevice("/dev/" + name, number);
    const int error = configureBestEffort(device.get(), file.get());
    if (error == 0) return {std::move(device), "/dev/" + name, name};
    if (error != EBUSY) throw Failure(error, "cannot attach " + path + " to /dev/" + name);
  }
  throw Failure(EBUSY, "no loop device stayed free for " + path);
}

}  // namespace

LoopMount mountLoop(const std::string& file, const std::string& directory, std::optional<unsigned> readAheadKb) {
  const Attached loop = attach(absolutePath(file));
  const std::string sys = "/sys/block/" + loop.name;
  if (readAheadKb) writeText(sys + "/queue/read_ahead_kb", std::to_string(*readAheadKb));
  mountErofs(loop.path, directory, "", std::nullopt);
  return {loop.path, readText(sys + "/loop/dio").rfind("1", 0) == 0};
}
