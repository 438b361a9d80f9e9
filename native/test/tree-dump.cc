// tree-dump DIR: everything lstat, readdir, readlink, listxattr and read say about a tree, one JSON object a line, names and
// values in base64. Looks up names that are not there, too. Used by tests only.
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <map>
#include <memory>
#include <openssl/evp.h>
#include <stdexcept>
#include <string>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <vector>

namespace {

struct Dirent {
  ino_t number = 0;
  unsigned char type = DT_UNKNOWN;
};

std::string base64(const std::string& bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), reinterpret_cast<const unsigned char*>(bytes.data()),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

std::string procPath(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

class Problems {
 public:
  void add(const std::string& what, int error) { list_.push_back(what + ": " + (error == 0 ? "succeeded" : strerrorname_np(error))); }
  std::string json() const {
    std::string text;
    for (const auto& problem : list_) text += (text.empty() ? "\"" : ",\"") + base64(problem) + "\"";
    return "[" + text + "]";
  }

 private:
  std::vector<std::string> list_;
};

std::string sha256(int parent, const std::string& name, Problems& problems) {
  const int fd = openat(parent, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    problems.add("open", errno);
    return "";
  }
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
  static std::vector<char> buffer(1 << 20);
  ssize_t got;
  while ((got = read(fd, buffer.data(), buffer.size())) > 0) EVP_DigestUpdate(context.get(), buffer.data(), static_cast<size_t>(got));
  if (got < 0) problems.add("read", errno);
  close(fd);
  unsigned char digest[32];
  EVP_DigestFinal_ex(context.get(), digest, nullptr);
  std::string hex;
  for (const unsigned char byte : digest) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", byte);
    hex += two;
  }
  return got < 0 ? "" : hex;
}

std::string xattrs(int fd, Problems& problems) {
  std::string names(65536, '\0');
  const ssize_t length = listxattr(procPath(fd).c_str(), names.data(), names.size());
  if (length < 0) {
    if (errno != EOPNOTSUPP) problems.add("listxattr", errno);
    return "{}";
  }
  std::string text;
  std::string value(65536, '\0');
  for (const char* name = names.data(); name < names.data() + length; name += std::strlen(name) + 1) {
    const ssize_t size = getxattr(procPath(fd).c_str(), name, value.data(), value.size());
    if (size < 0) problems.add("getxattr " + std::string(name), errno);
    text += (text.empty() ? "\"" : ",\"") + base64(name) + "\":\"" + base64(value.substr(0, size < 0 ? 0 : static_cast<size_t>(size))) + "\"";
  }
  for (const char* name : {"user.absent", "trusted.absent", "security.absent"}) {
    if (getxattr(procPath(fd).c_str(), name, value.data(), value.size()) >= 0) problems.add("getxattr " + std::string(name), 0);
    else if (errno != ENODATA && errno != EOPNOTSUPP) problems.add("getxattr " + std::string(name), errno);
  }
  return "{" + text + "}";
}

std::map<std::string, Dirent> readDirectory(int parent, const std::string& name, Problems& problems) {
  std::map<std::string, Dirent> entries;
  DIR* const directory = fdopendir(openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (directory == nullptr) {
    problems.add("opendir", errno);
    return entries;
  }
  errno = 0;
  while (const dirent* const entry = readdir(directory)) {
    if (!entries.emplace(entry->d_name, Dirent{entry->d_ino, entry->d_type}).second) problems.add("readdir repeats a name", EEXIST);
  }
  if (errno != 0) problems.add("readdir", errno);
  closedir(directory);
  if (entries.erase(".") != 1 || entries.erase("..") != 1) problems.add("no . or ..", ENOENT);
  return entries;
}

// Names around those that exist: the lookup's binary search must not find them.
void lookUpAbsent(int fd, const std::map<std::string, Dirent>& entries, Problems& problems) {
  std::vector<std::string> candidates = {"!", "\x01", "~~", "...", ".a", "\xff"};
  for (const auto& [name, ignored] : entries) {
    if (name.size() < 255) candidates.push_back(name + "!");
    if (name.size() > 1) candidates.push_back(name.substr(0, name.size() - 1));
  }
  for (const auto& name : candidates) {
    struct stat status;
    if (entries.contains(name) || name == "." || name == "..") continue;
    if (fstatat(fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) problems.add("lookup of absent " + name, 0);
    else if (errno != ENOENT) problems.add("lookup of absent " + name, errno);
  }
}

const char* typeName(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "symlink";
    case S_IFCHR: return "char";
    case S_IFBLK: return "block";
    case S_IFIFO: return "fifo";
    default: return "socket";
  }
}

std::string linkTarget(int fd, Problems& problems) {
  std::string target(4097, '\0');
  const ssize_t length = readlinkat(fd, "", target.data(), target.size());
  if (length < 0) problems.add("readlink", errno);
  target.resize(length < 0 ? 0 : static_cast<size_t>(length));
  return target;
}

void dump(int parent, const std::string& name, const std::string& path, const Dirent* dirent) {
  Problems problems;
  struct stat status {};
  const int fd = openat(parent, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &status) != 0) throw std::runtime_error(path + ": " + std::strerror(errno));
  std::map<std::string, Dirent> entries;
  std::string hash;
  std::string target;
  if (S_ISREG(status.st_mode)) hash = sha256(parent, name, problems);
  if (S_ISLNK(status.st_mode)) target = linkTarget(fd, problems);
  if (S_ISDIR(status.st_mode)) {
    entries = readDirectory(parent, name, problems);
    lookUpAbsent(fd, entries, problems);
  }
  if (dirent != nullptr && dirent->type != IFTODT(status.st_mode)) problems.add("d_type " + std::to_string(dirent->type), EINVAL);
  const std::string attributes = xattrs(fd, problems);
  std::printf("{\"path\":\"%s\",\"type\":\"%s\",\"mode\":%u,\"uid\":%u,\"gid\":%u,\"mtimeSeconds\":%lld,\"mtimeNanoseconds\":%ld,"
              "\"size\":%lld,\"nlink\":%lu,\"dev\":%lu,\"ino\":%lu,\"direntIno\":%lu,\"major\":%u,\"minor\":%u,\"target\":\"%s\","
              "\"sha256\":\"%s\",\"xattrs\":%s,\"problems\":%s}\n",
              base64(path).c_str(), typeName(status.st_mode), status.st_mode & 07777, status.st_uid, status.st_gid,
              static_cast<long long>(status.st_mtim.tv_sec), status.st_mtim.tv_nsec, static_cast<long long>(status.st_size), status.st_nlink,
              status.st_dev, status.st_ino, dirent == nullptr ? status.st_ino : dirent->number, major(status.st_rdev), minor(status.st_rdev),
              base64(target).c_str(), hash.c_str(), attributes.c_str(), problems.json().c_str());
  for (const auto& [child, entry] : entries) dump(fd, child, path == "/" ? path + child : path + "/" + child, &entry);
  close(fd);
}

}  // namespace

int main(int count, char** values) {
  if (count != 2) {
    std::fprintf(stderr, "tree-dump DIR\n");
    return 2;
  }
  try {
    dump(AT_FDCWD, values[1], "/", nullptr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
