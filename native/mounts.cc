// EROFS, overlay, ramfs, unmounting of trees, FUSE abort. The loop device has its own file.
#include "mounts.hh"

#include "mountinfo.hh"
#include "support.hh"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>
#include <sys/mount.h>

namespace {

constexpr size_t kMountDataMax = 4095;  // mount(2) copies one page of options, NUL included

void mountOrFail(const char* source, const std::string& directory, const char* type, unsigned long flags, const std::string& data) {
  if (data.size() > kMountDataMax) throw Failure(E2BIG, "options for " + directory + " are " + std::to_string(data.size()) + " bytes");
  if (::mount(source, directory.c_str(), type, flags, data.empty() ? nullptr : data.c_str()) == 0) return;
  failErrno("cannot mount " + std::string(type) + " " + source + " on " + directory + (data.empty() ? "" : " with " + data));
}

// A file-backed EROFS has a backing device info named erofs-N that nothing links to its mount.
std::set<std::string> erofsBackingInfos() {
  std::set<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/bdi", ignored)) {
    const std::string name = entry.path().filename();
    if (name.rfind("erofs", 0) == 0) names.insert(name);
  }
  return names;
}

std::optional<unsigned> setReadAhead(const std::set<std::string>& before, unsigned kilobytes) {
  std::optional<unsigned> applied;
  for (const auto& name : erofsBackingInfos()) {
    if (before.contains(name)) continue;
    if (writeText("/sys/class/bdi/" + name + "/read_ahead_kb", std::to_string(kilobytes))) applied = kilobytes;
  }
  return applied;
}

void ensureFuseControl(const std::string& control) {
  for (const auto& entry : readMountInfo()) {
    if (entry.point == control && entry.type == "fusectl") return;
  }
  mountOrFail("fusectl", control, "fusectl", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
}

std::vector<std::string> mountPointsBelow(const std::string& directory) {
  std::vector<std::string> points;
  for (const auto& entry : readMountInfo()) {
    if (isBelow(entry.point, directory)) points.push_back(entry.point);
  }
  std::reverse(points.begin(), points.end());
  return points;
}

// One pass, newest first: whoever uses a mount was mounted after it. Returns the number unmounted.
size_t unmountOnce(const std::string& directory, int flags, std::vector<std::string>& done) {
  size_t count = 0;
  for (const auto& point : mountPointsBelow(directory)) {
    if (::umount2(point.c_str(), flags | UMOUNT_NOFOLLOW) != 0) continue;
    done.push_back(point);
    count++;
  }
  return count;
}

}  // namespace

std::optional<unsigned> mountErofs(const std::string& meta, const std::string& directory, const std::string& device,
                                   std::optional<unsigned> readAheadKb) {
  std::string data;
  if (!device.empty()) {
    if (device.find(',') != std::string::npos) throw Failure(EINVAL, "a comma in the path would split the option: " + device);
    data = "device=" + absolutePath(device);
  }
  const auto before = readAheadKb ? erofsBackingInfos() : std::set<std::string>();
  mountOrFail(absolutePath(meta).c_str(), directory, "erofs", MS_RDONLY, data);
  return readAheadKb ? setReadAhead(before, *readAheadKb) : std::nullopt;
}

void mountOverlay(const std::string& directory, const std::string& options) {
  mountOrFail("overlay", directory, "overlay", 0, options);
}

void mountRamfs(const std::string& directory) {
  mountOrFail("ramfs", directory, "ramfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700");
}

void unmount(const std::string& directory, bool lazy) {
  const int flags = UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0);
  if (::umount2(directory.c_str(), flags) != 0) failErrno("cannot unmount " + directory);
}

TreeResult unmountTree(const std::string& directory, int64_t patienceMs) {
  const std::string top = absolutePath(directory);
  TreeResult result;
  const int64_t deadline = nowMs() + patienceMs;
  for (;;) {
    const size_t count = unmountOnce(top, 0, result.unmounted);
    if (mountPointsBelow(top).empty()) return result;
    if (count > 0) continue;
    if (nowMs() >= deadline) break;
    sleepMs(20);  // a released EROFS lets go of its FUSE file a moment after umount(2) returns
  }
  while (unmountOnce(top, MNT_DETACH, result.lazy) > 0) {}
  const auto left = mountPointsBelow(top);
  if (!left.empty()) throw Failure(EBUSY, "cannot unmount " + left.front() + " and " + std::to_string(left.size() - 1) + " more");
  return result;
}

void abortConnection(const std::string& directory) {
  const std::string point = absolutePath(directory);
  const auto entries = readMountInfo();
  const auto found = std::find_if(entries.rbegin(), entries.rend(), [&](const MountEntry& entry) {
    return entry.point == point && (entry.type == "fuse" || entry.type.rfind("fuse.", 0) == 0);
  });
  if (found == entries.rend()) throw Failure(EINVAL, "no FUSE file system is mounted on " + point);
  const std::string control = "/sys/fs/fuse/connections";
  ensureFuseControl(control);
  const std::string file = control + "/" + std::to_string(found->minor) + "/abort";
  if (!writeText(file, "1")) failErrno("cannot abort the connection of " + point + " through " + file);
}
