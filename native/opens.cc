// Implementation of opens.hh. One thread, one poll(2) over mountinfo, fanotify and stdin.
#include "opens.hh"

#include "mountinfo.hh"
#include "support.hh"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

constexpr int kLookMs = 20;  // mountinfo wakes poll(2); this is for a mount that came between two looks

// containerd's shims mount a container's root filesystem on BUNDLE/rootfs, and the bundle's folder is named after the container.
std::string rootfsOf(const std::string& container) {
  const std::string suffix = "/" + container + "/rootfs";
  for (const auto& entry : readMountInfo()) {
    const bool ends = entry.point.size() > suffix.size() && entry.point.compare(entry.point.size() - suffix.size(), suffix.size(), suffix) == 0;
    if (ends) return entry.point;
  }
  return "";
}

// Before runc pivots, the path begins with the rootfs folder; afterwards the rootfs is all there is.
std::string pathInContainer(int fd, const std::string& rootfs) {
  char target[PATH_MAX];
  const ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target);
  if (length <= 0 || length == sizeof target) return "";
  const std::string path(target, static_cast<size_t>(length));
  return isBelow(path, rootfs) ? path.substr(rootfs.size()) : path;
}

void print(int fd, const std::string& rootfs) {
  struct stat facts;
  if (::fstat(fd, &facts) < 0 || !S_ISREG(facts.st_mode) || facts.st_nlink == 0) return;
  const std::string path = pathInContainer(fd, rootfs);
  if (path.empty() || path.front() != '/' || path.find('\n') != std::string::npos) return;
  std::fwrite(path.data(), 1, path.size(), stdout);
  std::fputc('\n', stdout);
}

// False when nothing was waiting.
bool drain(int watch, const std::string& rootfs) {
  alignas(fanotify_event_metadata) char buffer[64 * 1024];
  ssize_t left = ::read(watch, buffer, sizeof buffer);
  if (left < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (left < 0) failErrno("cannot read fanotify events");
  bool lost = false;
  for (auto* event = reinterpret_cast<fanotify_event_metadata*>(buffer); FAN_EVENT_OK(event, left); event = FAN_EVENT_NEXT(event, left)) {
    lost = lost || (event->mask & FAN_Q_OVERFLOW) != 0;
    if (event->fd < 0) continue;
    const Fd file(event->fd);
    print(file.get(), rootfs);
  }
  std::fflush(stdout);
  if (lost) throw Failure(EOVERFLOW, "the kernel dropped events");
  return true;
}

Fd watchOf(const std::string& rootfs) {
  Fd watch(::fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE, O_RDONLY | O_CLOEXEC | O_LARGEFILE));
  if (!watch) failErrno("fanotify");
  if (::fanotify_mark(watch.get(), FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_OPEN, AT_FDCWD, rootfs.c_str()) < 0) failErrno("cannot watch " + rootfs);
  std::printf("watching %s\n", rootfs.c_str());
  std::fflush(stdout);
  return watch;
}

}  // namespace

std::string recordOpens(const std::string& container) {
  const Fd mounts = openFile("/proc/self/mountinfo", O_RDONLY);
  Fd watch;
  std::string rootfs;
  for (;;) {
    if (!watch && !(rootfs = rootfsOf(container)).empty()) watch = watchOf(rootfs);
    pollfd waits[] = {{STDIN_FILENO, POLLIN, 0}, {watch ? watch.get() : mounts.get(), static_cast<short>(watch ? POLLIN : POLLPRI), 0}};
    if (::poll(waits, 2, watch ? -1 : kLookMs) < 0 && errno != EINTR) failErrno("poll");
    if (watch) while (drain(watch.get(), rootfs)) {}
    char byte;
    if (waits[0].revents != 0 && ::read(STDIN_FILENO, &byte, 1) <= 0) return "done";
  }
}
