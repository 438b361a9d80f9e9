// What waits and what is kept: the cache on a disk that lies, the spare store, parked reads.
#include "../leaf_cache.hh"
#include "../waits.hh"
#include "unit.hh"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <unistd.h>

namespace {

struct RecordingFetcher final : Fetcher {
  struct Call {
    std::string file;
    std::vector<Run> runs;
    uint32_t needId;
  };
  std::vector<Call> calls;
  void fetch(const std::string& file, const std::vector<Run>& runs, uint32_t needId) override { calls.push_back({file, runs, needId}); }
};

struct Bench {
  std::string directory = std::filesystem::temp_directory_path() / ("native-unit-" + std::to_string(::getpid()));
  Counters counters;
  Spare spare;
  RecordingFetcher fetcher;
  Registry registry{spare, counters};
  Waits waits{fetcher, counters};
  std::vector<std::vector<uint8_t>> chunks = {pattern(100, 5), pattern(200000, 6), pattern(65536, 7), pattern(1, 8)};
  FilePtr file = registry.add("a", directory, Table::open(tableOf(chunks)), 20);

  ~Bench() { std::filesystem::remove_all(directory); }

  WaiterPtr waiter(int& outcome, uint32_t needId = 0) {
    auto waiter = std::make_shared<Waiter>();
    waiter->file = file;
    waiter->needId = needId;
    waiter->connection = 1;
    waiter->unique = 1000;
    waiter->finish = [&outcome](int error) { outcome = error; };
    return waiter;
  }
};

constexpr int kStillWaiting = -1;

void testLeafCache() {
  LeafCache cache;
  uint8_t out = 0;
  int loads = 0;
  const auto load = [&](uint8_t value) { return [&loads, value](uint8_t* bytes) { loads++; bytes[7] = value; return value != 0; }; };
  const auto read = [&](uint32_t leaf, uint8_t value) { return cache.read({1, 2, leaf}, 7, 1, &out, load(value)); };
  check(!read(0, 0) && !read(0, 0) && loads == 2, "a leaf that did not match is not kept");
  check(read(0, 5) && read(0, 6) && out == 5 && loads == 3, "a leaf that matched is loaded once");
  check(cache.read({2, 2, 0}, 7, 1, &out, load(9)) && out == 9, "another store's leaf is another leaf");
  for (uint32_t leaf = 1; leaf <= 80; leaf++) check(read(leaf, static_cast<uint8_t>(leaf)) && out == leaf, "each leaf is its own");
  check(read(0, 6) && out == 6, "the oldest leaf makes room");
}

void testStore() {
  Bench bench;
  Store& store = *bench.file->store;
  std::vector<uint8_t> out(200000);
  check(!store.read(1, 0, 10, out.data()), "an empty cache misses");
  auto wrong = bench.chunks[1];
  wrong[150000] ^= 1;
  check(!store.keep(1, wrong.data()) && !store.isGood(1), "wrong bytes are not kept");
  check(store.keep(1, bench.chunks[1].data()) && store.isGood(1), "right bytes are");
  const bool across = store.read(1, 30000, 10000, out.data());
  check(across && std::equal(out.begin(), out.begin() + 10000, bench.chunks[1].begin() + 30000), "a read over a leaf's border");
  check(store.read(1, 199999, 1, out.data()) && out[0] == bench.chunks[1][199999], "the last byte");
  check(store.totals().chunks == 1 && store.totals().bytes == 200000, "totals count what is there");
  Store fresh(bench.directory, bench.file->table, bench.spare, bench.counters, bench.registry.shares());
  check(!fresh.isGood(1) && fresh.verify(1) && fresh.isGood(1), "a successor checks before it believes");
  std::filesystem::resize_file(bench.directory + "/data", 10);
  check(store.read(1, 0, 10, out.data()) && out[0] == bench.chunks[1][0], "a leaf that was checked a moment ago needs no file");
  check(!store.read(1, 140000, 10, out.data()) && bench.counters.violations == 1, "a cut file is a counted miss");
  check(store.keep(1, bench.chunks[1].data()) && store.read(1, 0, 200000, out.data()), "what lied once is served from memory too");
}

void testSpare() {
  Spare spare;
  const int store = 0;
  std::vector<uint8_t> big(16 * 1024 * 1024, 1);
  uint8_t byte = 0;
  for (uint32_t chunk = 0; chunk < 6; chunk++) spare.keep(&store, chunk, big.data(), big.size());
  check(!spare.has(&store, 1) && spare.has(&store, 2) && spare.has(&store, 5), "the oldest go beyond 64 MiB");
  check(spare.read(&store, 5, 7, 1, &byte) && byte == 1 && !spare.read(&store, 0, 0, 1, &byte), "what is kept is read");
  spare.forget(&store);
  check(!spare.has(&store, 5), "a forgotten store has nothing");
}

void testWaits() {
  Bench bench;
  int one = kStillWaiting;
  int two = kStillWaiting;
  check(bench.waits.park(bench.waiter(one), {0, 1, 3}), "missing chunks park a read");
  check(bench.waits.park(bench.waiter(two), {1, 2}), "another read parks too");
  check(bench.fetcher.calls.size() == 2 && bench.fetcher.calls[0].runs.size() == 2, "runs are coalesced");
  check(bench.fetcher.calls[1].runs.size() == 1 && bench.fetcher.calls[1].runs[0].first == 2, "what is asked for is not asked for again");
  const auto arrive = [&](uint32_t chunk) {
    bench.file->store->keep(chunk, bench.chunks[chunk].data());
    bench.waits.arrived(*bench.file->store, chunk);
  };
  arrive(0);
  arrive(1);
  check(one == kStillWaiting && two == kStillWaiting, "a read waits for all of its chunks");
  bench.waits.askAgain();
  check(bench.fetcher.calls.size() == 4, "a new connection is asked for what is still missing");
  arrive(3);
  check(one == 0 && two == kStillWaiting && bench.counters.waitingReads == 1, "the last chunk ends the wait");
  bench.waits.failed(*bench.file->store, 0, 2, ETIMEDOUT);
  check(two == kStillWaiting, "failure of chunks that are here already fails nobody");
  bench.waits.failed(*bench.file->store, 2, 1, ETIMEDOUT);
  check(two == ETIMEDOUT && bench.counters.waitingReads == 0, "failure ends the wait with its errno");
  int three = kStillWaiting;
  check(!bench.waits.park(bench.waiter(three), {0, 1}), "chunks that arrived meanwhile park nobody");
}

void testEndsOfWaits() {
  Bench bench;
  int need = kStillWaiting;
  int read = kStillWaiting;
  bench.waits.park(bench.waiter(need, 9), {2});
  bench.waits.park(bench.waiter(read), {2});
  const auto& calls = bench.fetcher.calls;
  check(calls.size() == 2 && calls[0].needId == 9 && calls[1].needId == 0, "a read asks again for what only a need wanted");
  bench.waits.dropNeeds(1);
  bench.waits.interrupt(1000);
  check(need == kStillWaiting && read == EINTR, "needs go silently with their connection, INTERRUPT ends a read");
  bench.waits.interrupt(1000);
  int early = kStillWaiting;
  bench.waits.park(bench.waiter(early), {2});
  check(early == EINTR, "an INTERRUPT that overtook its read counts");
  int late = kStillWaiting;
  auto waiter = bench.waiter(late);
  waiter->deadline = 100;
  bench.waits.park(waiter, {2});
  bench.waits.expire(99);
  check(late == kStillWaiting, "before its deadline a read waits");
  bench.waits.expire(100);
  check(late == EIO, "at its deadline it ends");
  int removed = kStillWaiting;
  bench.waits.park(bench.waiter(removed), {2});
  bench.waits.failFile(bench.registry.remove("a"), EIO);
  int after = kStillWaiting;
  bench.waits.park(bench.waiter(after), {2});
  check(removed == EIO && after == EIO, "a removed file ends its reads, also those that come late");
  Bench other;
  int drained = kStillWaiting;
  other.waits.park(other.waiter(drained), {2});
  other.waits.drain();
  int refused = kStillWaiting;
  other.waits.park(other.waiter(refused), {2});
  check(drained == EIO && refused == EIO, "after draining nobody waits");
}

}  // namespace

void testStores() {
  testLeafCache();
  testStore();
  testSpare();
  testWaits();
  testEndsOfWaits();
}
