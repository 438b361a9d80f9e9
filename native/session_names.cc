// The session's answers about names and attributes: one directory of files whose sizes never change.
#include "session.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>

namespace {

constexpr uint64_t kAttributesValidSeconds = 3600;  // a node's size never changes; names are looked up each time
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

}  // namespace

void Session::lookup(const fuse_in_header& header, const Ticket& ticket, const uint8_t* body, size_t length) {
  const std::string name(reinterpret_cast<const char*>(body), ::strnlen(reinterpret_cast<const char*>(body), length));
  const FilePtr file = header.nodeid == kRootNode ? registry_.byName(name) : nullptr;
  if (file == nullptr) return replyError(ticket, ENOENT);
  fuse_entry_out out{};
  out.nodeid = file->node;
  out.attr_valid = kAttributesValidSeconds;
  out.attr = attributesOf(file->node, file.get());
  reply(ticket, &out, sizeof out);
}

void Session::getAttributes(const fuse_in_header& header, const Ticket& ticket) {
  const FilePtr file = registry_.byNode(header.nodeid);
  if (file == nullptr && header.nodeid != kRootNode) return replyError(ticket, ESTALE);
  fuse_attr_out out{};
  out.attr_valid = file == nullptr ? 0 : kAttributesValidSeconds;
  out.attr = attributesOf(header.nodeid, file.get());
  reply(ticket, &out, sizeof out);
}

void Session::open(const fuse_in_header& header, const Ticket& ticket, const uint8_t* body, size_t length) {
  fuse_open_in in{};
  std::memcpy(&in, body, std::min(length, sizeof in));
  const bool directory = header.opcode == FUSE_OPENDIR;
  if (directory != (header.nodeid == kRootNode)) return replyError(ticket, directory ? ENOTDIR : EISDIR);
  if (!directory && registry_.byNode(header.nodeid) == nullptr) return replyError(ticket, ESTALE);
  if ((in.flags & O_ACCMODE) != O_RDONLY) return replyError(ticket, EROFS);
  fuse_open_out out{};
  out.fh = header.nodeid;
  out.open_flags = directory ? 0 : FOPEN_DIRECT_IO | kOpenNoFlush;  // no second page cache; a bad reply cannot poison the inode
  reply(ticket, &out, sizeof out);
}

void Session::readDirectory(const Ticket& ticket, const uint8_t* body, size_t length) {
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
  reply(ticket, out.data(), out.size());
}

void Session::statFileSystem(const Ticket& ticket) {
  fuse_statfs_out out{};
  for (const auto& file : registry_.all()) {
    out.st.blocks += file->table->fileSize() / 4096;
    out.st.files++;
  }
  out.st.bsize = 4096;
  out.st.frsize = 4096;
  out.st.namelen = 255;
  reply(ticket, &out, sizeof out);
}
