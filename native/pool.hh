// A few threads that run jobs in order of arrival. Threads live as long as the process.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

class Pool {
 public:
  Pool(const char* name, unsigned threads);
  void add(std::function<void()> job);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> jobs_;
};

/** Starts a detached thread with all signals blocked; the process ends with _exit, never by joining. */
void startThread(const char* name, std::function<void()> body);
