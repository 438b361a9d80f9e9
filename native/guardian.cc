// Implementation of guardian.hh: one thread, one poll loop over signals and the worker's link.
#include "guardian.hh"

#include "guardian_setup.hh"
#include "link.hh"
#include "log.hh"
#include "mounts.hh"
#include "process.hh"
#include "worker.hh"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr int64_t kCrashWindowMs = 10000;
constexpr int kCrashWeight = 10;      // a worker that crashes by itself ten times in the window will do so again
constexpr int kKilledWeight = 1;      // one that somebody else kills may be replaced far more often
constexpr int kCrashLimit = 100;
constexpr int64_t kStopPatienceMs = 20000;
constexpr int kSendPatienceSeconds = 5;
constexpr int64_t kDeathPatienceMs = 5000;          // a worker in uninterruptible sleep on a disk does not die of SIGKILL
constexpr int64_t kReadyPatienceMs = 30000;         // a new worker that does not serve by then hangs
constexpr uint32_t kDefaultReadDeadlineMs = 30000;  // until control sends SETTINGS

struct HeldTable {
  std::string name;
  std::string directory;
  uint64_t node = 0;
  Fd memfd;
};

class Guardian {
 public:
  Guardian(const std::string& state, GuardianParts parts, Fd& readyPipe)
      : state_(state), parts_(std::move(parts)), readyPipe_(readyPipe) {}

  int run();

 private:
  void ensureWorker();
  void startWorker();
  void killWorker();
  void handToWorker();
  void onMessage();
  LinkMessage keepTable(LinkMessage& message);
  void onSignal();
  void onWorkerEnd(int status);
  void beginStop();
  int finish(int status);
  bool tooManyDeaths(int weight);
  void giveUp();

  std::string state_;
  GuardianParts parts_;
  Fd& readyPipe_;
  Fd link_;
  pid_t worker_ = -1;
  pid_t unmounter_ = -1;
  bool workerReady_ = false;
  bool weKilledIt_ = false;
  int64_t readyDeadline_ = 0;
  bool stopping_ = false;
  bool connectionGone_ = false;
  bool ended_ = false;
  int status_ = 0;
  int64_t stopDeadline_ = 0;
  uint32_t restarts_ = 0;
  uint32_t readDeadlineMs_ = kDefaultReadDeadlineMs;
  uint64_t nextNode_ = 16;  // small numbers are offsets of `.` and `..` in listings
  std::vector<HeldTable> tables_;
  std::vector<std::pair<int64_t, int>> deaths_;
};

// A machine that cannot fork now may be able to in a moment; the requests wait in the kernel, though not for ever.
void Guardian::ensureWorker() {
  if (worker_ > 0 || connectionGone_ || ended_) return;
  try {
    startWorker();
  } catch (const Failure& failure) {
    logEvent("cannot start a worker, trying again", {{"error", failure.what()}});
    if (tooManyDeaths(kKilledWeight)) giveUp();
  }
}

void Guardian::startWorker() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) failErrno("cannot make a socket pair");
  link_ = Fd(pair[0]);
  const Fd theirs(pair[1]);
  const timeval patience{kSendPatienceSeconds, 0};
  for (const int end : pair) ::setsockopt(end, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  workerReady_ = false;
  weKilledIt_ = false;
  readyDeadline_ = nowMs() + kReadyPatienceMs;
  worker_ = ::fork();
  if (worker_ < 0) failErrno("cannot fork a worker");
  if (worker_ == 0) becomeWorker(parts_, theirs.get());
  try {
    handToWorker();
  } catch (const Failure& failure) {  // it died already, or hangs: its end will be noticed
    logEvent("cannot hand over to a worker", {{"error", failure.what()}});
    killWorker();
  }
}

// One that hangs or breaks our rules: its end counts as a crash.
void Guardian::killWorker() {
  weKilledIt_ = true;
  ::kill(worker_, SIGKILL);
}

void Guardian::handToWorker() {
  for (const auto& table : tables_) {
    sendLink(link_.get(), {.kind = LinkKind::kTable, .node = table.node, .name = table.name, .directory = table.directory,
                           .memfd = Fd(::dup(table.memfd.get()))});
  }
  sendLink(link_.get(), {.kind = LinkKind::kDeadline, .value = readDeadlineMs_});
  const uint64_t flags = (stopping_ ? kStartDrained : 0) | (parts_.mount.canResend ? kStartResends : 0);
  sendLink(link_.get(), {.kind = LinkKind::kStart, .value = restarts_, .flags = flags});
}

void Guardian::onMessage() {
  std::optional<LinkMessage> message;
  try {
    message = receiveLink(link_.get());
  } catch (const Failure& failure) {
    logEvent("a worker talks nonsense", {{"error", failure.what()}});
    killWorker();
  }
  if (!message) return link_.reset();  // SIGCHLD follows
  switch (message->kind) {
    case LinkKind::kTable: return sendLink(link_.get(), keepTable(*message));
    case LinkKind::kForget:
      std::erase_if(tables_, [&](const HeldTable& table) { return table.name == message->name; });
      return sendLink(link_.get(), {.kind = LinkKind::kAnswer, .flags = message->flags});
    case LinkKind::kDeadline:
      readDeadlineMs_ = message->value;
      return;
    case LinkKind::kReady:
      workerReady_ = true;
      if (readyPipe_) writeReady(readyPipe_.get(), guardianJson(state_));
      return readyPipe_.reset();  // its reader waits for the end
    case LinkKind::kStop: return beginStop();
    default: return;
  }
}

LinkMessage Guardian::keepTable(LinkMessage& message) {
  LinkMessage answer{.kind = LinkKind::kAnswer, .flags = message.flags};
  const auto same = [&](const HeldTable& table) { return table.name == message.name; };
  if (!message.memfd) answer.value = EBADF;
  else if (std::any_of(tables_.begin(), tables_.end(), same)) answer.value = EEXIST;
  if (answer.value != 0) return answer;
  answer.node = nextNode_++;
  tables_.push_back({message.name, message.directory, answer.node, std::move(message.memfd)});
  return answer;
}

void Guardian::onSignal() {
  signalfd_siginfo info;
  while (::read(parts_.signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGTERM) beginStop();
  }
  int status = 0;
  for (pid_t pid = ::waitpid(-1, &status, WNOHANG); pid > 0; pid = ::waitpid(-1, &status, WNOHANG)) {
    if (pid == worker_) onWorkerEnd(status);
    if (pid == unmounter_) ended_ = true;
  }
}

void Guardian::onWorkerEnd(int status) {
  worker_ = -1;
  link_.reset();
  const bool gone = WIFEXITED(status) && WEXITSTATUS(status) == kConnectionGone;
  const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !weKilledIt_;
  connectionGone_ = gone;
  if (gone && stopping_) return;  // unmounting is what we asked for
  logEvent("a worker ended", {{"status", std::to_string(status)}, {"restarts", std::to_string(restarts_)}});
  if (gone || readyPipe_ || tooManyDeaths(killed ? kKilledWeight : kCrashWeight)) giveUp();
  else restarts_++;
}

// Readers get errors instead of waiting for ever.
void Guardian::giveUp() {
  logEvent("giving up: the FUSE connection ends");
  ended_ = true;
  status_ = 1;
}

bool Guardian::tooManyDeaths(int weight) {
  const int64_t now = nowMs();
  std::erase_if(deaths_, [&](const auto& death) { return now - death.first > kCrashWindowMs; });
  deaths_.push_back({now, weight});
  int sum = 0;
  for (const auto& [when, part] : deaths_) sum += part;
  return sum >= kCrashLimit;
}

// The unmounting happens in a child: umount(2) may block on a read that only a living worker can end.
void Guardian::beginStop() {
  if (stopping_) return;
  stopping_ = true;
  stopDeadline_ = nowMs() + kStopPatienceMs;
  try {
    if (link_) sendLink(link_.get(), {.kind = LinkKind::kDrain});
  } catch (const Failure& failure) {  // it just died: its successor starts drained
    logEvent("cannot tell a worker to drain", {{"error", failure.what()}});
  }
  unmounter_ = ::fork();
  if (unmounter_ < 0) {  // without a child: end the connection first, then nothing can block us
    logEvent("cannot fork to unmount, doing it myself", {{"error", errnoName(errno)}});
    ended_ = true;
  }
  if (unmounter_ != 0) return;
  parts_.mount.device.reset();  // else our own hanging umount(2) would keep alive the connection that it waits for
  try {
    unmountTree(state_);
    ::_exit(0);
  } catch (const Failure& failure) {
    logEvent("cannot unmount", {{"error", failure.what()}});
    ::_exit(1);
  }
}

// Closing the last /dev/fuse file aborts the connection: whoever still waits gets an error.
int Guardian::finish(int status) {
  if (worker_ > 0) ::kill(worker_, SIGKILL);
  parts_.mount.device.reset();
  for (int64_t until = nowMs() + kDeathPatienceMs; worker_ > 0 && ::waitpid(worker_, nullptr, WNOHANG) == 0 && nowMs() < until;) sleepMs(5);
  const bool leaveNothing = readyPipe_ || (stopping_ && unmounter_ < 0);  // nobody was served, or nobody has unmounted
  if (leaveNothing) unmountTree(state_);
  removeTraces(state_, parts_.lock, stopping_ || readyPipe_);
  return status;
}

int Guardian::run() {
  while (!ended_) {
    ensureWorker();
    pollfd polls[2] = {{parts_.signals.get(), POLLIN, 0}, {link_.get(), POLLIN, 0}};  // poll ignores a negative descriptor
    const bool impatient = stopping_ || !workerReady_;
    if (::poll(polls, 2, impatient ? 100 : -1) < 0) continue;
    if ((polls[1].revents & (POLLIN | POLLHUP)) != 0) {
      try {
        onMessage();
      } catch (const Failure& failure) {
        logEvent("cannot answer a worker", {{"error", failure.what()}});
        link_.reset();
      }
    }
    if ((polls[0].revents & POLLIN) != 0) onSignal();
    if (stopping_ && nowMs() >= stopDeadline_) ended_ = true;
    if (worker_ > 0 && !workerReady_ && nowMs() >= readyDeadline_) killWorker();
  }
  return finish(status_);
}

[[noreturn]] void runDaemon(const std::string& state, const GuardianOptions& options, Fd ready) {
  int status = 1;
  try {
    Guardian guardian(state, setUpGuardian(state, options), ready);
    status = guardian.run();
  } catch (const Failure& failure) {
    logEvent("guardian failed", {{"error", failure.what()}});
    if (ready) writeReady(ready.get(), std::to_string(failure.error) + " " + failure.what());
  }
  ::_exit(status);
}

}  // namespace

std::string startGuardian(const std::string& given, const GuardianOptions& options) {
  const std::string state = prepareDirectory(given);
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) failErrno("cannot make a pipe");
  const pid_t child = ::fork();
  if (child < 0) failErrno("cannot fork the guardian");
  if (child == 0) {
    ::close(pipe[0]);
    runDaemon(state, options, Fd(pipe[1]));
  }
  ::close(pipe[1]);
  const Fd answers(pipe[0]);
  return readReady(answers.get());
}
