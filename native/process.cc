// Implementation of process.hh.
#include "process.hh"

#include "support.hh"

#include <csignal>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>

void raiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Without the right to lift the limit, locking later pages could make allocations fail: then rather lock nothing.
void lockMemory() {
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &unlimited) != 0) return;
  ::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

void tuneAllocator() {
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_MMAP_THRESHOLD, 256 * 1024);
  ::mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
}

void ignoreSignals() {
  for (const int signal : {SIGPIPE, SIGHUP, SIGINT}) ::signal(signal, SIG_IGN);
}

void setOomScore(int score) {
  writeText("/proc/self/oom_score_adj", std::to_string(score));
}
