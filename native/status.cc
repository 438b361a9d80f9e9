// STATUS_IS: what an operator may ask about the data plane, as one JSON object.
#include "control.hh"

#include <algorithm>
#include <unistd.h>

namespace {

std::string field(const char* name, uint64_t value) {
  return ",\"" + std::string(name) + "\":" + std::to_string(value);
}

std::string fileJson(const File& file) {
  const CacheTotals cached = file.store->totals();
  return "{\"name\":" + jsonString(file.name) + field("size", file.table->fileSize()) + field("chunks", file.table->chunkCount()) +
         field("chunkBytes", file.table->chunkBytes()) + field("cachedChunks", cached.chunks) + field("cachedBytes", cached.bytes) + field("sharedBytes", cached.sharedBytes) +
         field("suppliedBytes", file.store->suppliedBytes()) + field("readBytes", file.readBytes) + "}";
}

// The chunks as a span: what is missing of one read are neighbours, mostly.
std::string waitingJson(Waits& waits) {
  constexpr size_t kWaitersShown = 100;
  std::string text;
  const int64_t now = nowMs();
  for (const auto& waiter : waits.waiting(kWaitersShown)) {
    if (waiter->chunks.empty()) continue;
    text += (text.empty() ? "" : ",") + ("{\"name\":" + jsonString(waiter->file->name)) + field("first", waiter->chunks.front()) +
            field("last", waiter->chunks.back()) + field("ms", static_cast<uint64_t>(std::max<int64_t>(now - waiter->since, 0))) +
            ",\"read\":" + (waiter->needId == 0 ? "true" : "false") + "}";
  }
  return text;
}

}  // namespace

std::string statusJson(const Registry& registry, Waits& waits, const Counters& counters, uint32_t restarts) {
  std::string files;
  for (const auto& file : registry.all()) files += (files.empty() ? "" : ",") + fileJson(*file);
  // No code path answers a read with chunk bytes that were not hashed since they left the disk or the network.
  return "{\"pid\":" + std::to_string(::getpid()) + field("restarts", restarts) + ",\"files\":[" + files + "]" +
         field("waitingReads", counters.waitingReads) + field("bytesServed", counters.bytesServed) + field("bytesServedUnverified", 0) +
         field("leafHashesChecked", counters.leafHashesChecked) + field("violations", counters.violations) + field("failedReads", counters.failedReads) +
         ",\"latency\":{\"boundsUs\":" + Latency::boundsJson() +
         ",\"cached\":" + counters.cachedReads.json() + ",\"fetched\":" + counters.fetchedReads.json() + "},\"waiting\":[" + waitingJson(waits) + "]}";
}
