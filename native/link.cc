// Implementation of link.hh. Both ends are ours, still every length is checked: the worker parses strangers' data.
#include "link.hh"

#include <sys/socket.h>

namespace {
constexpr size_t kMessageMax = 8192;  // two strings: a name and a path
}

void sendLink(int socket, const LinkMessage& message) {
  ByteWriter writer;
  writer.number(static_cast<uint32_t>(message.kind)).number(message.value).number(message.node).number(message.flags);
  writer.string(message.name).string(message.directory);
  std::vector<uint8_t> bytes = writer.finish();
  iovec part{bytes.data(), bytes.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (message.memfd) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* first = CMSG_FIRSTHDR(&header);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(sizeof(int));
    const int fd = message.memfd.get();
    std::memcpy(CMSG_DATA(first), &fd, sizeof fd);
  }
  while (::sendmsg(socket, &header, MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) failErrno("cannot send to the other half of the data plane");
  }
}

std::optional<LinkMessage> receiveLink(int socket) {
  uint8_t bytes[kMessageMax];
  iovec part{bytes, sizeof bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t count = 0;
  while ((count = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC)) < 0) {
    if (errno != EINTR) failErrno("cannot receive from the other half of the data plane");
  }
  if (count == 0) return std::nullopt;
  LinkMessage message;
  const cmsghdr* first = CMSG_FIRSTHDR(&header);
  if (first != nullptr && first->cmsg_level == SOL_SOCKET && first->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(first), sizeof fd);
    message.memfd = Fd(fd);
  }
  ByteReader reader({bytes, static_cast<size_t>(count)});
  message.kind = static_cast<LinkKind>(reader.number<uint32_t>());
  message.value = reader.number<uint32_t>();
  message.node = reader.number<uint64_t>();
  message.flags = reader.number<uint64_t>();
  message.name = reader.string();
  message.directory = reader.string();
  reader.end();
  return message;
}
