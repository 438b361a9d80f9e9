// The FUSE side of the worker: threads that read requests from the shared /dev/fuse and answer each in full or with an errno.
// A READ that hits is answered by the thread that read it; one that misses is parked in Waits and answered by whoever completes it.
#pragma once

#include "fuse_wire.hh"
#include "slots.hh"
#include "waits.hh"

class Session {
 public:
  Session(int device, Slots& slots, Registry& registry, Waits& waits, Counters& counters)
      : device_(device), slots_(slots), registry_(registry), waits_(waits), counters_(counters) {}

  /** Finds what a dead worker read and did not answer: has the kernel hand it out again, or takes it from the slots. Before run(). */
  void recover(bool kernelResends);
  /** Serves until the connection ends. */
  void run();
  /** Serves one request of `length` bytes, of which the slot holds as many as it can. */
  void handle(Slot& slot, size_t length);

  /** 0 = wait for ever, as far as the kernel lets us. */
  void setReadDeadline(uint32_t ms);

 private:
  // What an answer needs: the kernel's number of the request, and the slot that keeps it until then.
  struct Ticket {
    uint64_t unique;
    Slot* slot;
  };

  struct Request {
    Ticket ticket;
    FilePtr file;
    uint64_t offset;
    uint32_t size;
    int64_t deadline;
    int64_t startedUs;
    bool waited = false;
  };

  void resend();
  void dispatch(const fuse_in_header& header, const Ticket& ticket, const uint8_t* body, size_t length);
  void interrupt(const Ticket& ticket, const uint8_t* body, size_t length);
  void lookup(const fuse_in_header& header, const Ticket& ticket, const uint8_t* body, size_t length);
  void getAttributes(const fuse_in_header& header, const Ticket& ticket);
  void open(const fuse_in_header& header, const Ticket& ticket, const uint8_t* body, size_t length);
  void readFile(const fuse_in_header& header, const Ticket& ticket, const uint8_t* body, size_t length);
  void readDirectory(const Ticket& ticket, const uint8_t* body, size_t length);
  void statFileSystem(const Ticket& ticket);

  void serve(const Request& request);
  void serve(const Request& request, uint8_t* buffer);
  bool park(const Request& request, const std::vector<uint32_t>& missing);
  bool answer(const Request& request, uint8_t* buffer);
  std::vector<uint32_t> fill(const Request& request, uint8_t* out);
  std::vector<uint32_t> fillData(const Request& request, uint64_t dataStart, uint64_t dataEnd, uint8_t* out);

  void reply(const Ticket& ticket, const void* data, size_t length);
  void replyError(const Ticket& ticket, int error);
  bool send(uint64_t unique, const void* data, size_t length);
  void sendError(uint64_t unique, int error);

  const int device_;
  Slots& slots_;
  Registry& registry_;
  Waits& waits_;
  Counters& counters_;
  std::atomic<uint32_t> readDeadlineMs_{0};
  std::vector<Slot*> unanswered_;  // of a dead worker: the threads take them in turn before they read
  std::atomic<size_t> nextUnanswered_{0};
};
