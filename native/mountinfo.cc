// Parser of proc_pid_mountinfo(5). Lines it does not understand are skipped: they cannot be ours.
#include "mountinfo.hh"

#include "support.hh"

#include <cstdio>

std::string decodeMountField(std::string_view field) {
  std::string out;
  const auto octal = [](char digit) { return digit >= '0' && digit <= '7'; };
  for (size_t at = 0; at < field.size(); at++) {
    const bool escape = field[at] == '\\' && at + 3 < field.size() && octal(field[at + 1]) && octal(field[at + 2]) && octal(field[at + 3]);
    if (!escape) {
      out += field[at];
      continue;
    }
    out += static_cast<char>((field[at + 1] - '0') * 64 + (field[at + 2] - '0') * 8 + (field[at + 3] - '0'));
    at += 3;
  }
  return out;
}

static std::vector<std::string_view> splitFields(std::string_view line) {
  std::vector<std::string_view> fields;
  while (!line.empty()) {
    const size_t space = line.find(' ');
    fields.push_back(line.substr(0, space));
    if (space == std::string_view::npos) break;
    line.remove_prefix(space + 1);
  }
  return fields;
}

std::vector<MountEntry> parseMountInfo(std::string_view text) {
  std::vector<MountEntry> entries;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const auto fields = splitFields(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    size_t dash = 6;
    while (dash < fields.size() && fields[dash] != "-") dash++;
    if (dash + 2 >= fields.size()) continue;
    MountEntry entry;
    if (std::sscanf(std::string(fields[2]).c_str(), "%u:%u", &entry.major, &entry.minor) != 2) continue;
    entry.point = decodeMountField(fields[4]);
    entry.type = decodeMountField(fields[dash + 1]);
    entry.source = decodeMountField(fields[dash + 2]);
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::vector<MountEntry> readMountInfo() {
  return parseMountInfo(readText("/proc/self/mountinfo"));
}

bool isBelow(std::string_view path, std::string_view directory) {
  if (directory == "/") return path.size() > 1;
  return path.size() > directory.size() + 1 && path.substr(0, directory.size()) == directory && path[directory.size()] == '/';
}
