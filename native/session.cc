// Implementation of session.hh. Wire facts: linux/fuse.h; a reply with a wrong length or errno is not taken and hangs its reader.
#include "session.hh"

#include "log.hh"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

constexpr uint64_t kAttributesValidSeconds = 3600;  // a node's size never changes; names are looked up each time
constexpr int kServeAttempts = 16;                  // chunks may arrive while a read is being parked; more is a livelock
constexpr size_t kKeptBufferBytes = 256 * 1024;     // EROFS reads 128 KiB at a time
constexpr uint32_t kOpenNoFlush = 1u << 5;          // FOPEN_NOFLUSH, Linux 5.18

fuse_attr attributesOf(uint64_t node, const File* file) {
  fuse_attr attr{};
  attr.ino = node;
  attr.mode = file == nullptr ? S_IFDIR | 0500 : S_IFREG | 0400;
  attr.nlink = file == nullptr ? 2 : 1;
  attr.size = file == nullptr ? 0 : file->table->fileSize();
  attr.blocks = attr.size / 512;
  attr.blksize = 4096;
  return attr;
}

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

void Session::run() {
  alignas(8) thread_local uint8_t buffer[wire::kRequestBufferBytes];
  for (;;) {
    const ssize_t count = ::read(device_, buffer, sizeof buffer);
    if (count < 0) {
      if (errno == EINTR || errno == ENOENT || errno == EAGAIN) continue;
      return;  // ENODEV, ECONNABORTED: unmounted or aborted
    }
    fuse_in_header header;
    if (static_cast<size_t>(count) < sizeof header) continue;
    std::memcpy(&header, buffer, sizeof header);
    try {
      dispatch(header, buffer + sizeof header, static_cast<size_t>(count) - sizeof header);
    } catch (const std::exception& problem) {  // out of memory, at worst: the reader still must get an answer
      logEvent("a request failed", {{"opcode", std::to_string(header.opcode)}, {"error", problem.what()}});
      replyError(header.unique, EIO);
    }
  }
}

void Session::dispatch(const fuse_in_header& header, const uint8_t* body, size_t length) {
  switch (header.opcode) {
    case FUSE_FORGET: case FUSE_BATCH_FORGET: return;  // never answered; node ids are not counted
    case FUSE_LOOKUP: return lookup(header, body, length);
    case FUSE_GETATTR: return getAttributes(header);
    case FUSE_OPEN: case FUSE_OPENDIR: return open(header, body, length);
    case FUSE_READ: return readFile(header, body, length);
    case FUSE_READDIR: return readDirectory(header, body, length);
    case FUSE_STATFS: return statFileSystem(header);
    case FUSE_RELEASE: case FUSE_RELEASEDIR: case FUSE_FSYNC: case FUSE_FSYNCDIR: case FUSE_DESTROY:
      return replyError(header.unique, 0);
    case FUSE_READLINK: return replyError(header.unique, EINVAL);
    case FUSE_IOCTL: return replyError(header.unique, ENOTTY);
    case FUSE_INTERRUPT: {
      fuse_interrupt_in in;
      if (length < sizeof in) return;
      std::memcpy(&in, body, sizeof in);
      return waits_.interrupt(in.unique);
    }
    default:
      return replyError(header.unique, isWriteOperation(header.opcode) ? EROFS : ENOSYS);
  }
}

void Session::lookup(const fuse_in_header& header, const uint8_t* body, size_t length) {
  const std::string name(reinterpret_cast<const char*>(body), ::strnlen(reinterpret_cast<const char*>(body), length));
  const FilePtr file = header.nodeid == kRootNode ? registry_.byName(name) : nullptr;
  if (file == nullptr) return replyError(header.unique, ENOENT);
  fuse_entry_out out{};
  out.nodeid = file->node;
  out.attr_valid = kAttributesValidSeconds;
  out.attr = attributesOf(file->node, file.get());
  reply(header.unique, &out, sizeof out);
}

void Session::getAttributes(const fuse_in_header& header) {
  const FilePtr file = registry_.byNode(header.nodeid);
  if (file == nullptr && header.nodeid != kRootNode) return replyError(header.unique, ESTALE);
  fuse_attr_out out{};
  out.attr_valid = file == nullptr ? 0 : kAttributesValidSeconds;
  out.attr = attributesOf(header.nodeid, file.get());
  reply(header.unique, &out, sizeof out);
}

void Session::open(const fuse_in_header& header, const uint8_t* body, size_t length) {
  fuse_open_in in{};
  std::memcpy(&in, body, std::min(length, sizeof in));
  const bool directory = header.opcode == FUSE_OPENDIR;
  if (directory != (header.nodeid == kRootNode)) return replyError(header.unique, directory ? ENOTDIR : EISDIR);
  if (!directory && registry_.byNode(header.nodeid) == nullptr) return replyError(header.unique, ESTALE);
  if ((in.flags & O_ACCMODE) != O_RDONLY) return replyError(header.unique, EROFS);
  fuse_open_out out{};
  out.fh = header.nodeid;
  out.open_flags = directory ? 0 : FOPEN_DIRECT_IO | kOpenNoFlush;  // no second page cache; a bad reply cannot poison the inode
  reply(header.unique, &out, sizeof out);
}

void Session::readDirectory(const fuse_in_header& header, const uint8_t* body, size_t length) {
  fuse_read_in in{};
  std::memcpy(&in, body, std::min(length, sizeof in));
  std::vector<uint8_t> out;
  // An entry's offset is the node id it ends at, so a listing goes on rightly after files came or went.
  const auto add = [&](uint64_t node, uint64_t offset, uint32_t type, const std::string& name) {
    const size_t padded = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name.size());
    if (offset <= in.offset) return true;
    if (out.size() + padded > std::min(in.size, wire::kReadMax)) return false;
    fuse_dirent entry{};
    entry.ino = node;
    entry.off = offset;
    entry.namelen = static_cast<uint32_t>(name.size());
    entry.type = type >> 12;
    const size_t at = out.size();
    out.resize(at + padded);
    std::memcpy(out.data() + at, &entry, FUSE_NAME_OFFSET);
    std::memcpy(out.data() + at + FUSE_NAME_OFFSET, name.data(), name.size());
    return true;
  };
  bool room = add(kRootNode, 1, S_IFDIR, ".") && add(kRootNode, 2, S_IFDIR, "..");
  for (const auto& file : registry_.all()) room = room && add(file->node, file->node, S_IFREG, file->name);
  reply(header.unique, out.data(), out.size());
}

void Session::statFileSystem(const fuse_in_header& header) {
  fuse_statfs_out out{};
  for (const auto& file : registry_.all()) {
    out.st.blocks += file->table->fileSize() / 4096;
    out.st.files++;
  }
  out.st.bsize = 4096;
  out.st.frsize = 4096;
  out.st.namelen = 255;
  reply(header.unique, &out, sizeof out);
}

void Session::readFile(const fuse_in_header& header, const uint8_t* body, size_t length) {
  fuse_read_in in{};
  if (length < sizeof in) return replyError(header.unique, EINVAL);
  std::memcpy(&in, body, sizeof in);
  Request request{header.unique, registry_.byNode(header.nodeid), in.offset, in.size, 0};
  if (request.file == nullptr) return replyError(header.unique, EIO);
  if (in.size > wire::kReadMax) return replyError(header.unique, EINVAL);
  const uint64_t fileSize = request.file->table->fileSize();
  if (in.offset >= fileSize) return reply(header.unique, nullptr, 0);
  request.size = static_cast<uint32_t>(std::min<uint64_t>(in.size, fileSize - in.offset));
  const uint32_t patience = readDeadlineMs_;
  if (patience > 0) request.deadline = nowMs() + patience;
  serve(request);
}

void Session::serve(const Request& request) {
  thread_local std::vector<uint8_t> kept(kKeptBufferBytes);
  std::unique_ptr<uint8_t[]> large;  // many threads, each with a buffer for the largest READ, would be much memory
  if (request.size > kept.size()) large = std::make_unique_for_overwrite<uint8_t[]>(request.size);
  for (int attempt = 0; attempt < kServeAttempts; attempt++) {
    if (answer(request, large ? large.get() : kept.data())) return;
  }
  replyError(request.unique, EIO);
}

// False when it missed and everything missing arrived while it was about to be parked.
bool Session::answer(const Request& request, uint8_t* buffer) {
  const auto missing = fill(request, buffer);
  if (!missing.empty()) return park(request, missing);
  counters_.bytesServed += request.size;
  request.file->readBytes += request.size;
  reply(request.unique, buffer, request.size);
  return true;
}

bool Session::park(const Request& request, const std::vector<uint32_t>& missing) {
  auto waiter = std::make_shared<Waiter>();
  waiter->file = request.file;
  waiter->unique = request.unique;
  waiter->deadline = request.deadline;
  waiter->finish = [this, request](int error) {
    if (error == 0) serve(request);
    else replyError(request.unique, error);
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

void Session::reply(uint64_t unique, const void* data, size_t length) {
  fuse_out_header header{static_cast<uint32_t>(sizeof header + length), 0, unique};
  iovec parts[2] = {{&header, sizeof header}, {const_cast<void*>(data), length}};
  for (;;) {
    if (::writev(device_, parts, length > 0 ? 2 : 1) >= 0) return;
    if (errno == EINTR) continue;
    // ENOENT: nobody waits any more (answered twice after a resend, or the reader is gone).
    if (errno == ENOENT || errno == ENODEV || errno == ECONNABORTED) return;
    logEvent("an answer was not taken", {{"error", errnoName(errno)}});
    return replyError(unique, EIO);
  }
}

void Session::replyError(uint64_t unique, int error) {
  const int known = error >= 0 && error < 512 ? error : EIO;
  const fuse_out_header header{sizeof header, -known, unique};
  while (::write(device_, &header, sizeof header) < 0 && errno == EINTR) {}
}
