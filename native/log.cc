// One write(2) per line, so that lines of several threads and processes do not mix.
#include "log.hh"

#include "support.hh"

#include <ctime>
#include <unistd.h>

void logEvent(const std::string& event, std::initializer_list<LogField> fields) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  char time[40];
  const size_t length = std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &parts);
  std::string line = "{\"time\":\"" + std::string(time, length) + "Z\",\"pid\":" + std::to_string(::getpid());
  line += ",\"event\":" + jsonString(event);
  for (const auto& [name, value] : fields) line += ",\"" + std::string(name) + "\":" + jsonString(value);
  line += "}\n";
  if (::write(STDERR_FILENO, line.data(), line.size()) < 0) return;  // nowhere left to say so
}
