// The FUSE side of the worker: threads that read requests from the shared /dev/fuse and answer each in full or with an errno.
// A READ that hits is answered by the thread that read it; one that misses is parked in Waits and answered by whoever completes it.
#pragma once

#include "fuse_wire.hh"
#include "waits.hh"

class Session {
 public:
  Session(int device, Registry& registry, Waits& waits, Counters& counters)
      : device_(device), registry_(registry), waits_(waits), counters_(counters) {}

  /** Has the kernel hand out again what a killed worker read and did not answer. Before the first read. */
  void resend();
  /** Serves until the connection ends. */
  void run();

  /** 0 = wait for ever, as far as the kernel lets us. */
  void setReadDeadline(uint32_t ms);

 private:
  struct Request {
    uint64_t unique;
    FilePtr file;
    uint64_t offset;
    uint32_t size;
    int64_t deadline;
  };

  void dispatch(const fuse_in_header& header, const uint8_t* body, size_t length);
  void lookup(const fuse_in_header& header, const uint8_t* body, size_t length);
  void getAttributes(const fuse_in_header& header);
  void open(const fuse_in_header& header, const uint8_t* body, size_t length);
  void readFile(const fuse_in_header& header, const uint8_t* body, size_t length);
  void readDirectory(const fuse_in_header& header, const uint8_t* body, size_t length);
  void statFileSystem(const fuse_in_header& header);

  void serve(const Request& request);
  bool park(const Request& request, const std::vector<uint32_t>& missing);
  bool answer(const Request& request, uint8_t* buffer);
  std::vector<uint32_t> fill(const Request& request, uint8_t* out);
  std::vector<uint32_t> fillData(const Request& request, uint64_t dataStart, uint64_t dataEnd, uint8_t* out);

  void reply(uint64_t unique, const void* data, size_t length);
  void replyError(uint64_t unique, int error);

  const int device_;
  Registry& registry_;
  Waits& waits_;
  Counters& counters_;
  std::atomic<uint32_t> readDeadlineMs_{0};
};
