// The sockets of control: accepting, cutting the byte stream into frames, and queues of frames to send that any thread may fill.
// Knows nothing of what frames mean. A connection that breaks a rule of framing is closed.
#pragma once

#include "frames.hh"

#include <deque>
#include <map>
#include <mutex>
#include <poll.h>

struct Frame {
  FrameType type;
  uint32_t id;
  std::vector<uint8_t> bytes;  // everything after the length field
  std::span<const uint8_t> body() const { return std::span(bytes).subspan(kFrameHead); }
};

class Connections {
 public:
  explicit Connections(int listener);

  /** From any thread; dropped when the connection is gone. A client that does not read what it asked for is cut off. */
  void post(uint64_t connection, std::vector<uint8_t> frame);
  /** Makes a waiting `wait` return. */
  void wake();

  /** Waits for something to do on sockets or on `other`; true when `other` is readable. */
  bool wait(int timeoutMs, int other, bool readFrames);
  /** Connections accepted since the last call. */
  std::vector<uint64_t> takeAccepted();
  std::vector<uint64_t> takeClosed();
  /** One complete frame, if any connection has one. */
  bool takeFrame(uint64_t& connection, Frame& frame);
  void close(uint64_t connection);

 private:
  struct Connection {
    Fd socket;
    std::vector<uint8_t> frame;  // of the frame being received, grown as bytes arrive
    uint32_t expected = 0;
    uint8_t lengthBytes[4] = {};
    size_t lengthHave = 0;
    std::deque<Frame> complete;
    std::deque<std::vector<uint8_t>> out;
    size_t outOffset = 0;
    size_t outBytes = 0;
    bool doomed = false;  // more waits to be sent than we keep
  };

  void acceptOne();
  void closeDoomed();
  bool receive(Connection& connection);
  bool receiveLength(Connection& connection);
  bool receiveBody(Connection& connection);
  bool flush(Connection& connection);

  int listener_;
  Fd wake_;
  std::mutex mutex_;
  uint64_t nextId_ = 1;
  std::map<uint64_t, Connection> connections_;
  std::vector<uint64_t> accepted_;
  std::vector<uint64_t> closed_;
};
