// Implementation of connections.hh. One frame is taken off a socket at a time: back-pressure reaches the sender.
#include "connections.hh"

#include "log.hh"

#include <algorithm>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {
constexpr size_t kConnectionsMax = 8;              // one is served; the rest have not said HELLO yet
constexpr size_t kOutMax = 32 * 1024 * 1024;       // a FETCH of a million chunks is 8 MiB
constexpr size_t kReceiveStep = 256 * 1024;        // memory follows bytes received, not lengths announced
}  // namespace

Connections::Connections(int listener) : listener_(listener), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!wake_) failErrno("cannot make an eventfd");
}

void Connections::post(uint64_t id, std::vector<uint8_t> frame) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = connections_.find(id);
    if (found == connections_.end() || found->second.doomed) return;
    Connection& connection = found->second;
    // Counted here, not when the socket moves: whoever asks without reading shall not fill our memory meanwhile.
    connection.doomed = connection.outBytes + frame.size() > kOutMax;
    if (connection.doomed) {
      connection.out.clear();
    } else {
      connection.outBytes += frame.size();
      connection.out.push_back(std::move(frame));
    }
  }
  wake();
}

void Connections::wake() {
  const uint64_t one = 1;
  if (::write(wake_.get(), &one, sizeof one) < 0) return;  // full counter: it is awake anyway
}

bool Connections::wait(int timeoutMs, int other, bool readFrames) {
  std::vector<pollfd> polls = {{other, POLLIN, 0}, {wake_.get(), POLLIN, 0}, {listener_, POLLIN, 0}};
  std::vector<uint64_t> ids;
  closeDoomed();
  {
    const std::lock_guard lock(mutex_);
    if (connections_.size() >= kConnectionsMax) polls[2].events = 0;
    for (auto& [id, connection] : connections_) {
      const bool reading = readFrames && connection.complete.empty();
      polls.push_back({connection.socket.get(), static_cast<short>((reading ? POLLIN : 0) | (connection.out.empty() ? 0 : POLLOUT)), 0});
      ids.push_back(id);
    }
  }
  if (::poll(polls.data(), polls.size(), timeoutMs) < 0) return false;
  uint64_t drained = 0;
  if ((polls[1].revents & POLLIN) != 0 && ::read(wake_.get(), &drained, sizeof drained) < 0) drained = 0;
  for (size_t index = 0; index < ids.size(); index++) {
    const short events = polls[index + 3].revents;
    if (events == 0) continue;
    std::unique_lock lock(mutex_);
    const auto found = connections_.find(ids[index]);
    if (found == connections_.end()) continue;
    Connection& connection = found->second;
    bool alive = !connection.doomed;
    if ((events & POLLOUT) != 0) alive = alive && flush(connection);
    if ((events & POLLIN) != 0) alive = alive && receive(connection);
    else if ((events & (POLLHUP | POLLERR)) != 0) alive = false;
    lock.unlock();
    if (!alive) close(ids[index]);
  }
  if ((polls[2].revents & POLLIN) != 0) acceptOne();
  return (polls[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0;
}

void Connections::closeDoomed() {
  const std::lock_guard lock(mutex_);
  std::erase_if(connections_, [&](const auto& entry) {
    if (!entry.second.doomed) return false;
    logEvent("a client does not read what it asked for, closing");
    closed_.push_back(entry.first);
    return true;
  });
}

void Connections::acceptOne() {
  Fd socket(::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  const std::lock_guard lock(mutex_);
  const uint64_t id = nextId_++;
  connections_[id].socket = std::move(socket);
  accepted_.push_back(id);
}

bool Connections::receive(Connection& connection) {
  return connection.lengthHave < sizeof connection.lengthBytes ? receiveLength(connection) : receiveBody(connection);
}

// Both return false at the end of the connection, on an error, and on a length that no frame has.
bool Connections::receiveLength(Connection& connection) {
  const size_t have = connection.lengthHave;
  const ssize_t count = ::recv(connection.socket.get(), connection.lengthBytes + have, sizeof connection.lengthBytes - have, 0);
  if (count <= 0) return count < 0 && (errno == EAGAIN || errno == EINTR);
  connection.lengthHave += static_cast<size_t>(count);
  if (connection.lengthHave < sizeof connection.lengthBytes) return true;
  std::memcpy(&connection.expected, connection.lengthBytes, sizeof connection.expected);
  if (connection.expected < kFrameHead || connection.expected > kFrameMax) {
    logEvent("a frame has an impossible length, closing", {{"length", std::to_string(connection.expected)}});
    return false;
  }
  return receiveBody(connection);
}

bool Connections::receiveBody(Connection& connection) {
  auto& frame = connection.frame;
  for (;;) {
    const size_t have = frame.size();
    const size_t step = std::min<size_t>(connection.expected - have, kReceiveStep);
    frame.resize(have + step);
    const ssize_t count = ::recv(connection.socket.get(), frame.data() + have, step, 0);
    frame.resize(have + (count > 0 ? static_cast<size_t>(count) : 0));
    if (count <= 0) return count < 0 && (errno == EAGAIN || errno == EINTR);
    if (frame.size() == connection.expected) break;
  }
  uint32_t id = 0;
  std::memcpy(&id, frame.data() + 4, sizeof id);
  const bool zeros = frame[1] == 0 && frame[2] == 0 && frame[3] == 0;
  connection.complete.push_back({static_cast<FrameType>(frame[0]), id, std::move(frame)});
  frame = {};
  connection.lengthHave = 0;
  return zeros;
}

bool Connections::flush(Connection& connection) {
  while (!connection.out.empty()) {
    const auto& front = connection.out.front();
    const size_t left = front.size() - connection.outOffset;
    const ssize_t count = ::send(connection.socket.get(), front.data() + connection.outOffset, left, MSG_NOSIGNAL);
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    connection.outOffset += static_cast<size_t>(count);
    connection.outBytes -= static_cast<size_t>(count);
    if (connection.outOffset < front.size()) continue;
    connection.outOffset = 0;
    connection.out.pop_front();
  }
  return true;
}

std::vector<uint64_t> Connections::takeAccepted() {
  const std::lock_guard lock(mutex_);
  return std::exchange(accepted_, {});
}

std::vector<uint64_t> Connections::takeClosed() {
  const std::lock_guard lock(mutex_);
  return std::exchange(closed_, {});
}

bool Connections::takeFrame(uint64_t& id, Frame& frame) {
  const std::lock_guard lock(mutex_);
  for (auto& [candidate, connection] : connections_) {
    if (connection.complete.empty()) continue;
    id = candidate;
    frame = std::move(connection.complete.front());
    connection.complete.pop_front();
    return true;
  }
  return false;
}

void Connections::close(uint64_t id) {
  const std::lock_guard lock(mutex_);
  if (connections_.erase(id) > 0) closed_.push_back(id);
}
