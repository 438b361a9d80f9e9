// The worker's end of data.sock: HELLO, the frames of docs/PROTOCOL.md, deadlines, and orders from the guardian. One thread.
// A frame that breaks the protocol closes its connection; tables, parked reads and the cache are untouched by that.
#pragma once

#include "connections.hh"
#include "link.hh"
#include "pool.hh"
#include "session.hh"
#include "supply.hh"

#include <set>

class Control final : public Fetcher {
 public:
  struct Identity {
    uint32_t restarts;
    int guardianLink;
  };

  Control(int listener, Identity identity, Registry& registry, Waits& waits, Session& session, Counters& counters);

  [[noreturn]] void run();
  /** Handles what has arrived, or waits for it. */
  void step(int patienceMs);
  void fetch(const std::string& file, const std::vector<Run>& runs, uint32_t needId) override;

 private:
  struct Staging {
    std::string name;
    std::unique_ptr<TableBuilder> table;
  };

  void handle(uint64_t connection, Frame frame);
  void handleGreeted(uint64_t connection, Frame frame);
  void hello(uint64_t connection, const Frame& frame);
  void addPart(uint64_t connection, const Frame& frame);
  void addFile(uint64_t connection, const Frame& frame);
  std::pair<int, std::string> tryAddFile(uint64_t connection, ByteReader& reader);
  void removeFile(uint64_t connection, const Frame& frame);
  void handOver(const std::string& name, const FilePtr& file);
  void endRemovals();
  void endRemoval(const std::string& name);
  void supply(uint64_t connection, Frame frame);
  void fail(const Frame& frame);
  void need(uint64_t connection, const Frame& frame);
  void checkNeed(uint64_t connection, uint32_t id, const FilePtr& file, Run run);
  void evict(uint64_t connection, const Frame& frame);
  void used(uint64_t connection, const Frame& frame);
  void list(uint64_t connection, uint32_t id);
  void settings(const Frame& frame);

  void result(uint64_t connection, uint32_t id, int error, const std::string& text = "");
  LinkMessage askGuardian(LinkMessage message);
  void obeyGuardian();
  void obey(const LinkMessage& message);
  void forgetClosed();
  void tick();

  Connections connections_;
  Identity identity_;
  Registry& registry_;
  Waits& waits_;
  Session& session_;
  Counters& counters_;
  Pool suppliers_;
  Pool checkers_;
  Pool movers_;  // of chunks between layers
  std::atomic<uint64_t> active_{0};  // the connection that said HELLO last
  std::atomic<uint64_t> supplyBytes_{0};
  std::map<uint64_t, int64_t> strangers_;  // accepted, no HELLO yet; since when
  std::map<uint64_t, Staging> staging_;
  struct Question {
    uint64_t connection;
    uint32_t id;
  };
  std::map<std::string, std::vector<Question>> removing_;  // files whose chunks are handed over, and who waits for that
  std::mutex handedOverMutex_;
  std::vector<std::string> handedOver_;
  uint64_t lastQuestion_ = 0;
  std::map<uint64_t, std::string> lateTables_;  // by question: control was told that they failed, the guardian may yet keep them
};

/** Body of STATUS_IS. */
std::string statusJson(const Registry& registry, Waits& waits, const Counters& counters, uint32_t restarts);
