// Implementation of pool.hh.
#include "pool.hh"

#include "log.hh"
#include "support.hh"

#include <exception>
#include <pthread.h>
#include <thread>

Pool::Pool(const char* name, unsigned threads) {
  for (unsigned index = 0; index < threads; index++) startThread(name, [this] { run(); });
}

void Pool::add(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  ready_.notify_one();
}

void Pool::run() {
  for (;;) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [this] { return !jobs_.empty(); });
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    try {
      job();
    } catch (const std::exception& problem) {
      logEvent("a job failed", {{"error", problem.what()}});
    }
  }
}

void startThread(const char* name, std::function<void()> body) {
  std::thread thread(std::move(body));
  pthread_setname_np(thread.native_handle(), name);
  thread.detach();
}
