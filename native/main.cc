// ipfs-snapshotter-native JOB …: one short-lived mount job, or the guardian. Prints one JSON line on success;
// on failure one line `ENAME: what` on stderr and exit status 1; 2 for a command line it does not understand.
#include "guardian.hh"
#include "jobs.hh"
#include "mounts.hh"
#include "notify.hh"
#include "opens.hh"
#include "support.hh"
#include "unpack.hh"
#include "worker.hh"

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstdio>
#include <fcntl.h>
#include <map>
#include <set>
#include <unistd.h>

namespace {

struct Usage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Arguments {
  std::vector<std::string> words;
  std::map<std::string, std::vector<std::string>> options;

  std::string one(const std::string& name) const {
    const auto found = options.find(name);
    return found == options.end() ? "" : found->second.back();
  }

  bool has(const std::string& name) const { return options.contains(name); }

  std::optional<unsigned> number(const std::string& name) const {
    if (!has(name)) return std::nullopt;
    const std::string text = one(name);
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) throw Usage(name + " wants a number, got " + text);
    return value;
  }
};

// `valued` names the options that take a value; all others in `flags` stand alone.
Arguments parse(int count, char** values, size_t words, const std::vector<std::string>& valued, const std::vector<std::string>& flags) {
  Arguments result;
  const auto among = [](const std::vector<std::string>& names, const std::string& name) {
    for (const auto& known : names) if (known == name) return true;
    return false;
  };
  for (int at = 2; at < count; at++) {
    const std::string word = values[at];
    if (word.rfind("--", 0) != 0) {
      result.words.push_back(word);
    } else if (among(flags, word)) {
      result.options[word].push_back("");
    } else if (among(valued, word) && at + 1 < count) {
      result.options[word].push_back(values[++at]);
    } else {
      throw Usage("unknown or incomplete option " + word);
    }
  }
  if (result.words.size() != words) throw Usage("expected " + std::to_string(words) + " paths, got " + std::to_string(result.words.size()));
  return result;
}

std::string runMountErofs(int count, char** values) {
  const auto args = parse(count, values, 2, {"--device", "--readahead-kb"}, {});
  const auto applied = mountErofs(args.words[0], args.words[1], args.one("--device"), args.number("--readahead-kb"));
  return "{\"mounted\":" + jsonString(args.words[1]) + ",\"readAheadKb\":" + (applied ? std::to_string(*applied) : "null") + "}";
}

std::string runMountLoop(int count, char** values) {
  const auto args = parse(count, values, 2, {"--readahead-kb"}, {});
  const auto loop = mountLoop(args.words[0], args.words[1], args.number("--readahead-kb"));
  return "{\"mounted\":" + jsonString(args.words[1]) + ",\"device\":" + jsonString(loop.device) +
         ",\"directIo\":" + (loop.directIo ? "true" : "false") + "}";
}

std::string runMountOverlay(int count, char** values) {
  const auto args = parse(count, values, 1, {"--lower", "--upper", "--work", "--o"}, {});
  if (!args.has("--lower")) throw Usage("mount-overlay wants --lower");
  std::string data = "lowerdir=" + args.one("--lower");
  if (args.has("--upper")) data += ",upperdir=" + args.one("--upper") + ",workdir=" + args.one("--work");
  if (args.has("--o")) for (const auto& option : args.options.at("--o")) data += "," + option;
  mountOverlay(args.words[0], data);
  return "{\"mounted\":" + jsonString(args.words[0]) + "}";
}

std::string runMountRamfs(int count, char** values) {
  const auto args = parse(count, values, 1, {}, {});
  mountRamfs(args.words[0]);
  return "{\"mounted\":" + jsonString(args.words[0]) + "}";
}

std::string runUnmount(int count, char** values) {
  const auto args = parse(count, values, 1, {}, {"--lazy"});
  unmount(args.words[0], args.has("--lazy"));
  return "{\"unmounted\":" + jsonString(args.words[0]) + "}";
}

std::string runUnmountTree(int count, char** values) {
  const auto args = parse(count, values, 1, {}, {});
  const auto result = unmountTree(args.words[0]);
  return "{\"unmounted\":" + jsonList(result.unmounted) + ",\"lazy\":" + jsonList(result.lazy) + "}";
}

std::string runAbort(int count, char** values) {
  const auto args = parse(count, values, 1, {}, {});
  abortConnection(args.words[0]);
  return "{\"aborted\":" + jsonString(args.words[0]) + "}";
}

std::string runRecordOpens(int count, char** values) {
  return recordOpens(parse(count, values, 1, {}, {}).words[0]);
}

// Everything written below that filesystem so far, whoever wrote it. Since Linux 5.8 a write that failed behind our back shows here.
std::string runSync(int count, char** values) {
  const std::string path = parse(count, values, 1, {}, {}).words[0];
  const Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::syncfs(directory.get()) != 0) failErrno("cannot sync the filesystem of " + path);
  return "{\"synced\":" + jsonString(path) + "}";
}

std::string runNotify(int count, char** values) {
  return std::string("{\"notified\":") + (notifyManager(parse(count, values, 1, {}, {}).words[0]) ? "true" : "false") + "}";
}

// Its standard output carries answers, and no line of JSON.
std::string runUnpack(int count, char** values) {
  const auto args = parse(count, values, 0, {"--chunk-bytes"}, {"--zlib"});
  const auto chunkBytes = args.number("--chunk-bytes");
  if (!chunkBytes || *chunkBytes == 0 || *chunkBytes > kUnpackChunkMax) throw Usage("--chunk-bytes is missing, 0 or too large");
  unpack({.chunkBytes = *chunkBytes, .zlib = args.has("--zlib")});
  std::_Exit(0);
}

std::string stateOf(const Arguments& args) {
  if (!args.has("--state")) throw Usage("--state DIR is missing");
  return args.one("--state");
}

std::string runGuardian(int count, char** values) {
  const auto args = parse(count, values, 0, {"--state"}, {"--no-resend"});
  return startGuardian(stateOf(args), {.resend = !args.has("--no-resend")});
}

std::string runStop(int count, char** values) {
  return stopGuardian(stateOf(parse(count, values, 0, {"--state"}, {})));
}

std::string runWorkerJob(int count, char** values) {
  parse(count, values, 0, {}, {});
  runWorker();
}

using Job = std::string (*)(int, char**);

const std::map<std::string, Job> kJobs = {
    {"mount-erofs", runMountErofs}, {"mount-loop", runMountLoop}, {"mount-overlay", runMountOverlay},
    {"mount-ramfs", runMountRamfs}, {"umount", runUnmount},       {"umount-tree", runUnmountTree},
    {"abort", runAbort},             {"guardian", runGuardian},  {"stop", runStop},
    {"worker", runWorkerJob},        {"record-opens", runRecordOpens}, {"sync", runSync},
    {"notify", runNotify},           {"unpack", runUnpack}};

// What the daemon asks for again and again, and what answers in one short line.
const std::set<std::string> kServed = {"mount-erofs", "mount-loop", "mount-overlay", "umount"};

std::string usage() {
  std::string names;
  for (const auto& [name, job] : kJobs) names += " " + name;
  return "ipfs-snapshotter-native JOB …; jobs:" + names + " jobs";
}

int runJob(int count, char** values, std::string& result, std::string& problem) {
  // `-o` is what mount(8) users type.
  for (int at = 2; at < count; at++) if (std::string_view(values[at]) == "-o") values[at] = const_cast<char*>("--o");
  const auto job = kJobs.find(count > 1 ? values[1] : "");
  try {
    if (job == kJobs.end()) throw Usage(usage());
    result = job->second(count, values);
    return 0;
  } catch (const Failure& failure) {
    problem = errnoName(failure.error) + ": " + failure.what();
    return 1;
  } catch (const Usage& unusable) {
    problem = std::string("EINVAL: ") + unusable.what();
    return 2;
  }
}

int runServed(const std::vector<std::string>& words, std::string& line) {
  std::vector<char*> values{const_cast<char*>("ipfs-snapshotter-native")};
  for (const auto& word : words) values.push_back(const_cast<char*>(word.c_str()));
  if (words.empty() || !kServed.contains(words.front())) {
    line = "EINVAL: no job that `jobs` runs";
    return 2;
  }
  std::string result;
  return runJob(static_cast<int>(values.size()), values.data(), result, line);
}

}  // namespace

int main(int count, char** values) {
  if (count == 2 && std::string_view(values[1]) == "jobs") {
    try {
      serveJobs(runServed);
      return 0;
    } catch (const Failure& failure) {
      std::fprintf(stderr, "%s: %s\n", errnoName(failure.error).c_str(), failure.what());
      return 1;
    }
  }
  std::string result, problem;
  const int status = runJob(count, values, result, problem);
  std::fprintf(status == 0 ? stdout : stderr, "%s\n", (status == 0 ? result : problem).c_str());
  return status;
}
