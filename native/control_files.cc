// Control's frames that add and remove files, and that keep the cache small. A file is answered for only after the guardian holds its table: from then on
// it outlives the worker.
#include "control.hh"

#include "log.hh"

#include <poll.h>
#include <unistd.h>

namespace {

constexpr int kGuardianPatienceMs = 10000;
constexpr size_t kNameMax = 255;
constexpr size_t kPathMax = 4000;

bool isName(const std::string& name) {
  return !name.empty() && name.size() <= kNameMax && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

bool isCacheDirectory(const std::string& path) {
  const bool absolute = path.size() > 1 && path.size() <= kPathMax && path[0] == '/';
  return absolute && (path + "/").find("/../") == std::string::npos && path.find('\0') == std::string::npos;
}

}  // namespace

// The guardian may speak first: a drain order, or a late answer to an earlier question, can cross ours.
LinkMessage Control::askGuardian(LinkMessage message) {
  message.flags = ++lastQuestion_;
  sendLink(identity_.guardianLink, message);
  const int64_t deadline = nowMs() + kGuardianPatienceMs;
  for (;;) {
    pollfd wait{identity_.guardianLink, POLLIN, 0};
    const int64_t left = deadline - nowMs();
    if (left <= 0 || ::poll(&wait, 1, static_cast<int>(left)) == 0) {
      if (message.kind == LinkKind::kTable) lateTables_[message.flags] = message.name;
      throw Failure(ETIMEDOUT, "the guardian does not answer");
    }
    auto answer = receiveLink(identity_.guardianLink);
    if (!answer) ::_exit(1);
    if (answer->kind == LinkKind::kAnswer && answer->flags == message.flags) return std::move(*answer);
    obey(*answer);
  }
}

void Control::obey(const LinkMessage& message) {
  if (message.kind == LinkKind::kDrain) waits_.drain();
  if (message.kind != LinkKind::kAnswer) return;
  const auto late = lateTables_.extract(message.flags);
  if (late.empty() || message.value != 0) return;
  sendLink(identity_.guardianLink, {.kind = LinkKind::kForget, .flags = ++lastQuestion_, .name = late.mapped()});
}

void Control::addPart(uint64_t connection, const Frame& frame) {
  ByteReader reader(frame.body());
  const std::string name = reader.string();
  Staging& staging = staging_[connection];
  if (staging.table == nullptr || staging.name != name) staging = {name, std::make_unique<TableBuilder>()};
  staging.table->append(reader.rest());
}

void Control::addFile(uint64_t connection, const Frame& frame) {
  ByteReader reader(frame.body());
  try {
    const auto [error, text] = tryAddFile(connection, reader);
    staging_.erase(connection);
    result(connection, frame.id, error, text);
  } catch (const Failure& failure) {
    staging_.erase(connection);
    if (failure.error == EPROTO) throw;
    result(connection, frame.id, failure.error, failure.what());
  }
}

std::pair<int, std::string> Control::tryAddFile(uint64_t connection, ByteReader& reader) {
  const std::string name = reader.string();
  const std::string directory = reader.string();
  if (!isName(name)) return {EINVAL, "not a file name"};
  if (removing_.contains(name)) return {EBUSY, "a file of this name is being removed"};
  if (!isCacheDirectory(directory)) return {EINVAL, "the cache directory is not an absolute path"};
  Staging staging = std::move(staging_[connection]);
  if (staging.table == nullptr || staging.name != name) staging.table = std::make_unique<TableBuilder>();
  staging.table->append(reader.rest());
  const auto table = Table::open(staging.table->seal());
  const FilePtr known = registry_.byName(name);
  if (known != nullptr) {
    const bool same = known->table->sameBytes(*table);
    return same ? std::pair(0, std::string()) : std::pair(EEXIST, "another table has this name");
  }
  const LinkMessage answer = askGuardian({.kind = LinkKind::kTable, .name = name, .directory = directory, .memfd = Fd(::dup(table->memfd()))});
  if (answer.value != 0) return {static_cast<int>(answer.value), "the guardian refuses the table"};
  const auto store = registry_.add(name, directory, table, answer.node)->store;
  registry_.settle();
  if (store->hasTwins()) movers_.add([store] { store->fold(); });
  return {0, ""};
}

void Control::removeFile(uint64_t connection, const Frame& frame) {
  ByteReader reader(frame.body());
  const std::string name = reader.string();
  reader.end();
  const auto already = removing_.find(name);
  if (already != removing_.end()) return already->second.push_back({connection, frame.id});
  const FilePtr file = registry_.remove(name);
  if (file == nullptr) return result(connection, frame.id, 0);
  waits_.failFile(file, EIO);
  removing_[name].push_back({connection, frame.id});
  if (!registry_.isServed(file->store) && file->store->hasTwins()) return movers_.add([this, name, file] { handOver(name, file); });
  registry_.release(file->store);
  endRemoval(name);
}

// The guardian keeps the table until this has ended: a worker that dies meanwhile leaves it, and control's question, to its successor.
void Control::handOver(const std::string& name, const FilePtr& file) {
  try {
    file->store->handOver([this](const Place& place) { waits_.arrived(*place.store, place.chunk); });
  } catch (const std::exception& problem) {
    logEvent("chunks are not handed over", {{"name", name}, {"error", problem.what()}});
  }
  registry_.release(file->store);
  {
    const std::lock_guard lock(handedOverMutex_);
    handedOver_.push_back(name);
  }
  connections_.wake();
}

void Control::endRemovals() {
  std::vector<std::string> names;
  {
    const std::lock_guard lock(handedOverMutex_);
    names.swap(handedOver_);
  }
  for (const auto& name : names) endRemoval(name);
}

void Control::endRemoval(const std::string& name) {
  const auto asked = removing_.extract(name);
  int error = 0;
  try {
    askGuardian({.kind = LinkKind::kForget, .name = name});
  } catch (const Failure& failure) {
    logEvent("a removed file is still known to the guardian", {{"name", name}, {"error", failure.what()}});
    error = failure.error;
  }
  for (const auto& [connection, id] : asked.mapped()) result(connection, id, error, error == 0 ? "" : "the guardian does not forget it");
}

void Control::evict(uint64_t connection, const Frame& frame) {
  ByteReader reader(frame.body());
  const FilePtr file = registry_.byName(reader.string());
  const auto count = reader.number<uint32_t>();
  std::vector<Run> runs;
  bool inside = true;
  for (uint32_t at = 0; at < count; at++) {
    runs.push_back({reader.number<uint32_t>(), reader.number<uint32_t>()});
    inside = inside && file != nullptr && static_cast<uint64_t>(runs.back().first) + runs.back().count <= file->table->chunkCount();
  }
  reader.end();
  if (file == nullptr) return result(connection, frame.id, ENOENT, "no such file");
  if (!inside) return result(connection, frame.id, EINVAL, "no such chunks");
  suppliers_.add([this, connection, id = frame.id, file, runs = std::move(runs)] {
    for (const Run& run : runs) {
      for (uint32_t chunk = run.first; chunk < run.first + run.count; chunk++) file->store->evict(chunk);
    }
    result(connection, id, 0);
  });
}

void Control::used(uint64_t connection, const Frame& frame) {
  ByteReader reader(frame.body());
  const FilePtr file = registry_.byName(reader.string());
  reader.end();
  const std::vector<uint8_t> bits = file == nullptr ? std::vector<uint8_t>() : file->store->takeUsed();
  ByteWriter writer = beginFrame(FrameType::kUsedIs, frame.id);
  writer.text(std::string_view(reinterpret_cast<const char*>(bits.data()), bits.size()));
  connections_.post(connection, finishFrame(writer));
}
