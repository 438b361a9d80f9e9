// Implementation of unpack.hh. One thread: control sends one order, this answers it, reading the blob as far as that takes. While there
// is none it inflates ahead, so that both work at the same time.
#include "unpack.hh"

#include "gzip_stream.hh"
#include "hash.hh"
#include "support.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr int kBlobFd = 0;
constexpr int kAnswerFd = 1;
constexpr int kOrderFd = 3;
constexpr int kDataFd = 4;
constexpr size_t kInputBytes = 256 * 1024;
constexpr size_t kAheadBytes = 1024 * 1024;
constexpr size_t kAheadStep = 64 * 1024;  // between two looks for an order: 0.2 ms
constexpr uint64_t kReadMax = 1024 * 1024;
constexpr uint64_t kNowhere = ~uint64_t{0};

enum OrderKind : uint32_t { kRead = 1, kTake = 2, kEnd = 3 };

struct Order {
  uint32_t kind;
  uint32_t prefix;  // TAKE: bytes that follow the order and stand before those of the tar
  uint64_t length;  // of the tar
  uint64_t at;      // TAKE: where prefix and bytes belong in the data file, or kNowhere
};
static_assert(sizeof(Order) == 24);

struct AnswerHead {
  uint32_t error = 0;  // an errno of the data file
  uint32_t size = 0;   // bytes that follow
};

// False when the other end closed before the first byte.
bool readWhole(int fd, void* into, size_t length) {
  size_t done = 0;
  while (done < length) {
    const ssize_t count = ::read(fd, static_cast<uint8_t*>(into) + done, length - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) failErrno("cannot read");
    if (count == 0 && done == 0) return false;
    if (count == 0) throw Failure(EPIPE, "an order broke off");
    done += static_cast<size_t>(count);
  }
  return true;
}

void writeWhole(const uint8_t* from, size_t length) {
  size_t done = 0;
  while (done < length) {
    const ssize_t count = ::write(kAnswerFd, from + done, length - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) failErrno("cannot answer");
    done += static_cast<size_t>(count);
  }
}

template <typename Value>
void append(std::vector<uint8_t>& to, const Value& value) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&value);
  to.insert(to.end(), bytes, bytes + sizeof value);
}

// Room for the head of an answer, whose body follows: both go out at once, so that control wakes once.
std::vector<uint8_t> beginAnswer() {
  return std::vector<uint8_t>(sizeof(AnswerHead));
}

void sendAnswer(std::vector<uint8_t>& whole, uint32_t error = 0) {
  const AnswerHead head{error, static_cast<uint32_t>(whole.size() - sizeof head)};
  std::memcpy(whole.data(), &head, sizeof head);
  writeWhole(whole.data(), whole.size());
}

// The compressed bytes, hashed as they come.
class Blob {
 public:
  /** What is here and was not used; waits for more when there is nothing. Empty at the end. */
  std::span<const uint8_t>& next() {
    if (left_.empty() && !ended_) fill();
    return left_;
  }
  bool ended() const { return ended_; }
  /** `next` would not wait. */
  bool isHere() const { return ended_ || !left_.empty(); }
  uint64_t bytes() const { return bytes_; }
  /** Reads the rest for its hash alone. */
  Sha256 finish() {
    while (!ended_) fill();
    return hash_.finish();
  }

 private:
  void fill() {
    const ssize_t count = ::read(kBlobFd, buffer_.data(), buffer_.size());
    if (count < 0 && errno == EINTR) return;
    if (count < 0) failErrno("cannot read the blob");
    ended_ = count == 0;
    left_ = {buffer_.data(), static_cast<size_t>(count)};
    bytes_ += left_.size();
    hash_.update(left_.data(), left_.size());
  }

  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(kInputBytes);
  std::span<const uint8_t> left_;
  bool ended_ = false;
  uint64_t bytes_ = 0;
  Sha256Stream hash_;
};

class Tar {
 public:
  Tar(Blob& blob, bool zlib) : blob_(blob), gzip_(makeInflater(zlib)) {}

  /** The next bytes; fewer only at the end, or where the gzip data is wrong. */
  size_t read(uint8_t* into, size_t length) {
    const size_t here = std::min(length, ahead_.size() - used_);
    if (here > 0) std::memcpy(into, ahead_.data() + used_, here);
    used_ += here;
    const size_t count = here + inflate(into + here, length - here);
    bytes_ += count;
    return count;
  }
  bool hasRoom() const { return !over_ && ahead_.size() - used_ + kAheadStep <= kAheadBytes; }
  /** Inflates a little of what will be read next. */
  void goAhead() {
    if (used_ == ahead_.size() || used_ >= kAheadBytes) { // seldom: what is left moves
      ahead_.erase(ahead_.begin(), ahead_.begin() + static_cast<long>(used_));
      used_ = 0;
    }
    const size_t before = ahead_.size();
    ahead_.resize(before + kAheadStep);
    ahead_.resize(before + inflate(ahead_.data() + before, kAheadStep));
  }
  uint64_t bytes() const { return bytes_; }
  const std::string& problem() const { return problem_; }
  Sha256 finish() { return hash_.finish(); }

 private:
  size_t inflate(uint8_t* into, size_t length) {
    std::span<uint8_t> out(into, length);
    while (!out.empty() && !over_) step(out);
    hash_.update(into, length - out.size());
    return length - out.size();
  }

  void step(std::span<uint8_t>& out) {
    auto& in = blob_.next();
    const size_t before = in.size() + out.size();
    if (!gzip_.inflate(in, out)) {
      end(gzip_.problem() + " near byte " + std::to_string(blob_.bytes() - in.size()));
    } else if (in.size() + out.size() == before && (blob_.ended() || !in.empty())) {
      end(gzip_.isWhole() ? "" : "the gzip data is cut");
    }
  }

  void end(const std::string& problem) {
    over_ = true;
    problem_ = problem;
  }

  Blob& blob_;
  GzipStream gzip_;
  bool over_ = false;
  std::string problem_;
  std::vector<uint8_t> ahead_;
  size_t used_ = 0;
  uint64_t bytes_ = 0;
  Sha256Stream hash_;
};

// Until an order or its end is here; `blob` too: or bytes of the blob. Which of both.
bool waitForOrder(bool blob, int timeoutMs) {
  pollfd fds[2] = {{kOrderFd, POLLIN, 0}, {kBlobFd, POLLIN, 0}};
  while (::poll(fds, blob ? 2 : 1, timeoutMs) < 0) {
    if (errno != EINTR) failErrno("cannot wait for an order");
  }
  return fds[0].revents != 0;
}

void workAhead(Blob& blob, Tar& tar) {
  while (tar.hasRoom()) {
    if (waitForOrder(!blob.isHere(), blob.isHere() ? 0 : -1)) return;
    tar.goAhead();
  }
}

// Written from the start on until the disk refuses; the rest is hashed all the same, and control hears of it.
class DataFile {
 public:
  explicit DataFile(uint64_t at) : at_(at) {}

  void write(const uint8_t* bytes, size_t length) {
    if (at_ == kNowhere) return;
    for (size_t done = 0; done < length && error_ == 0;) {
      const ssize_t count = ::pwrite(kDataFd, bytes + done, length - done, static_cast<off_t>(at_ + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) error_ = static_cast<uint32_t>(errno);
      else done += static_cast<size_t>(count);
    }
    at_ += length;
  }
  uint32_t error() const { return error_; }

 private:
  uint64_t at_;
  uint32_t error_ = 0;
};

void readTar(Tar& tar, const Order& order) {
  if (order.length > kReadMax) throw Failure(EINVAL, "a READ of " + std::to_string(order.length) + " bytes");
  auto answer = beginAnswer();
  const size_t head = answer.size();
  answer.resize(head + order.length);
  answer.resize(head + tar.read(answer.data() + head, order.length));
  sendAnswer(answer);
}

// Answer: u64 bytes of the tar that were taken, then the sha256 of each chunk.
void takeContents(Tar& tar, const Order& order, std::vector<uint8_t>& chunk) {
  if (order.prefix > chunk.size()) throw Failure(EINVAL, "a prefix of " + std::to_string(order.prefix) + " bytes");
  if (order.prefix > 0 && !readWhole(kOrderFd, chunk.data(), order.prefix)) throw Failure(EPIPE, "an order broke off");
  DataFile data(order.at);
  std::vector<uint8_t> digests;
  size_t have = order.prefix;
  uint64_t taken = 0;
  for (bool more = true; more;) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(chunk.size() - have, order.length - taken));
    const size_t got = tar.read(chunk.data() + have, want);
    taken += got;
    have += got;
    more = got == want && taken < order.length;
    if (have == chunk.size() || (!more && have > 0)) {
      append(digests, sha256(chunk.data(), have));
      data.write(chunk.data(), have);
      have = 0;
    }
  }
  auto answer = beginAnswer();
  append(answer, taken);
  answer.insert(answer.end(), digests.begin(), digests.end());
  sendAnswer(answer, data.error());
}

// Answer: u64 bytes of the blob, u64 of the tar, their sha256, then what is wrong with the gzip data, if anything.
void endPass(Blob& blob, Tar& tar) {
  auto answer = beginAnswer();
  const Sha256 blobDigest = blob.finish();
  append(answer, blob.bytes());
  append(answer, tar.bytes());
  append(answer, blobDigest);
  append(answer, tar.finish());
  answer.insert(answer.end(), tar.problem().begin(), tar.problem().end());
  sendAnswer(answer);
}

}  // namespace

void unpack(const UnpackOptions& options) {
  Blob blob;
  Tar tar(blob, options.zlib);
  std::vector<uint8_t> chunk(options.chunkBytes);
  for (Order order{};;) {
    workAhead(blob, tar);
    if (!readWhole(kOrderFd, &order, sizeof order)) return;
    switch (order.kind) {
      case kRead: readTar(tar, order); break;
      case kTake: takeContents(tar, order, chunk); break;
      case kEnd: endPass(blob, tar); return;
      default: throw Failure(EINVAL, "order " + std::to_string(order.kind));
    }
  }
}
