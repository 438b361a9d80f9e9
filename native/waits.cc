// Implementation of waits.hh. One lock for all: this path is as slow as a network, the hit path never comes here.
#include "waits.hh"

#include <algorithm>

namespace {
constexpr size_t kEarlyInterruptsMax = 1024;
}

std::vector<Run> coalesce(const std::vector<uint32_t>& chunks) {
  std::vector<Run> runs;
  for (const uint32_t chunk : chunks) {
    if (!runs.empty() && runs.back().first + runs.back().count == chunk) runs.back().count++;
    else runs.push_back({chunk, 1});
  }
  return runs;
}

bool Waits::park(const WaiterPtr& waiter, const std::vector<uint32_t>& missing) {
  int error = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto early = std::find(interruptedEarly_.begin(), interruptedEarly_.end(), waiter->unique);
    const bool interrupted = waiter->needId == 0 && early != interruptedEarly_.end();
    if (interrupted) interruptedEarly_.erase(early);
    error = draining_ || waiter->file->removed ? EIO : interrupted ? EINTR : 0;
    waiter->chunks.clear();
    for (const uint32_t chunk : missing) if (!waiter->file->store->isGood(chunk)) waiter->chunks.push_back(chunk);
    waiter->outstanding = waiter->chunks.size();
    if (error == 0 && waiter->outstanding == 0) return false;
    if (error == 0) {
      StoreWaits& waits = waits_[waiter->file->store.get()];
      for (const uint32_t chunk : waiter->chunks) waits[chunk].waiters.push_back(waiter);
      parked_[waiter.get()] = waiter;
      waiter->since = nowMs();
      if (waiter->needId == 0) counters_.waitingReads++;
      ask(waiter, waits);
    }
  }
  if (error != 0) waiter->finish(error);
  return true;
}

// A read asks again for what only a NEED asked for: it is urgent now.
void Waits::ask(const WaiterPtr& waiter, StoreWaits& waits) {
  const bool forRead = waiter->needId == 0;
  std::vector<uint32_t> wanted;
  for (const uint32_t chunk : waiter->chunks) {
    const auto found = waits.find(chunk);
    if (found == waits.end()) continue;  // has arrived while others are still missing
    ChunkWait& wait = found->second;
    if (wait.askedFor != nullptr && (wait.forRead || !forRead)) continue;
    wait.askedFor = waiter->file;
    wait.forRead = forRead;
    wanted.push_back(chunk);
  }
  if (!wanted.empty()) fetcher_.fetch(waiter->file->name, coalesce(wanted), waiter->needId);
}

void Waits::unlink(const WaiterPtr& waiter) {
  const Store* store = waiter->file->store.get();
  StoreWaits& waits = waits_[store];
  for (const uint32_t chunk : waiter->chunks) {
    const auto found = waits.find(chunk);
    if (found == waits.end()) continue;
    std::erase(found->second.waiters, waiter);
    if (found->second.waiters.empty()) waits.erase(found);
  }
  if (waits.empty()) waits_.erase(store);
  if (parked_.erase(waiter.get()) > 0 && waiter->needId == 0) counters_.waitingReads--;
}

void Waits::finishAll(const std::vector<WaiterPtr>& waiters, int error) {
  for (const auto& waiter : waiters) waiter->finish(error);
}

void Waits::arrived(const Store& store, uint32_t chunk) {
  std::vector<WaiterPtr> complete;
  {
    const std::lock_guard lock(mutex_);
    const auto waits = waits_.find(&store);
    if (waits == waits_.end()) return;
    const auto found = waits->second.find(chunk);
    if (found == waits->second.end()) return;
    const auto waiters = std::move(found->second.waiters);
    waits->second.erase(found);
    if (waits->second.empty()) waits_.erase(waits);
    for (const auto& waiter : waiters) {
      if (--waiter->outstanding > 0) continue;
      complete.push_back(waiter);
      parked_.erase(waiter.get());
      if (waiter->needId == 0) counters_.waitingReads--;
    }
  }
  finishAll(complete, 0);
}

std::vector<WaiterPtr> Waits::take(const std::function<bool(const Waiter&)>& matches) {
  const std::lock_guard lock(mutex_);
  std::vector<WaiterPtr> taken;
  for (const auto& [raw, waiter] : parked_) if (matches(*waiter)) taken.push_back(waiter);
  for (const auto& waiter : taken) unlink(waiter);
  return taken;
}

void Waits::failed(const Store& store, uint32_t first, uint32_t count, int error) {
  const uint64_t end = static_cast<uint64_t>(first) + count;
  const auto hit = [&](const Waiter& waiter) {
    if (waiter.file->store.get() != &store) return false;
    const auto& chunks = waiter.chunks;
    const auto at = std::lower_bound(chunks.begin(), chunks.end(), first);
    return std::any_of(at, chunks.end(), [&](uint32_t chunk) { return chunk < end && !store.isGood(chunk); });
  };
  finishAll(take(hit), error);
}

void Waits::failFile(const FilePtr& file, int error) {
  finishAll(take([&](const Waiter& waiter) { return waiter.file == file; }), error);
  const std::lock_guard lock(mutex_);
  const auto waits = waits_.find(file->store.get());
  if (waits == waits_.end()) return;
  for (auto& [chunk, wait] : waits->second) {
    if (wait.askedFor == file) wait.askedFor = nullptr;  // control forgets the name: ask under another
  }
  for (const auto& [raw, waiter] : parked_) {
    if (waiter->file->store == file->store) ask(waiter, waits->second);
  }
}

void Waits::interrupt(uint64_t unique) {
  const auto taken = take([&](const Waiter& waiter) { return waiter.needId == 0 && waiter.unique == unique; });
  if (taken.empty()) {
    const std::lock_guard lock(mutex_);
    interruptedEarly_.push_back(unique);
    if (interruptedEarly_.size() > kEarlyInterruptsMax) interruptedEarly_.pop_front();
  }
  finishAll(taken, EINTR);
}

void Waits::expire(int64_t now) {
  if (counters_.waitingReads == 0) return;
  finishAll(take([&](const Waiter& waiter) { return waiter.deadline != 0 && waiter.deadline <= now; }), EIO);
}

void Waits::dropNeeds(uint64_t connection) {
  take([&](const Waiter& waiter) { return waiter.needId != 0 && waiter.connection == connection; });
}

void Waits::askAgain() {
  const std::lock_guard lock(mutex_);
  for (auto& [store, waits] : waits_) {
    for (auto& [chunk, wait] : waits) wait.askedFor = nullptr;
  }
  for (const bool reads : {true, false}) {
    for (const auto& [raw, waiter] : parked_) {
      if ((waiter->needId == 0) == reads) ask(waiter, waits_[waiter->file->store.get()]);
    }
  }
}

std::vector<WaiterPtr> Waits::waiting(size_t most) {
  std::vector<WaiterPtr> found;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [raw, waiter] : parked_) found.push_back(waiter);
  }
  std::sort(found.begin(), found.end(), [](const WaiterPtr& a, const WaiterPtr& b) { return a->since < b->since; });
  if (found.size() > most) found.resize(most);
  return found;
}

void Waits::drain() {
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  finishAll(take([](const Waiter&) { return true; }), EIO);
}
