// What one input does: as requests of the kernel, as bytes on the control socket, as one message between guardian and worker.
#include "../gzip_stream.hh"
#include "fuzz_rig.hh"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

// The kernel promises a whole header whose length is that of the request; everything else is the input's.
void fuzzRequests(std::span<const uint8_t> input) {
  FuzzRig& rig = fuzzRig();
  while (input.size() > 1) {
    const size_t length = std::min<size_t>(input[0] + 40u, input.size() - 1);
    if (length < sizeof(fuse_in_header)) return;
    Slot& slot = rig.slots.take();
    std::memcpy(slot.bytes, input.data() + 1, std::min(length, sizeof slot.bytes));
    const auto promised = static_cast<uint32_t>(length);
    std::memcpy(slot.bytes, &promised, sizeof promised);
    rig.session->handle(slot, length);
    rig.waits->expire(nowMs() + 1000);
    input = input.subspan(1 + length);
  }
}

void fuzzFrames(std::span<const uint8_t> input) {
  FuzzRig& rig = fuzzRig();
  const Fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, rig.socketPath.data(), rig.socketPath.size());
  if (::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return;
  ByteWriter hello = beginFrame(FrameType::kHello, 0);
  hello.number(kProtocolVersion);
  std::vector<uint8_t> bytes = finishFrame(hello);
  bytes.insert(bytes.end(), input.begin(), input.end());
  size_t sent = 0;
  for (int idle = 0; idle < 3;) {
    const ssize_t count = sent < bytes.size() ? ::send(client.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL) : 0;
    if (count < 0 && errno != EAGAIN) break;  // it was cut off, as it should be
    if (count > 0) sent += static_cast<size_t>(count);
    rig.control->step(0);
    int waiting = 0;
    ::ioctl(client.get(), SIOCOUTQ, &waiting);
    idle = sent == bytes.size() && waiting == 0 ? idle + 1 : 0;
  }
  ::shutdown(client.get(), SHUT_RDWR);
  rig.control->step(0);
  for (const auto& file : rig.registry.all()) if (file->name != "a") rig.registry.remove(file->name);
}

void fuzzLink(std::span<const uint8_t> input) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return;
  const Fd ours(pair[0]);
  const Fd theirs(pair[1]);
  if (input.empty() || ::send(ours.get(), input.data(), std::min<size_t>(input.size(), 16384), MSG_NOSIGNAL) < 0) return;
  try {
    const auto message = receiveLink(theirs.get());
    if (message) sendLink(theirs.get(), {.kind = message->kind, .value = message->value, .name = message->name, .directory = message->directory});
  } catch (const Failure& failure) {
    if (failure.error != EPROTO) throw;
  }
}

namespace {

constexpr size_t kInflatedMax = 1024 * 1024;

// What comes out of it, in pieces of that size in and out; nothing when it is refused or cut.
std::optional<std::vector<uint8_t>> gunzip(std::span<const uint8_t> input, bool zlib, size_t piece) {
  GzipStream gzip(makeInflater(zlib));
  std::vector<uint8_t> inflated;
  for (;;) {
    auto in = input.first(std::min(piece, input.size()));
    const size_t offered = in.size();
    std::vector<uint8_t> out(piece);
    std::span<uint8_t> room(out);
    if (!gzip.inflate(in, room)) return std::nullopt;
    inflated.insert(inflated.end(), out.begin(), out.end() - static_cast<long>(room.size()));
    input = input.subspan(offered - in.size());
    if (inflated.size() > kInflatedMax) return std::nullopt;
    if (offered == in.size() && room.size() == piece) return input.empty() && gzip.isWhole() ? std::optional(inflated) : std::nullopt;
  }
}

}  // namespace

// Both libraries, and pieces of any size, make the same of what they take.
void fuzzGzip(std::span<const uint8_t> input) {
  const auto whole = gunzip(input, true, 64 * 1024);
  for (const bool zlib : {true, false}) {
    for (const size_t piece : {size_t{7}, size_t{64 * 1024}}) {
      const auto other = gunzip(input, zlib, piece);
      if (whole && other && *whole != *other) std::abort();
      if (zlib && whole.has_value() != other.has_value()) std::abort();
    }
  }
}
