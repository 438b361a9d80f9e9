// Implementation of fuse_mount.hh. allow_other for root with another group than 0;
// the modes (0500, 0400) keep everybody else out.
#include "fuse_mount.hh"

#include "fuse_wire.hh"
#include "slots.hh"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <unistd.h>

namespace {

constexpr int kInitPatienceMs = 10000;
// READs of EROFS, loop and readahead are all background requests, often one a page. Those that wait for the network hold their
// place: when none is left, reads of what is cached wait too, and so would the self-test of the `serve` that must answer them.
constexpr uint16_t kMaxBackground = kSlotCount - 384;

constexpr uint64_t kWanted = FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_ABORT_ERROR | FUSE_MAX_PAGES |
                             FUSE_EXPLICIT_INVAL_DATA | FUSE_INIT_EXT | wire::kHasResend;

void answerInit(FuseMount& mount, bool wantResend) {
  pollfd wait{mount.device.get(), POLLIN, 0};
  if (::poll(&wait, 1, kInitPatienceMs) <= 0) throw Failure(ETIMEDOUT, "the kernel sends no FUSE INIT");
  alignas(8) uint8_t buffer[wire::kRequestBufferBytes] = {};
  const ssize_t count = ::read(mount.device.get(), buffer, sizeof buffer);
  if (count < 0) failErrno("cannot read FUSE INIT");
  fuse_in_header header;
  fuse_init_in in{};
  std::memcpy(&header, buffer, sizeof header);
  std::memcpy(&in, buffer + sizeof header, std::min(sizeof in, static_cast<size_t>(count) - sizeof header));
  if (header.opcode != FUSE_INIT) throw Failure(EPROTO, "the first FUSE request is not INIT");
  const uint64_t wanted = wantResend ? kWanted : kWanted & ~wire::kHasResend;
  const uint64_t flags = (static_cast<uint64_t>(in.flags2) << 32 | in.flags) & wanted;
  mount.canResend = (flags & wire::kHasResend) != 0;

  struct { fuse_out_header header; fuse_init_out init; } out{};
  out.header = {sizeof out, 0, header.unique};
  out.init.major = FUSE_KERNEL_VERSION;
  out.init.minor = std::min<uint32_t>(in.minor, FUSE_KERNEL_MINOR_VERSION);
  out.init.max_readahead = in.max_readahead;
  out.init.flags = static_cast<uint32_t>(flags);
  out.init.flags2 = static_cast<uint32_t>(flags >> 32);
  out.init.max_background = kMaxBackground;
  out.init.congestion_threshold = kMaxBackground / 4 * 3;
  out.init.max_write = wire::kMaxWrite;
  out.init.time_gran = 1;
  out.init.max_pages = wire::kMaxPages;
  if (::write(mount.device.get(), &out, sizeof out) != static_cast<ssize_t>(sizeof out)) failErrno("cannot answer FUSE INIT");
}

}  // namespace

FuseMount mountFuse(const std::string& directory, bool wantResend) {
  FuseMount mount;
  mount.device = openFile("/dev/fuse", O_RDWR);
  const std::string data = "fd=" + std::to_string(mount.device.get()) + ",rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions";
  const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY;
  if (::mount("ipfs-snapshotter", directory.c_str(), "fuse.ipfs-snapshotter", flags, data.c_str()) != 0) {
    failErrno("cannot mount FUSE on " + directory);
  }
  try {
    answerInit(mount, wantResend);
  } catch (const Failure&) {
    ::umount2(directory.c_str(), MNT_DETACH);
    throw;
  }
  return mount;
}
