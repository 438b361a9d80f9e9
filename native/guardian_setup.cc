// Implementation of guardian_setup.hh, and the stop job.
#include "guardian_setup.hh"

#include "log.hh"
#include "mounts.hh"
#include "process.hh"
#include "slots.hh"
#include "worker.hh"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

constexpr off_t kLogMax = 1024 * 1024;
constexpr int kBacklog = 8;
constexpr int64_t kStopPatienceMs = 25000;  // longer than the guardian gives its unmounting

// Held as long as the guardian lives, also through a crash: the kernel lets go of it, no stale pid is ever believed.
Fd takeLock(const std::string& path) {
  Fd lock = openFile(path, O_RDWR | O_CREAT, 0600);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    std::string pid = readText(path);
    while (!pid.empty() && pid.back() == '\n') pid.pop_back();
    throw Failure(EBUSY, "guardian " + pid + " already has " + path);
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock.get(), 0) != 0 || ::pwrite(lock.get(), pid.data(), pid.size(), 0) < 0) failErrno("cannot write " + path);
  return lock;
}

void detach(const std::string& logPath) {
  ::setsid();
  ::umask(077);
  if (::chdir("/") != 0) failErrno("cannot change to /");
  const Fd null = openFile("/dev/null", O_RDWR);
  const Fd log = openFile(logPath, O_WRONLY | O_CREAT | O_APPEND, 0600);
  struct stat info{};
  if (::fstat(log.get(), &info) == 0 && info.st_size > kLogMax && ::ftruncate(log.get(), 0) != 0) failErrno("cannot cut " + logPath);
  ::dup2(null.get(), STDIN_FILENO);
  ::dup2(null.get(), STDOUT_FILENO);
  ::dup2(log.get(), STDERR_FILENO);
}

Fd blockSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGTERM}) ::sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  Fd signals(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) failErrno("cannot make a signalfd");
  return signals;
}

Fd listenOn(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw Failure(ENAMETOOLONG, "a socket path has at most 107 bytes: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) failErrno("cannot make a socket");
  ::unlink(path.c_str());
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  const mode_t before = ::umask(0177);  // the file is made with the mode that it keeps
  const int bound = ::bind(listener.get(), raw, sizeof address);
  ::umask(before);
  if (bound != 0) failErrno("cannot bind " + path);
  if (::listen(listener.get(), kBacklog) != 0) failErrno("cannot listen on " + path);
  return listener;
}

// What a guardian that was killed left mounted answers nobody any more.
void clearStale(const std::string& directory) {
  while (::umount2(directory.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {}
}

}  // namespace

std::string prepareDirectory(const std::string& path) {
  makeDirectories(path, 0700);
  return absolutePath(path);
}

GuardianParts setUpGuardian(const std::string& state, const GuardianOptions& options) {
  GuardianParts parts;
  parts.lock = takeLock(state + "/guardian.pid");
  detach(state + "/native.log");
  ignoreSignals();
  setOomScore(-1000);
  raiseFileLimit();
  parts.signals = blockSignals();
  parts.slots = Slots::make();
  const std::string data = state + "/data";
  const std::string meta = state + "/meta";
  for (const auto& directory : {data, meta}) clearStale(directory);
  for (const auto& directory : {data, meta}) makeDirectories(directory, 0700);
  parts.listener = listenOn(state + "/data.sock");
  mountRamfs(meta);
  try {
    parts.mount = mountFuse(data, options.resend);
  } catch (const Failure&) {
    ::umount2(meta.c_str(), MNT_DETACH);
    throw;
  }
  logEvent("guardian started", {{"state", state}, {"resend", parts.mount.canResend ? "yes" : "no"}});
  return parts;
}

void becomeWorker(const GuardianParts& parts, int link) {
  constexpr int kCount = 4;
  const int sources[kCount] = {parts.mount.device.get(), parts.listener.get(), link, parts.slots.get()};
  const int targets[kCount] = {kWorkerDeviceFd, kWorkerListenerFd, kWorkerLinkFd, kWorkerSlotsFd};
  int high[kCount];
  for (int index = 0; index < kCount; index++) high[index] = ::fcntl(sources[index], F_DUPFD_CLOEXEC, 64);  // out of the targets' way
  for (int index = 0; index < kCount; index++) ::dup2(high[index], targets[index]);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execl("/proc/self/exe", "ipfs-snapshotter-native", "worker", nullptr);
  ::_exit(127);
}

// The lock file stays: unlinking it would let one process lock the old file and another a new one.
void removeTraces(const std::string& state, const Fd& lock, bool stopped) {
  if (stopped) ::unlink((state + "/data.sock").c_str());
  if (::ftruncate(lock.get(), 0) != 0) logEvent("cannot empty the pid file");
  logEvent("guardian ended");
}

std::string guardianJson(const std::string& state) {
  return "{\"pid\":" + std::to_string(::getpid()) + ",\"data\":" + jsonString(state + "/data") + ",\"meta\":" +
         jsonString(state + "/meta") + ",\"socket\":" + jsonString(state + "/data.sock") + "}";
}

void writeReady(int pipe, const std::string& line) {
  if (::write(pipe, line.data(), line.size()) < 0) return;  // who started us is gone: no matter
}

std::string readReady(int pipe) {
  std::string line;
  char buffer[4096];
  ssize_t count = 0;
  while ((count = ::read(pipe, buffer, sizeof buffer)) != 0) {
    if (count < 0 && errno != EINTR) failErrno("cannot hear from the guardian");
    if (count > 0) line.append(buffer, static_cast<size_t>(count));
  }
  if (line.rfind("{", 0) == 0) return line;
  if (line.empty()) throw Failure(EIO, "the guardian ended before a worker served");
  throw Failure(std::atoi(line.c_str()), line.substr(line.find(' ') + 1));
}

std::string stopGuardian(const std::string& state) {
  const std::string path = absolutePath(state) + "/guardian.pid";
  const Fd lock(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!lock && errno != ENOENT) failErrno("cannot open " + path);
  if (!lock || ::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return "{\"stopped\":false}";
  const pid_t pid = std::atoi(readText(path).c_str());
  if (pid <= 1 || ::kill(pid, SIGTERM) != 0) throw Failure(ESRCH, "no guardian can be signalled through " + path);
  const int64_t deadline = nowMs() + kStopPatienceMs;
  while (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (nowMs() >= deadline) throw Failure(ETIMEDOUT, "guardian " + std::to_string(pid) + " does not end");
    sleepMs(10);
  }
  return "{\"stopped\":true}";
}
