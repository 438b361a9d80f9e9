// Implementation of jobs.hh. The parent only reads, forks and reaps; whatever may block in the kernel blocks a child.
#include "jobs.hh"

#include "support.hh"

#include <cerrno>
#include <algorithm>
#include <climits>
#include <csignal>
#include <cstring>
#include <map>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr size_t kRequestMax = 64 * 1024;           // a mount job names a few paths
constexpr size_t kLineMax = PIPE_BUF - 3 * sizeof(uint32_t);  // answers of several children must not mix: one write each

struct Request {
  uint32_t id = 0;
  uint32_t deadlineMs = 0;
  std::vector<std::string> words;
};

// False at the end of stdin.
bool readAll(char* into, size_t bytes) {
  for (size_t at = 0; at < bytes;) {
    const ssize_t got = ::read(STDIN_FILENO, into + at, bytes - at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += static_cast<size_t>(got);
  }
  return true;
}

bool readRequest(Request& request) {
  uint32_t head[3];
  if (!readAll(reinterpret_cast<char*>(head), sizeof head)) return false;
  if (head[0] > kRequestMax) throw Failure(EINVAL, "a request of " + std::to_string(head[0]) + " bytes");
  std::string body(head[0], '\0');
  if (!readAll(body.data(), body.size())) return false;
  request = {.id = head[1], .deadlineMs = head[2], .words = {}};
  for (size_t at = 0; at < body.size();) {
    const size_t end = std::min(body.find('\0', at), body.size());
    request.words.push_back(body.substr(at, end - at));
    at = end + 1;
  }
  return true;
}

void answer(uint32_t id, int status, const std::string& line) {
  const std::string text = line.substr(0, kLineMax);
  const uint32_t head[3] = {id, static_cast<uint32_t>(status), static_cast<uint32_t>(text.size())};
  std::string frame(reinterpret_cast<const char*>(head), sizeof head);
  frame += text;
  while (::write(STDOUT_FILENO, frame.data(), frame.size()) < 0 && errno == EINTR) {}
}

// Of a job that does not end: SIGALRM ends it, the parent says so.
void setDeadline(uint32_t ms) {
  const itimerval timer{.it_interval = {0, 0}, .it_value = {static_cast<time_t>(ms / 1000), static_cast<suseconds_t>(ms % 1000 * 1000)}};
  ::setitimer(ITIMER_REAL, &timer, nullptr);
}

pid_t start(const Request& request, const JobRunner& run, const sigset_t& before) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  setDeadline(request.deadlineMs);
  std::string line;
  const int status = run(request.words, line);
  answer(request.id, status, line);
  ::_exit(0);
}

void reap(std::map<pid_t, Request>& running) {
  int how = 0;
  for (pid_t pid = ::waitpid(-1, &how, WNOHANG); pid > 0; pid = ::waitpid(-1, &how, WNOHANG)) {
    const auto found = running.find(pid);
    if (found == running.end()) continue;
    const auto& [id, deadlineMs, words] = found->second;
    if (WIFSIGNALED(how) && WTERMSIG(how) == SIGALRM) {
      answer(id, 1, "ETIMEDOUT: it did not end within " + std::to_string(deadlineMs) + " ms");
    } else if (!WIFEXITED(how) || WEXITSTATUS(how) != 0) {
      answer(id, 1, "EIO: it ended with wait status " + std::to_string(how));
    }
    running.erase(found);
  }
}

}  // namespace

void serveJobs(const JobRunner& run) {
  sigset_t childEnds, before;
  sigemptyset(&childEnds);
  sigaddset(&childEnds, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &childEnds, &before);
  const Fd signals(::signalfd(-1, &childEnds, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) failErrno("cannot hear of ended jobs");
  std::map<pid_t, Request> running;
  for (;;) {
    pollfd ready[2] = {{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0}, {.fd = signals.get(), .events = POLLIN, .revents = 0}};
    if (::poll(ready, 2, -1) < 0 && errno != EINTR) failErrno("cannot wait for jobs");
    signalfd_siginfo ignored;
    while (::read(signals.get(), &ignored, sizeof ignored) > 0) {}
    reap(running);
    if (ready[0].revents == 0) continue;
    Request request;
    if (!readRequest(request)) return;
    const pid_t pid = start(request, run, before);
    if (pid < 0) answer(request.id, 1, errnoName(errno) + ": cannot start a process for it");
    else running.emplace(pid, std::move(request));
  }
}
