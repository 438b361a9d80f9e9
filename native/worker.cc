// Implementation of worker.hh: take the tables back, ask the kernel to resend, serve. Objects here live as long as the process.
#include "worker.hh"

#include "control.hh"
#include "log.hh"
#include "process.hh"

#include <algorithm>
#include <csignal>
#include <sys/prctl.h>
#include <thread>
#include <unistd.h>

namespace {

// Two per CPU: a thread may wait for the disk. Misses hold no thread.
unsigned sessionThreads() {
  return std::clamp(2 * std::thread::hardware_concurrency(), 4u, 16u);
}

// Waits and Control name each other: this stands in for Control until it exists.
class LateFetcher final : public Fetcher {
 public:
  void fetch(const std::string& file, const std::vector<Run>& runs, uint32_t needId) override {
    if (target != nullptr) target->fetch(file, runs, needId);
  }
  Fetcher* target = nullptr;
};

struct Worker {
  Counters counters;
  Slots slots{kWorkerSlotsFd};
  Spare spare;
  LateFetcher fetcher;
  Registry registry{spare, counters};
  Waits waits{fetcher, counters};
  Session session{kWorkerDeviceFd, slots, registry, waits, counters};
};

void takeBack(Worker& worker, LinkMessage& message) {
  try {
    worker.registry.add(message.name, message.directory, Table::open(std::move(message.memfd)), message.node);
  } catch (const Failure& failure) {
    logEvent("a table is lost", {{"name", message.name}, {"error", failure.what()}});
  }
}

LinkMessage takeTables(Worker& worker) {
  for (;;) {
    auto message = receiveLink(kWorkerLinkFd);
    if (!message) throw Failure(EPIPE, "the guardian is gone");
    if (message->kind == LinkKind::kStart) return std::move(*message);
    if (message->kind == LinkKind::kTable) takeBack(worker, *message);
    if (message->kind == LinkKind::kDeadline) worker.session.setReadDeadline(message->value);
  }
}

}  // namespace

void runWorker() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ignoreSignals();
  setOomScore(-900);
  raiseFileLimit();
  tuneAllocator();
  lockMemory();

  auto& worker = *new Worker;
  const LinkMessage start = takeTables(worker);
  worker.registry.settle();
  if ((start.flags & kStartDrained) != 0) worker.waits.drain();
  auto* control = new Control(kWorkerListenerFd, {start.value, kWorkerLinkFd}, worker.registry, worker.waits, worker.session,
                              worker.counters);
  worker.fetcher.target = control;
  worker.session.recover((start.flags & kStartResends) != 0);
  startThread("control", [control] { control->run(); });
  for (unsigned index = 1; index < sessionThreads(); index++) startThread("fuse", [&worker] { worker.session.run(); });
  sendLink(kWorkerLinkFd, {.kind = LinkKind::kReady});
  worker.session.run();
  ::_exit(kConnectionGone);
}
