// Messages between guardian and worker over their SOCK_SEQPACKET pair; a table travels as a file descriptor.
#pragma once

#include "frames.hh"

#include <optional>

enum class LinkKind : uint32_t {
  kTable = 1,  // worker → guardian: keep this; guardian → new worker: have it back. value = 0
  kForget,     // worker → guardian: name
  kAnswer,     // guardian → worker: value = errno, node = the id given to the table
  kDeadline,   // worker → guardian: keep this; guardian → new worker: value = milliseconds that a READ may wait
  kStart,      // guardian → worker, after the rest: value = restarts, flags = kStart…
  kReady,      // worker → guardian
  kDrain,      // guardian → worker: answer all that wait with EIO, now and from now on
  kStop        // worker → guardian: unmount all and end
};

constexpr uint64_t kStartDrained = 1;  // every wait ends with EIO at once
constexpr uint64_t kStartResends = 2;  // the kernel resends what a dead worker did not answer

struct LinkMessage {
  LinkKind kind = LinkKind::kReady;
  uint32_t value = 0;
  uint64_t node = 0;
  uint64_t flags = 0;  // of kStart; of a question and its kAnswer: the number that pairs them
  std::string name = "";
  std::string directory = "";
  Fd memfd = Fd();
};

void sendLink(int socket, const LinkMessage& message);
/** Nothing at the end of the connection. Failure(EPROTO) for a message that is not one. */
std::optional<LinkMessage> receiveLink(int socket);
