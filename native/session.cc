// Implementation of session.hh. Wire facts: linux/fuse.h; a reply with a wrong length or errno is not taken and hangs its reader.
#include "session.hh"

#include "large_buffers.hh"
#include "log.hh"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sys/uio.h>
#include <unistd.h>

namespace {

constexpr int kServeAttempts = 16;                  // chunks may arrive while a read is being parked; more is a livelock
constexpr size_t kSmallBufferBytes = 64 * 1024;     // one for each thread: what random reads and small files need

LargeBuffers largeBuffers;

bool isWriteOperation(uint32_t opcode) {
  switch (opcode) {
    case FUSE_SETATTR: case FUSE_SYMLINK: case FUSE_MKNOD: case FUSE_MKDIR: case FUSE_UNLINK: case FUSE_RMDIR: case FUSE_RENAME:
    case FUSE_LINK: case FUSE_WRITE: case FUSE_SETXATTR: case FUSE_REMOVEXATTR: case FUSE_CREATE: case FUSE_FALLOCATE:
    case FUSE_RENAME2: case FUSE_COPY_FILE_RANGE: case FUSE_TMPFILE:
      return true;
    default:
      return false;
  }
}

// Where an administrator set one of these, the kernel aborts the whole connection for one request that is older: be earlier.
uint32_t kernelPatienceMs() {
  uint32_t patience = 0;
  for (const char* name : {"default_request_timeout", "max_request_timeout"}) {
    const int seconds = std::atoi(readText("/proc/sys/fs/fuse/" + std::string(name)).c_str());
    const uint32_t half = static_cast<uint32_t>(std::max(seconds, 0)) * 1000 / 2;
    if (half > 0 && (patience == 0 || half < patience)) patience = half;
  }
  return patience;
}

}  // namespace

void Session::setReadDeadline(uint32_t ms) {
  const uint32_t patience = kernelPatienceMs();
  const bool shorten = patience > 0 && (ms == 0 || ms > patience);
  if (shorten) logEvent("the kernel's FUSE request timeout shortens the read deadline", {{"ms", std::to_string(patience)}});
  readDeadlineMs_ = shorten ? patience : ms;
}

void Session::resend() {
  fuse_out_header header{};
  header.len = sizeof header;
  header.error = wire::kNotifyResend;
  if (::write(device_, &header, sizeof header) < 0) {
    logEvent("the kernel does not resend requests", {{"error", errnoName(errno)}});
  }
}

void Session::recover(bool kernelResends) {
  if (kernelResends) {
    slots_.clear();
    return resend();
  }
  unanswered_ = slots_.unanswered();
  if (!unanswered_.empty()) logEvent("answering what a worker left unanswered", {{"requests", std::to_string(unanswered_.size())}});
}

void Session::run() {
  for (size_t index = nextUnanswered_++; index < unanswered_.size(); index = nextUnanswered_++) {
    Slot& slot = *unanswered_[index];
    fuse_in_header header;
    std::memcpy(&header, slot.bytes, sizeof header);
    if (slots_.wasInterrupted(header.unique)) replyError({header.unique, &slot}, EINTR);
    else handle(slot, kSlotBytes);
  }
  thread_local uint8_t rest[wire::kRequestBufferBytes];  // nothing that we answer by its content reaches into it
  for (;;) {
    Slot& slot = slots_.take();
    iovec parts[2] = {{slot.bytes, sizeof slot.bytes}, {rest, sizeof rest}};
    ssize_t count = -1;
    while ((count = ::readv(device_, parts, 2)) < 0) {
      if (errno != EINTR && errno != ENOENT && errno != EAGAIN) return;  // ENODEV, ECONNABORTED: unmounted or aborted
    }
    handle(slot, static_cast<size_t>(count));
  }
}

void Session::handle(Slot& slot, size_t length) {
  fuse_in_header header;
  std::memcpy(&header, slot.bytes, sizeof header);
  const Ticket ticket{header.unique, &slot};
  const size_t known = std::min({length, sizeof slot.bytes, static_cast<size_t>(header.len)});
  if (known < sizeof header) return slots_.giveBack(slot);
  try {
    dispatch(header, ticket, slot.bytes + sizeof header, known - sizeof header);
  } catch (const std::exception& problem) {  // out of memory, at worst: the reader still must get an answer
    logEvent("a request failed", {{"opcode", std::to_string(header.opcode)}, {"error", problem.what()}});
    replyError(ticket, EIO);
  }
}

void Session::dispatch(const fuse_in_header& header, const Ticket& ticket, const uint8_t* body, size_t length) {
  switch (header.opcode) {
    case FUSE_FORGET: case FUSE_BATCH_FORGET: return slots_.release(*ticket.slot, ticket.unique);  // never answered; node ids are not counted
    case FUSE_LOOKUP: return lookup(header, ticket, body, length);
    case FUSE_GETATTR: return getAttributes(header, ticket);
    case FUSE_OPEN: case FUSE_OPENDIR: return open(header, ticket, body, length);
    case FUSE_READ: return readFile(header, ticket, body, length);
    case FUSE_READDIR: return readDirectory(ticket, body, length);
    case FUSE_STATFS: return statFileSystem(ticket);
    case FUSE_RELEASE: case FUSE_RELEASEDIR: case FUSE_FSYNC: case FUSE_FSYNCDIR: case FUSE_DESTROY:
      return replyError(ticket, 0);
    case FUSE_READLINK: return replyError(ticket, EINVAL);
    case FUSE_IOCTL: return replyError(ticket, ENOTTY);
    case FUSE_INTERRUPT: return interrupt(ticket, body, length);
    default:
      return replyError(ticket, isWriteOperation(header.opcode) ? EROFS : ENOSYS);
  }
}

// Noted before its slot is free: a worker that dies here leaves the INTERRUPT to its successor.
void Session::interrupt(const Ticket& ticket, const uint8_t* body, size_t length) {
  fuse_interrupt_in in{};
  std::memcpy(&in, body, std::min(length, sizeof in));
  slots_.noteInterrupt(in.unique);
  waits_.interrupt(in.unique);
  slots_.release(*ticket.slot, ticket.unique);
}

void Session::readFile(const fuse_in_header& header, const Ticket& ticket, const uint8_t* body, size_t length) {
  fuse_read_in in{};
  if (length < sizeof in) return replyError(ticket, EINVAL);
  std::memcpy(&in, body, sizeof in);
  Request request{ticket, registry_.byNode(header.nodeid), in.offset, in.size, 0, nowUs()};
  if (request.file == nullptr) return replyError(ticket, EIO);
  if (in.size > wire::kReadMax) return replyError(ticket, EINVAL);
  const uint64_t fileSize = request.file->table->fileSize();
  if (in.offset >= fileSize) return reply(ticket, nullptr, 0);
  request.size = static_cast<uint32_t>(std::min<uint64_t>(in.size, fileSize - in.offset));
  const uint32_t patience = readDeadlineMs_;
  if (patience > 0) request.deadline = nowMs() + patience;
  serve(request);
}

void Session::serve(const Request& request) {
  thread_local std::vector<uint8_t> small(kSmallBufferBytes);
  if (request.size <= small.size()) return serve(request, small.data());
  auto large = largeBuffers.take();
  serve(request, large.get());
  largeBuffers.giveBack(std::move(large));
}

void Session::serve(const Request& request, uint8_t* buffer) {
  for (int attempt = 0; attempt < kServeAttempts; attempt++) {
    if (answer(request, buffer)) return;
  }
  replyError(request.ticket, EIO);
}

// False when it missed and everything missing arrived while it was about to be parked.
bool Session::answer(const Request& request, uint8_t* buffer) {
  const auto missing = fill(request, buffer);
  if (!missing.empty()) return park(request, missing);
  counters_.bytesServed += request.size;
  request.file->readBytes += request.size;
  (request.waited ? counters_.fetchedReads : counters_.cachedReads).observe(static_cast<uint64_t>(nowUs() - request.startedUs));
  reply(request.ticket, buffer, request.size);
  return true;
}

bool Session::park(const Request& request, const std::vector<uint32_t>& missing) {
  auto waiter = std::make_shared<Waiter>();
  waiter->file = request.file;
  waiter->unique = request.ticket.unique;
  waiter->deadline = request.deadline;
  Request later = request;
  later.waited = true;
  waiter->finish = [this, later](int error) {
    if (error == 0) return serve(later);
    counters_.failedReads++;
    replyError(later.ticket, error);
  };
  return waits_.park(waiter, missing);
}

// Returns the chunks that are missing; when there are none, every byte of `out` was set: prefix, checked chunk bytes, or zeros.
std::vector<uint32_t> Session::fill(const Request& request, uint8_t* out) {
  const auto prefix = request.file->table->prefix();
  const uint64_t end = request.offset + request.size;
  size_t done = 0;
  if (request.offset < prefix.size()) {
    done = std::min<uint64_t>(prefix.size() - request.offset, request.size);
    std::memcpy(out, prefix.data() + request.offset, done);
  }
  if (end <= prefix.size()) return {};
  return fillData(request, request.offset + done - prefix.size(), end - prefix.size(), out + done);
}

std::vector<uint32_t> Session::fillData(const Request& request, uint64_t dataStart, uint64_t dataEnd, uint8_t* out) {
  const Table& table = *request.file->table;
  std::vector<uint32_t> missing;
  uint64_t at = dataStart;
  const auto zeroUntil = [&](uint64_t to) {
    std::memset(out + (at - dataStart), 0, to - at);
    at = to;
  };
  for (uint32_t chunk = table.firstEndingAfter(dataStart); chunk < table.chunkCount(); chunk++) {
    const ChunkRecord record = table.chunk(chunk);
    if (record.dataOffset >= dataEnd) break;
    zeroUntil(std::max(at, record.dataOffset));
    const uint64_t last = std::min(dataEnd, record.dataOffset + record.size);
    const auto from = static_cast<uint32_t>(at - record.dataOffset);
    if (!request.file->store->read(chunk, from, static_cast<uint32_t>(last - at), out + (at - dataStart))) missing.push_back(chunk);
    at = last;
  }
  zeroUntil(dataEnd);
  return missing;
}

void Session::reply(const Ticket& ticket, const void* data, size_t length) {
  if (!send(ticket.unique, data, length)) sendError(ticket.unique, EIO);
  slots_.release(*ticket.slot, ticket.unique);
}

void Session::replyError(const Ticket& ticket, int error) {
  sendError(ticket.unique, error);
  slots_.release(*ticket.slot, ticket.unique);
}

bool Session::send(uint64_t unique, const void* data, size_t length) {
  fuse_out_header header{static_cast<uint32_t>(sizeof header + length), 0, unique};
  iovec parts[2] = {{&header, sizeof header}, {const_cast<void*>(data), length}};
  for (;;) {
    if (::writev(device_, parts, length > 0 ? 2 : 1) >= 0) return true;
    if (errno == EINTR) continue;
    // ENOENT: nobody waits any more (answered twice after a restart, or the reader is gone).
    if (errno == ENOENT || errno == ENODEV || errno == ECONNABORTED) return true;
    logEvent("an answer was not taken", {{"error", errnoName(errno)}});
    return false;
  }
}

void Session::sendError(uint64_t unique, int error) {
  const int known = error >= 0 && error < 512 ? error : EIO;
  const fuse_out_header header{sizeof header, -known, unique};
  while (::write(device_, &header, sizeof header) < 0 && errno == EINTR) {}
}
