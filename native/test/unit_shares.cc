// Chunks that two layers have: stored once, read and checked where they are, handed over when their holder goes.
#include "../waits.hh"
#include "unit.hh"

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace {

using Chunks = std::vector<std::vector<uint8_t>>;

struct NoFetcher final : Fetcher {
  void fetch(const std::string&, const std::vector<Run>&, uint32_t) override {}
};

// Layer `one` has the chunks a, b and c; `two` has b, a of its own, c twice.
struct Layers {
  std::string directory = std::filesystem::temp_directory_path() / ("native-unit-shares-" + std::to_string(::getpid()));
  Counters counters;
  Spare spare;
  std::unique_ptr<Registry> registry = std::make_unique<Registry>(spare, counters);
  Chunks ones = {pattern(100, 5), pattern(200000, 6), pattern(65536, 7)};
  Chunks twos = {pattern(200000, 6), pattern(70000, 9), pattern(65536, 7), pattern(65536, 7)};
  std::shared_ptr<Store> one;
  std::shared_ptr<Store> two;

  Layers() { serve(); }
  ~Layers() { std::filesystem::remove_all(directory); }

  void serve() {
    one = registry->add("one", directory + "/one", Table::open(tableOf(ones)), 20)->store;
    two = registry->add("two", directory + "/two", Table::open(tableOf(twos)), 21)->store;
    registry->settle();
  }

  // As a new worker finds them: tables and what is on the disk.
  void restart() {
    registry = std::make_unique<Registry>(spare, counters);
    one = two = nullptr;
    serve();
  }

  uint64_t diskBytes() const {
    uint64_t blocks = 0;
    for (const char* layer : {"/one/data", "/two/data"}) {
      struct stat info{};
      if (::stat((directory + layer).c_str(), &info) == 0) blocks += static_cast<uint64_t>(info.st_blocks);
    }
    return blocks * 512;
  }

  void flip(const char* layer, uint64_t offset) const {
    const Fd file(::open((directory + layer + "/data").c_str(), O_RDWR | O_CLOEXEC));
    uint8_t byte = 0;
    check(::pread(file.get(), &byte, 1, static_cast<off_t>(offset)) == 1, "a byte to flip");
    byte ^= 1;
    check(::pwrite(file.get(), &byte, 1, static_cast<off_t>(offset)) == 1, "flipped");
  }
};

bool reads(Store& store, uint32_t chunk, const std::vector<uint8_t>& bytes) {
  std::vector<uint8_t> out(bytes.size());
  const auto size = static_cast<uint32_t>(bytes.size());
  if (!store.read(chunk, 0, size, out.data()) || out != bytes) return false;
  return store.read(chunk, size / 2, size / 4, out.data()) && std::equal(out.begin(), out.begin() + size / 4, bytes.begin() + size / 2);
}

void testStoredOnce() {
  Layers layers;
  auto one = layers.one;
  auto two = layers.two;
  check(!two->verify(0) && !reads(*two, 0, layers.twos[0]), "what nobody has is missing");
  one->keep(1, layers.ones[1].data());
  const uint64_t before = layers.diskBytes();
  check(reads(*two, 0, layers.twos[0]) && two->verify(0) && two->isGood(0), "what another layer has is read there");
  check(two->keep(0, layers.twos[0].data()) && layers.diskBytes() == before, "and not stored again");
  auto wrong = layers.twos[0];
  wrong[7] ^= 1;
  check(!two->keep(0, wrong.data()), "wrong bytes are refused all the same");
  check(two->totals().bytes == 200000 && two->totals().sharedBytes == 200000 && one->totals().sharedBytes == 0, "totals say what is elsewhere");
  check((one->takeUsed()[0] & 2) != 0 && two->takeUsed()[0] == 0, "use counts where the bytes are");
  two->keep(3, layers.twos[3].data());
  check(reads(*two, 2, layers.twos[2]) && reads(*two, 3, layers.twos[3]) && reads(*one, 2, layers.ones[2]), "equal chunks of one layer have one place");
  one.reset();
  two.reset();
  layers.restart();
  check(reads(*layers.two, 0, layers.twos[0]) && reads(*layers.one, 2, layers.ones[2]), "a successor finds them by the tables alone");
}

void testShareThatLies() {
  Layers layers;
  layers.one->keep(1, layers.ones[1].data());
  check(reads(*layers.two, 0, layers.twos[0]), "read through the other layer");
  layers.flip("/one", 4096 + 150000);
  std::vector<uint8_t> out(200000);
  check(!layers.two->read(0, 0, 200000, out.data()) && layers.counters.violations == 1, "a flipped bit there is noticed here");
  check(!layers.two->isGood(0) && layers.two->keep(0, layers.twos[0].data()), "and what is fetched is stored here");
  check(reads(*layers.two, 0, layers.twos[0]) && reads(*layers.one, 1, layers.ones[1]), "both read it from then on");
  check(layers.two->totals().sharedBytes == 0 && layers.one->totals().sharedBytes == 200000, "the place that lied is given back");
  layers.restart();
  layers.flip("/two", 100);
  check(!layers.one->read(1, 0, 200000, out.data()) && layers.counters.violations == 2, "also before anybody has checked it");
  check(layers.diskBytes() == 0, "nothing of it is kept");
}

void testEvictedShare() {
  Layers layers;
  layers.one->keep(1, layers.ones[1].data());
  check(reads(*layers.two, 0, layers.twos[0]), "read through the other layer");
  layers.one->evict(1);
  check(!reads(*layers.two, 0, layers.twos[0]) && !layers.two->isGood(0) && !layers.two->verify(0), "what is evicted is missing for all");
  check(layers.two->keep(0, layers.twos[0].data()) && reads(*layers.one, 1, layers.ones[1]), "whoever fetches it has it for all");
}

void testHandOver() {
  Layers layers;
  for (const uint32_t chunk : {0u, 1u, 2u}) layers.one->keep(chunk, layers.ones[chunk].data());
  const uint64_t before = layers.diskBytes();
  std::vector<Place> arrived;
  layers.one->handOver([&](const Place& place) { arrived.push_back(place); });
  check(arrived.size() == 2 && arrived[0].store == layers.two && arrived[0].chunk == 0 && arrived[1].chunk == 2, "the other layer gets what it has too");
  check(layers.diskBytes() == before, "moved, not copied");
  const auto file = layers.registry->remove("one");
  check(!layers.registry->isServed(file->store), "the holder goes");
  layers.registry->release(file->store);
  check(layers.two->twins(0).empty(), "and is forgotten");
  for (const uint32_t chunk : {0u, 2u, 3u}) check(reads(*layers.two, chunk, layers.twos[chunk]), "everything is still there");
  check((layers.two->takeUsed()[0] & 5) == 5, "and counts as used");
}

void testFold() {
  Layers layers;
  layers.one->keep(1, layers.ones[1].data());
  std::filesystem::create_directories(layers.directory + "/three");
  {
    Registry apart(layers.spare, layers.counters);
    const auto alone = apart.add("three", layers.directory + "/three", Table::open(tableOf(layers.twos)), 22)->store;
    alone->keep(0, layers.twos[0].data());
    alone->keep(1, layers.twos[1].data());
  }
  const auto three = layers.registry->add("three", layers.directory + "/three", Table::open(tableOf(layers.twos)), 22)->store;
  layers.registry->settle();
  check(three->totals().sharedBytes == 0, "a cache that was filled alone has copies of its own");
  three->fold();
  check(three->totals().sharedBytes == 200000 && three->totals().bytes == 270000, "served beside others it gives them up");
  check(reads(*three, 0, layers.twos[0]) && reads(*three, 1, layers.twos[1]), "and misses nothing");
  layers.one->fold();
  check(layers.one->totals().sharedBytes == 0 && reads(*three, 0, layers.twos[0]), "the last copy stays");
}

// Two layers are supplied, read, folded and evicted at once: every answer is right, and in the end each digest is stored once.
void testSharesAtOnce() {
  Layers layers;
  std::atomic<uint32_t> wrong{0};
  const auto work = [&](Store& store, const Chunks& chunks, uint32_t seed) {
    for (uint32_t round = 0; round < 400; round++) {
      const auto chunk = static_cast<uint32_t>((seed = seed * 1664525 + 1013904223) >> 16) % static_cast<uint32_t>(chunks.size());
      std::vector<uint8_t> out(chunks[chunk].size());
      const auto size = static_cast<uint32_t>(out.size());
      if (store.read(chunk, 0, size, out.data()) && out != chunks[chunk]) wrong++;
      if (round % 3 == 0 && !store.keep(chunk, chunks[chunk].data())) wrong++;
      if (round % 7 == 0) store.evict(chunk);
      if (round % 50 == 0) store.fold();
      if (round % 90 == 0) store.handOver([](const Place&) {});
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t index = 0; index < 4; index++) {
    if (index % 2 == 0) threads.emplace_back([&, index] { work(*layers.one, layers.ones, index); });
    else threads.emplace_back([&, index] { work(*layers.two, layers.twos, index); });
  }
  for (auto& thread : threads) thread.join();
  check(wrong == 0 && layers.counters.violations == 0, "no wrong byte and no false alarm among threads");
  for (uint32_t chunk = 0; chunk < 3; chunk++) layers.one->keep(chunk, layers.ones[chunk].data());
  for (uint32_t chunk = 0; chunk < 4; chunk++) layers.two->keep(chunk, layers.twos[chunk].data());
  const uint64_t sum = layers.one->totals().bytes + layers.two->totals().bytes - layers.one->totals().sharedBytes - layers.two->totals().sharedBytes;
  check(sum == 100 + 200000 + 65536 + 70000, "each digest is stored once in the end");
}

}  // namespace

void testShares() {
  testStoredOnce();
  testShareThatLies();
  testEvictedShare();
  testHandOver();
  testFold();
  testSharesAtOnce();
}
