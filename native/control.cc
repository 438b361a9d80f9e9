// Implementation of control.hh: the loop, connections, supplies and needs. Adding and removing files: control_files.cc.
#include "control.hh"

#include "log.hh"

#include <thread>
#include <unistd.h>

namespace {

constexpr uint64_t kSupplyBytesMax = 48 * 1024 * 1024;  // received and not yet stored; above it the socket is not read
constexpr int64_t kHelloPatienceMs = 5000;
constexpr int kTickMs = 100;       // resolution of read deadlines
constexpr int kIdleTickMs = 1000;  // nobody waits

unsigned supplierThreads() {
  return std::clamp(std::thread::hardware_concurrency(), 2u, 8u);
}

}  // namespace

Control::Control(int listener, Identity identity, Registry& registry, Waits& waits, Session& session, Counters& counters)
    : connections_(listener), identity_(std::move(identity)), registry_(registry), waits_(waits), session_(session), counters_(counters),
      suppliers_("supply", supplierThreads()), checkers_("check", 1), movers_("move", 1) {}

void Control::run() {
  for (;;) step(counters_.waitingReads > 0 || !strangers_.empty() ? kTickMs : kIdleTickMs);
}

void Control::step(int patienceMs) {
  const bool guardian = connections_.wait(patienceMs, identity_.guardianLink, supplyBytes_ < kSupplyBytesMax);
  if (guardian) obeyGuardian();
  for (const uint64_t id : connections_.takeAccepted()) {
    strangers_[id] = nowMs();
    ByteWriter writer = beginFrame(FrameType::kHello, 0);
    writer.number(kProtocolVersion).number<uint32_t>(::getpid()).number(identity_.restarts).number<uint32_t>(::getppid());
    connections_.post(id, finishFrame(writer));
  }
  uint64_t connection = 0;
  Frame frame;
  while (connections_.takeFrame(connection, frame)) handle(connection, std::move(frame));
  endRemovals();
  tick();
}

void Control::tick() {
  const int64_t now = nowMs();
  waits_.expire(now);
  for (const auto& [id, since] : strangers_) {
    if (now - since > kHelloPatienceMs) connections_.close(id);
  }
  forgetClosed();
}

void Control::forgetClosed() {
  for (const uint64_t id : connections_.takeClosed()) {
    strangers_.erase(id);
    staging_.erase(id);
    waits_.dropNeeds(id);
    uint64_t expected = id;
    active_.compare_exchange_strong(expected, 0);
  }
}

void Control::obeyGuardian() {
  const auto message = receiveLink(identity_.guardianLink);
  if (!message) ::_exit(1);  // no guardian, no device
  obey(*message);
}

void Control::handle(uint64_t connection, Frame frame) {
  try {
    if (strangers_.contains(connection)) hello(connection, frame);
    else if (connection == active_) handleGreeted(connection, std::move(frame));
  } catch (const std::exception& problem) {
    logEvent("closing a control connection", {{"error", problem.what()}});
    connections_.close(connection);
  }
}

void Control::hello(uint64_t connection, const Frame& frame) {
  ByteReader reader(frame.body());
  if (frame.type != FrameType::kHello) throw Failure(EPROTO, "the first frame is not HELLO");
  const auto version = reader.number<uint32_t>();
  if (version != kProtocolVersion) throw Failure(EPROTO, "protocol version " + std::to_string(version) + ", not 1");
  strangers_.erase(connection);
  const uint64_t before = active_.exchange(connection);
  if (before != 0) connections_.close(before);
  forgetClosed();
  waits_.askAgain();
}

void Control::handleGreeted(uint64_t connection, Frame frame) {
  ByteReader reader(frame.body());
  switch (frame.type) {
    case FrameType::kAddPart: return addPart(connection, frame);
    case FrameType::kAddFile: return addFile(connection, frame);
    case FrameType::kRemoveFile: return removeFile(connection, frame);
    case FrameType::kSupply: return supply(connection, std::move(frame));
    case FrameType::kFail: return fail(frame);
    case FrameType::kNeed: return need(connection, frame);
    case FrameType::kEvict: return evict(connection, frame);
    case FrameType::kUsed: return used(connection, frame);
    case FrameType::kList:
      reader.end();
      return list(connection, frame.id);
    case FrameType::kSettings: return settings(frame);
    case FrameType::kStatus: {
      reader.end();
      ByteWriter writer = beginFrame(FrameType::kStatusIs, frame.id);
      writer.text(statusJson(registry_, waits_, counters_, identity_.restarts));
      return connections_.post(connection, finishFrame(writer));
    }
    case FrameType::kStop:
      reader.end();
      sendLink(identity_.guardianLink, {.kind = LinkKind::kStop});
      return result(connection, frame.id, 0);
    default: throw Failure(EPROTO, "unknown frame type " + std::to_string(static_cast<int>(frame.type)));
  }
}

void Control::fetch(const std::string& file, const std::vector<Run>& runs, uint32_t needId) {
  const uint64_t connection = active_;
  if (connection == 0) return;
  ByteWriter writer = beginFrame(FrameType::kFetch, needId);
  writer.string(file).number(static_cast<uint32_t>(runs.size()));
  for (const Run& run : runs) writer.number(run.first).number(run.count);
  connections_.post(connection, finishFrame(writer));
}

void Control::result(uint64_t connection, uint32_t id, int error, const std::string& text) {
  if (id == 0) return;
  ByteWriter writer = beginFrame(FrameType::kResult, id);
  writer.number<int32_t>(error).string(text);
  connections_.post(connection, finishFrame(writer));
}

void Control::supply(uint64_t connection, Frame frame) {
  const size_t size = frame.bytes.size();
  supplyBytes_ += size;
  // std::function copies its captures: share the frame.
  suppliers_.add([this, connection, size, shared = std::make_shared<Frame>(std::move(frame))] {
    std::string name;
    SupplyResult outcome;
    try {
      outcome = acceptSupply(shared->body(), registry_, waits_, name);
    } catch (const std::exception& problem) {
      outcome = {EPROTO, 0, 0, problem.what()};
      connections_.close(connection);
    }
    const uint32_t id = shared->id;
    shared->bytes = {};
    const bool wasFull = supplyBytes_.fetch_sub(size) >= kSupplyBytesMax;
    if (wasFull) connections_.wake();
    if (id != 0) return result(connection, id, outcome.error, outcome.text);
    if (outcome.error == 0) return;
    ByteWriter writer = beginFrame(FrameType::kRejected, 0);
    writer.string(name).number(outcome.first).number(outcome.count).string(outcome.text);
    connections_.post(connection, finishFrame(writer));
  });
}

void Control::fail(const Frame& frame) {
  ByteReader reader(frame.body());
  const FilePtr file = registry_.byName(reader.string());
  const auto first = reader.number<uint32_t>();
  const auto count = reader.number<uint32_t>();
  const auto error = reader.number<uint32_t>();
  reader.end();
  const bool known = error > 0 && error < 512;
  if (file != nullptr) waits_.failed(*file->store, first, count, known ? static_cast<int>(error) : EIO);
}

void Control::need(uint64_t connection, const Frame& frame) {
  ByteReader reader(frame.body());
  const FilePtr file = registry_.byName(reader.string());
  const Run run{reader.number<uint32_t>(), reader.number<uint32_t>()};
  reader.end();
  if (frame.id == 0) throw Failure(EPROTO, "NEED without an id");
  if (file == nullptr) return result(connection, frame.id, ENOENT, "no such file");
  const bool inside = static_cast<uint64_t>(run.first) + run.count <= file->table->chunkCount();
  if (!inside) return result(connection, frame.id, EINVAL, "no such chunks");
  checkers_.add([this, connection, id = frame.id, file, run] { checkNeed(connection, id, file, run); });
}

void Control::checkNeed(uint64_t connection, uint32_t id, const FilePtr& file, Run run) {
  std::vector<uint32_t> missing;
  for (uint32_t chunk = run.first; chunk < run.first + run.count; chunk++) {
    if (!file->store->verify(chunk)) missing.push_back(chunk);
    if (active_ != connection) return;  // a whole layer may take a while, and nobody wants the answer any more
  }
  if (missing.empty()) return result(connection, id, 0);
  auto waiter = std::make_shared<Waiter>();
  waiter->file = file;
  waiter->needId = id;
  waiter->connection = connection;
  waiter->finish = [this, connection, id](int error) { result(connection, id, error, error == 0 ? "" : "not fetched"); };
  if (!waits_.park(waiter, missing)) result(connection, id, 0);
  if (active_ != connection) waits_.dropNeeds(connection);  // it went while we parked
}

void Control::list(uint64_t connection, uint32_t id) {
  const auto files = registry_.all();
  ByteWriter writer = beginFrame(FrameType::kNames, id);
  writer.number(static_cast<uint32_t>(files.size()));
  for (const auto& file : files) writer.string(file->name);
  connections_.post(connection, finishFrame(writer));
}

void Control::settings(const Frame& frame) {
  ByteReader reader(frame.body());
  const auto deadline = reader.number<uint32_t>();
  reader.number<uint32_t>();
  reader.end();
  session_.setReadDeadline(deadline);
  sendLink(identity_.guardianLink, {.kind = LinkKind::kDeadline, .value = deadline});  // the next worker needs it before control is back
}
