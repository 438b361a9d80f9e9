// Implementation of notify.hh: a datagram to $NOTIFY_SOCKET, and a barrier. The manager finds the unit by the sender's process, so a
// short-lived sender must live until it has looked: BARRIER=1 hands it a pipe that it closes then (systemd 246).
#include "notify.hh"

#include "support.hh"

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

constexpr int kBarrierMs = 5000;  // as sd_notify_barrier(3) of systemd-notify waits

struct Manager {
  sockaddr_un address{};
  socklen_t size = 0;
};

Manager managerAt(const std::string& path) {
  Manager manager;
  manager.address.sun_family = AF_UNIX;
  if (path.size() >= sizeof manager.address.sun_path) throw Failure(ENAMETOOLONG, "NOTIFY_SOCKET " + path);
  std::memcpy(manager.address.sun_path, path.data(), path.size());
  if (path[0] == '@') manager.address.sun_path[0] = 0;  // an abstract name
  manager.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  return manager;
}

/** `descriptor`: goes along, unless it is -1. */
void send(const Fd& socket, Manager& manager, std::string text, int descriptor) {
  iovec part{text.data(), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof descriptor)] = {};
  msghdr message{};
  message.msg_name = &manager.address;
  message.msg_namelen = manager.size;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptor);
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  if (::sendmsg(socket.get(), &message, MSG_NOSIGNAL) < 0) failErrno("cannot tell the service manager " + text);
}

}  // namespace

bool notifyManager(const std::string& state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == 0) return false;
  Manager manager = managerAt(path);
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) failErrno("cannot make a socket");
  send(socket, manager, state, -1);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) failErrno("cannot make a pipe");
  const Fd here(ends[0]);
  {
    const Fd theirs(ends[1]);
    send(socket, manager, "BARRIER=1", theirs.get());
  }
  pollfd closed{here.get(), 0, 0};
  if (::poll(&closed, 1, kBarrierMs) == 0) throw Failure(ETIMEDOUT, "the service manager does not read what it is told");
  return true;
}
