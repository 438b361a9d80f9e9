// Implementation of fuzz_rig.hh. Inputs may name any path as a cache directory: before the first the process gives up root, and
// gets a /tmp of its own that goes with it.
#include "fuzz_rig.hh"

#include <fcntl.h>
#include <filesystem>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace {

constexpr unsigned kNobody = 65534;

struct Silence final : Fetcher {
  void fetch(const std::string&, const std::vector<Run>&, uint32_t) override {}
};

void becomeNobody() {
  if (::geteuid() != 0) return;
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) ::_exit(3);
  if (::mount("fuzz", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m") != 0) ::_exit(3);
  if (::setgroups(0, nullptr) != 0 || ::setresgid(kNobody, kNobody, kNobody) != 0 || ::setresuid(kNobody, kNobody, kNobody) != 0) ::_exit(3);
}

Fd threeChunks() {
  std::vector<uint8_t> bytes(128 + 3 * 80 + 4096);
  const auto put = [&](size_t at, auto value) { std::memcpy(bytes.data() + at, &value, sizeof value); };
  std::memcpy(bytes.data(), "IPSNAPT1", 8);
  put(8, uint64_t{4096 + 6 * 65536});
  put(16, uint64_t{4096});
  put(24, uint32_t{3});
  put(28, kTableLeafBytes);
  for (uint32_t index = 0; index < 3; index++) {
    const uint32_t size = index == 1 ? 100000 : 4096;
    const std::vector<uint8_t> content(size, static_cast<uint8_t>(index));
    const Sha256 digest = sha256(content.data(), size);
    put(128 + 80 * index, uint64_t{index * 2 * 65536});
    put(128 + 80 * index + 8, size);
    std::memcpy(bytes.data() + 128 + 80 * index + 32, digest.data(), digest.size());
  }
  TableBuilder builder;
  builder.append(bytes);
  return builder.seal();
}

// Keeps nothing and agrees to everything.
void playGuardian(int link) {
  uint64_t node = 100;
  for (;;) {
    const auto message = receiveLink(link);
    if (!message) return;
    if (message->kind != LinkKind::kTable && message->kind != LinkKind::kForget) continue;
    sendLink(link, {.kind = LinkKind::kAnswer, .node = node++, .flags = message->flags});
  }
}

}  // namespace

FuzzRig& fuzzRig() {
  static FuzzRig* rig = nullptr;
  if (rig != nullptr) return *rig;
  becomeNobody();
  char folder[] = "/tmp/fuzz-XXXXXX";
  if (::mkdtemp(folder) == nullptr) failErrno("cannot make a directory");
  rig = new FuzzRig;
  static Silence silence;
  static Fd null = openFile("/dev/null", O_RDWR);
  rig->waits = std::make_unique<Waits>(silence, rig->counters);
  rig->session = std::make_unique<Session>(null.get(), rig->slots, rig->registry, *rig->waits, rig->counters);
  rig->session->setReadDeadline(1);
  rig->registry.add("a", std::string(folder) + "/a", Table::open(threeChunks()), 16);
  int link[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link) != 0) failErrno("cannot make a socket pair");
  std::thread(playGuardian, link[1]).detach();
  rig->socketPath = std::string(folder) + "/data.sock";
  rig->listener = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, rig->socketPath.data(), rig->socketPath.size());
  if (::bind(rig->listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) failErrno("cannot bind");
  if (::listen(rig->listener.get(), 8) != 0) failErrno("cannot listen");
  rig->control = std::make_unique<Control>(rig->listener.get(), Control::Identity{0, link[0]}, rig->registry, *rig->waits, *rig->session,
                                           rig->counters);
  return *rig;
}
